"""Models and recordings kept between reruns and shared by all sessions; a few only, since both are large."""

from pathlib import Path

import streamlit as st

import explorer
from explorer.attention.recording import Recording
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit
from explorer.ui.photos import Photo

MODELS = 3  # a ViT-B is 330 MB
RECORDINGS = 2  # ViT-S/8 at 480 px is 132 MB


def load_model(source: str, arch: str | None = None, num_heads: int | None = None) -> Model:
    """explorer.load_model, kept; a file or folder that changed on disk is read again."""
    return _load_model(source, arch, num_heads, _stamp(source))


def record(
    model: Model,
    photo: Photo,
    size: int,
    fit: Fit = "crop",
    arch: str | None = None,
    num_heads: int | None = None,
) -> Recording:
    """explorer.record, kept; arch and num_heads are those the model was loaded with."""
    key = (model.source, arch, num_heads, _stamp(model.source), photo.key, size, fit)
    return _record(key, model, photo, size, fit)


def _stamp(source: str) -> tuple[int, int] | None:
    """What changes when the file, or the folder, of that source does."""
    path = Path(source)
    if not path.exists():
        return None
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return max((file.stat().st_mtime_ns for file in files), default=0), sum(file.stat().st_size for file in files)


@st.cache_resource(max_entries=MODELS, show_spinner="Loading the model …")
def _load_model(source: str, arch: str | None, num_heads: int | None, stamp: tuple[int, int] | None) -> Model:
    return explorer.load_model(source, arch=arch, num_heads=num_heads)


@st.cache_resource(max_entries=RECORDINGS, show_spinner="Looking at the photo …")
def _record(key: tuple, _model: Model, _photo: Photo, _size: int, _fit: Fit) -> Recording:
    return explorer.record(_model, _photo.image, size=_size, fit=_fit)
