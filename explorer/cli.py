"""The command line: `python -m explorer COMMAND …`; each command is a module of explorer.commands."""

import argparse
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import explorer.commands
from explorer.errors import ExplorerError


class OneLineParser(argparse.ArgumentParser):
    """argparse's parser, whose errors are one line instead of the whole usage; its subcommands inherit that."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (`{self.prog} --help` says what it takes)\n")


def program() -> str:
    """How the command line was called: by the installed command's name, or as a module."""
    return "vit-explorer" if Path(sys.argv[0]).stem == "vit-explorer" else "python -m explorer"


def build_parser() -> argparse.ArgumentParser:
    """The parser with every module of explorer.commands as a subcommand, in alphabetical order."""
    parser = OneLineParser(prog=program(), description="See where a Vision Transformer looks.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in pkgutil.iter_modules(explorer.commands.__path__):
        if not module.name.startswith("_"):
            import_module(f"explorer.commands.{module.name}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 2 bad input with one line on stderr, 1 the reader of stdout went away, 130 Ctrl-C."""
    # Python has None for a stream that was closed from the start.
    sys.stdout, sys.stderr = (each or io.StringIO() for each in (sys.stdout, sys.stderr))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal can't show is shown escaped
    try:
        args = build_parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()  # a closed pipe must show here, not when Python exits
        return code
    except ExplorerError as error:
        message = " ".join(str(error).split())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to say, not even at exit
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:
        message = (
            f"{error.filename or 'A file'} can't be read or written ({error.strerror or error}): give another path."
        )
    print(f"error: {message}", file=sys.stderr)
    return 2
