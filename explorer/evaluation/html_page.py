"""The frame of a report in one HTML file, which loads nothing, runs nothing, and is light or dark as its reader is."""

from collections.abc import Iterable
from html import escape


def html_page(title: str, parts: Iterable[str], style: str) -> str:
    """The page of these parts, which are HTML; empty ones are left out. style: CSS beside the common one."""
    body = "\n".join(part for part in parts if part)
    return PAGE.format(title=escape(title), style=COMMON + style, body=body)


COMMON = """\
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
body { overflow-wrap: anywhere; } .wide { overflow-x: auto; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } small { opacity: .75; }
th, td { padding: .3rem .6rem; text-align: right; } th { text-align: left; }
"""

PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
{style}</style></head><body>
{body}
</body></html>
"""
