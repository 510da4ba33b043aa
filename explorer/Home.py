"""The app's entry point, `streamlit run explorer/Home.py`: a server that runs main.py for each visitor and change."""

import sys
from pathlib import Path

# Streamlit puts this file's folder on the path: the package lies one above, and explorer/data would be `import data`.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry or ".").resolve() != _HERE)]

import streamlit as st  # noqa: E402

from explorer.ui.startup import MIDDLEWARE, ROUTES, lifespan  # noqa: E402

app = st.App(_HERE / "ui" / "script" / "main.py", lifespan=lifespan, routes=ROUTES, middleware=MIDDLEWARE)
