"""How long a page takes to import, in interpreters of its own: `python -m benchmarks.imports` prints a table.

A page's time is that of everything that its file and main.py import; ratios are to `import streamlit` alone, taken in
turns with it, so that a busy machine slows both.
"""

import argparse
import ast
import json
import statistics
import subprocess
import sys
from pathlib import Path

from explorer.ui.navigation import entries, path

HEAVY = ("torch", "timm", "transformers", "sklearn", "scipy", "pandas", "av")  # Plotly comes with Streamlit
ROOT = Path(__file__).resolve().parents[1]
MAIN = ROOT / "explorer" / "ui" / "script" / "main.py"
MEASURE = """
import importlib, json, sys, time
begin = time.perf_counter()
for name in {names!r}: importlib.import_module(name)
print(json.dumps([time.perf_counter() - begin, [name for name in {heavy!r} if name in sys.modules]]))
"""


def imports_of(*files: Path) -> list[str]:
    """The modules that those files import at their top, in order."""
    names: list[str] = []
    for node in (node for file in files for node in ast.parse(file.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names if _is_module(node, alias))]
    return names


def _is_module(node: ast.ImportFrom, alias: ast.alias) -> bool:
    place = ROOT.joinpath(*str(node.module).split("."), alias.name)
    return place.is_dir() or place.with_suffix(".py").is_file()


def measure(names: list[str]) -> tuple[float, list[str]]:
    """Seconds that a fresh interpreter takes to import them, and which of HEAVY it holds then."""
    code = MEASURE.format(names=names, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    seconds, heavy = json.loads(done.stdout.splitlines()[-1])
    return seconds, heavy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| page | s | × Streamlit alone | imports |\n|---|---|---|---|")
    for entry in entries():
        names = imports_of(MAIN, path(entry))
        pairs = [(measure(["streamlit"])[0], measure(names)) for _ in range(rounds)]
        seconds = statistics.median(own for _, (own, _) in pairs)
        ratio = statistics.median(own / alone for alone, (own, _) in pairs)
        print(f"| {entry.title} | {seconds:.2f} | {ratio:.2f} | {', '.join(pairs[0][1][1])} |", flush=True)


if __name__ == "__main__":
    main()
