"""The app's entry point, `streamlit run explorer/Home.py`: a server that gets ready before its first visitor comes.

What a page shows is made by main.py, which Streamlit runs for every visitor and every change.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

# Streamlit puts this file's folder on the path: the package lies one above, and explorer/data would be `import data`.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != _HERE)]

import streamlit as st  # noqa: E402

from explorer.ui import startup  # noqa: E402


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    startup.get_ready()
    yield


app = st.App(_HERE / "main.py", lifespan=_lifespan)
