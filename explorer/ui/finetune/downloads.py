"""The files of a finished run to take away: the model, numbers, curves, and the model for programs without PyTorch."""

import zipfile
from io import BytesIO
from pathlib import Path

import streamlit as st

from explorer.errors import CheckpointError
from explorer.models.onnx import export_onnx
from explorer.models.registry import resolve
from explorer.training.runs.jobs import Run
from explorer.ui import cached
from explorer.ui.attention.share import site_button

FILES = {"epochs.csv": "text/csv", "curves.html": "text/html", "metrics.json": "application/json"}
MODEL_FILES = "config.json", "model.safetensors", "README.md"


def downloads(run: Run, key: str | None) -> None:
    """A button for the trained model, one for each file that the run left, and one for the ONNX file, made when asked.

    key: the model that was made; None where it is gone.
    """
    if key is not None:
        folder = resolve(key)
        st.download_button(
            "Model (zip)", lambda: model_zip(folder), f"{folder.name}.zip", "application/zip", on_click="ignore",
            icon=":material/download:", key="file_model", help="The trained weights, their settings and a model card.",
        )  # fmt: skip
    for name, kind in FILES.items():
        path = run.folder.path / name
        if path.is_file():
            st.download_button(
                name, lambda path=path: path.read_bytes(), f"{run.name}-{name}", kind, on_click="ignore",
                icon=":material/download:", key=f"file_{name}",
            )  # fmt: skip
    if key is None:
        return
    site_button(lambda: cached.load_model(key), run.name, "file_site")
    onnx = resolve(key) / "model.onnx"
    if onnx.is_file():
        st.download_button(
            "model.onnx", lambda: onnx.read_bytes(), f"{run.name}.onnx", on_click="ignore", icon=":material/download:",
            key="file_onnx",
        )  # fmt: skip
    elif st.button("Make ONNX", icon=":material/output:", key="make_onnx"):
        _make_onnx(key, onnx)
        st.rerun()


def model_zip(folder: Path) -> bytes:
    """A checkpoint's own files below its name, without its kept epochs; stored as they are, since weights don't shrink.

    Raises CheckpointError where one is gone.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in MODEL_FILES:
            try:
                file.write(folder / name, f"{folder.name}/{name}")
            except OSError as error:
                raise CheckpointError(f"{name} of {folder.name} can't be read ({error.strerror}).") from error
    return content.getvalue()


def _make_onnx(key: str, path: Path) -> None:
    with st.spinner("Writing the model as ONNX"):
        model = cached.load_model(key)
        export_onnx(model.module, path, model.input_size)
