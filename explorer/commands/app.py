"""`python -m explorer app`: the app in a browser, as `streamlit run explorer/Home.py` starts it from a checkout."""

import argparse
import os
import subprocess
import sys
from typing import Any

from explorer import paths

EXAMPLE = "example: vit-explorer app --server.port 8600 --server.headless true"


def add_parser(subparsers: Any) -> None:
    """app [STREAMLIT'S OPTIONS]"""
    # Another prefix than "-": what follows is Streamlit's, not argparse's.
    parser = subparsers.add_parser("app", help="start the app in a browser", epilog=EXAMPLE, prefix_chars="+")
    parser.add_argument("options", nargs="*", help="options of `streamlit run`, handed on as they are")
    parser.set_defaults(run=run, words=parser.format_help)


def run(args: argparse.Namespace) -> int:
    """Run the server until it is stopped; its exit status."""
    if {"-h", "--help"} & set(args.options):
        print(args.words(), end="")
        return 0
    command = [sys.executable, "-m", "streamlit", "run", str(paths.PACKAGE / "Home.py"), *args.options]
    if os.name == "nt":  # where the terminal wouldn't wait for the program that takes this one's place
        return subprocess.call(command)
    os.execv(sys.executable, command)  # so that who ends this process, as `docker stop` does, ends the server
