"""Print the lowest version that requirements.txt allows of each package, as constraints for pip."""

import re
import sys
from pathlib import Path

LOWEST = re.compile(r"^([\w.-]+)>=([\w.]+)")


def main(requirements: str) -> None:
    for line in Path(requirements).read_text().splitlines():
        if found := LOWEST.match(line):
            print(f"{found[1]}=={found[2]}")


if __name__ == "__main__":
    main(sys.argv[1])
