"""`python -m explorer verify`: makes a picture or NPZ again from its settings, and says whether it agrees."""

import argparse
from pathlib import Path

MARKS = {True: "agrees", False: "DIFFERS", None: "note"}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """verify FILE [--photo PHOTO]"""
    parser = subparsers.add_parser("verify", help="make a PNG or NPZ again from its settings and compare")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--photo", type=Path, help="what it was made of, where it no longer lies at the path inside")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what was compared; 0 where all agrees, 1 where something differs."""
    from explorer import malloc
    from explorer.rendering.verify import verify

    malloc.settle()
    findings = verify(args.file, args.photo)
    for finding in findings:
        print(f"{MARKS[finding.agrees]:<8} {finding.what}: {finding.words}")
    agrees = all(finding.agrees is not False for finding in findings)
    print(f"{args.file}: {'agrees with its settings' if agrees else 'does not agree with its settings'}")
    return 0 if agrees else 1
