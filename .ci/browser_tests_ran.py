"""Exit with 1 where the browser tests of a JUnit report skipped, or where there are none."""

import sys
import xml.etree.ElementTree as ElementTree


def main(report: str) -> int:
    cases = [case for case in ElementTree.parse(report).iter("testcase") if "browser" in case.get("classname", "")]
    skipped = [
        f"{case.get('name')}: {reason.get('message')}" for case in cases if (reason := case.find("skipped")) is not None
    ]
    if not cases or skipped:
        print(f"{len(cases)} browser tests, {len(skipped)} of them skipped:", *skipped, sep="\n  ")
        return 1
    print(f"{len(cases)} browser tests ran.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
