"""Print coverage.json, as `pytest --cov=explorer --cov-report=json` writes it, as a table with a row per package."""

import json
import sys
from collections import Counter
from pathlib import PurePath


def main(file: str) -> None:
    lines: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    with open(file, encoding="utf-8") as report:
        for name, found in json.load(report)["files"].items():
            package = PurePath(name).parent.as_posix()
            for key in (package, "all"):
                lines[key] += found["summary"]["num_statements"]
                covered[key] += found["summary"]["covered_lines"]
    print("| package | statements | run by tests |\n|---|---|---|")
    for key in sorted(lines, key=lambda key: (key == "all", key)):
        print(f"| {key} | {lines[key]:,} | {covered[key] / max(1, lines[key]):.1%} |")


if __name__ == "__main__":
    main(sys.argv[1])
