"""The sidebar of every page: which model, which photo, at what size."""

from typing import get_args

import streamlit as st

from explorer.models.backbone import Model
from explorer.models.preprocess import Fit
from explorer.ui.messages import check_link
from explorer.ui.model_picker import pick_model
from explorer.ui.photo_picker import pick_photo
from explorer.ui.state import Choice, choose

PATCHES = 4, 64  # patches along the short side that the size slider offers
FITS = {"crop": "Crop", "squash": "Squash", "keep": "Keep"}
assert set(FITS) == set(get_args(Fit))


def sidebar() -> None:
    """Draw it, and tell explorer.ui.state what was chosen."""
    with st.sidebar:
        picked = pick_model()
        photo = pick_photo()
        size, fit = _pick_size(picked.model), _pick_fit()
    choose(Choice(picked.model, picked.source, picked.arch, picked.num_heads, photo, size, fit))


def _pick_size(model: Model) -> int:
    fixed = model.adapter.fixed_size if hasattr(model.adapter, "fixed_size") else None
    if fixed:
        st.caption(f"Input size: this model takes only {fixed[1]} x {fixed[0]} pixels.")
        return min(fixed)
    patch = model.patch_size
    low, high = PATCHES[0] * patch, PATCHES[1] * patch
    _follow_patch(model, low, high)
    check_link(
        "size", _usable(st.query_params.get("size"), low, high, patch), f"a multiple of {patch} from {low} to {high}"
    )
    return st.slider(
        "Input size", low, high, model.input_size, step=patch, format="%d px", key="size", bind="query-params",
        help="Short side of the photo as the model sees it. Larger: more patches, finer maps, slower.",
    )  # fmt: skip


def _usable(text: str | None, low: int, high: int, patch: int) -> str:
    good = text is not None and text.isdigit() and low <= int(text) <= high and int(text) % patch == 0
    return text if good and text else ""


def _follow_patch(model: Model, low: int, high: int) -> None:
    """Another model: its own size where the old one's was used, else the nearest multiple of its patch."""
    before: tuple[int, int] | None = st.session_state.get("size_model")
    now = (model.input_size, model.patch_size)
    st.session_state["size_model"] = now
    if before is None or before == now or "size" not in st.session_state:
        return
    size = st.session_state["size"]
    nearest = round(size / model.patch_size) * model.patch_size
    st.session_state["size"] = model.input_size if size == before[0] else min(max(nearest, low), high)


def _pick_fit() -> Fit:
    check_link(
        "fit",
        st.query_params.get("fit", "") if st.query_params.get("fit") in FITS.values() else "",
        "Crop, Squash or Keep",
    )
    chosen = st.segmented_control(
        "Fit", list(FITS), default="crop", format_func=FITS.__getitem__, key="fit", bind="query-params", required=True,
        help="Crop: the centre square. Squash: the whole photo, its sides made equal. Keep: the whole photo, its own shape.",
    )  # fmt: skip
    return chosen
