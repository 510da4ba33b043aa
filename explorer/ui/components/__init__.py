"""Small Streamlit components of the app, without a build step: a Python function, a script and a style each."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return (_FOLDER / name).read_text("utf-8")


def script(*parts: str) -> str:
    """The parts of a script as one module, which has mounted() and endWhenGone() of mounted.js for its clean-up."""
    return "\n".join((asset("mounted.js"), *parts))
