"""The files of a finished run to take away: numbers, curves, and the model for programs without PyTorch."""

from pathlib import Path

import streamlit as st

from explorer.models.registry import resolve
from explorer.training.export import export_onnx
from explorer.training.jobs import Run
from explorer.ui import cached

FILES = {"epochs.csv": "text/csv", "curves.html": "text/html", "metrics.json": "application/json"}


def downloads(run: Run, key: str | None) -> None:
    """A button for each file that the run left, and one that makes and then gives the ONNX file.

    key: the model that was made; None where it is gone.
    """
    for name, kind in FILES.items():
        path = run.folder.path / name
        if path.is_file():
            st.download_button(
                name, lambda path=path: path.read_bytes(), f"{run.name}-{name}", kind, on_click="ignore",
                icon=":material/download:", key=f"file_{name}",
            )  # fmt: skip
    if key is None:
        return
    onnx = resolve(key) / "model.onnx"
    if onnx.is_file():
        st.download_button(
            "model.onnx", lambda: onnx.read_bytes(), f"{run.name}.onnx", on_click="ignore", icon=":material/download:",
            key="file_onnx",
        )  # fmt: skip
    elif st.button("Make ONNX", icon=":material/output:", key="make_onnx"):
        _make_onnx(key, onnx)
        st.rerun()


def _make_onnx(key: str, path: Path) -> None:
    with st.spinner("Writing the model as ONNX"):
        model = cached.load_model(key)
        export_onnx(model.module, path, model.input_size)
