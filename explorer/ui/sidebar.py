"""The sidebar of every page: which photo, which model, at what size."""

from typing import TYPE_CHECKING, cast

import streamlit as st

from explorer.models.facts import ModelFacts
from explorer.ui.address import by_key, number, take, write, write_unless
from explorer.ui.messages import check_link
from explorer.ui.model_picker import pick_model
from explorer.ui.photos import pick_photo
from explorer.ui.state import Choice, choose, chosen
from explorer.ui.widgets import script
from explorer.words import percent

if TYPE_CHECKING:
    from explorer.attention.photo_part import PhotoPart
    from explorer.models.preprocess import Fit

PATCHES = 4, 64  # the least and the most patches along the short side that the size slider offers
FITS = {"own": "Own", "crop": "Crop", "squash": "Squash", "keep": "Keep"}
UNSAID = 0.26  # of a photo may be cut off without a word: a 4:3 photo loses 0.25 to a square
_NEXT = "view_next"  # the size that the next run begins with, None for the model's own; the fit is then the model's own
_FITTED_FOR = "fitted_for"  # own fit of the model that the fit was last shown for
_SIZED_FOR = "sized_for"  # (input size, patch size) of the model that the size slider was last made for


def sidebar(wait: bool = True) -> None:
    """Draw it, and tell explorer.ui.state what was chosen.

    wait=False: for a page that can do without the model while the bundled one loads, as Choice.loaded says.
    """
    with st.sidebar:
        with st.container(key="choose_photo"):
            photo = pick_photo()
        facts, loaded = pick_model(wait)
        with st.container(key="choose_view"):
            _begin(facts)
            size = _pick_size(facts)
            fit = _pick_fit(facts)
        script()
    choose(Choice(facts, photo, size, fit, loaded))


def pick_view_next(size: int | None = None) -> None:
    """Have the next run begin with that size, by default the model's own, and the model's own fit."""
    st.session_state[_NEXT] = size


def offer_whole(part: "PhotoPart") -> None:
    """Say how much of the photo the fit cuts off, where that is much, with a button that shows all of it."""
    cut = part.geometry.cut_off(part.photo_size)
    if cut <= UNSAID:
        return
    whole = "squash" if chosen().facts.fixed_size else "keep"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            f"{percent(cut, 0)} of this photo is cut off (Fit: {FITS[st.session_state['fit']]}).", width="content"
        )
        if st.button(
            "Show all of it",
            key="whole",
            type="tertiary",
            icon=":material/fit_screen:",
            on_click=_take_fit,
            args=(whole,),
            help=f"Sets Fit to {FITS[whole]}.",
        ):
            st.rerun()  # the sidebar, too, where this stands in a fragment


def _take_fit(fit: str) -> None:
    st.session_state["fit"] = fit


def model_only() -> None:
    """Hide the photo, its size and its fit on a page where they have no effect; what was chosen stays chosen."""
    if not st.session_state.get("camera_on"):  # a camera that is on must be seen
        st.html("<style>.st-key-choose_photo, .st-key-choose_view { display: none; }</style>")


def _begin(model: ModelFacts) -> None:
    """Carry out pick_view_next, now that it is known for which model."""
    if _NEXT in st.session_state:
        size = st.session_state.pop(_NEXT) or model.input_size
        low, high = (count * model.patch_size for count in PATCHES)
        st.session_state.update(size=min(max(size, low), high), fit=model.own_fit)
        st.session_state[_SIZED_FOR] = model.input_size, model.patch_size  # the size is meant for this model


def _pick_size(model: ModelFacts) -> int:
    fixed = model.fixed_size
    if fixed:
        st.caption(f"Input size: this model takes only {fixed[1]} × {fixed[0]} pixels.")
        write("size", None)
        return min(fixed)
    patch = model.patch_size
    low, high = PATCHES[0] * patch, PATCHES[1] * patch
    _follow_model(model, low, high)

    def read(text: str) -> int | None:
        size = number(int, low, high)(text)
        return size if size is not None and size % patch == 0 else None

    check_link(
        "size",
        lambda text: read(text) is not None,
        f"a multiple of the model's patch size, {patch}, from {low} to {high}",
    )
    default = min(max(model.input_size, low), high)
    take("size", read, default)
    # Not st.slider: another step would make it a new widget, which forgets the old one's size.
    size = st.select_slider(
        "Input size (pixels)", range(low, high + 1, patch), key="size", persist_state="session",
        help="Short side of the photo as the model sees it. Larger means more patches: finer maps, but slower.",
    )  # fmt: skip
    write_unless("size", default)
    return cast(int, size)


def _follow_model(model: ModelFacts, low: int, high: int) -> None:
    """After another model was picked: its own size where the old one's was shown, else the nearest multiple."""
    before = st.session_state.get(_SIZED_FOR)
    now = (model.input_size, model.patch_size)
    st.session_state[_SIZED_FOR] = now
    if before in (None, now) or "size" not in st.session_state:
        return
    size = st.session_state["size"]
    nearest = round(size / model.patch_size) * model.patch_size
    st.session_state["size"] = min(max(model.input_size if size == before[0] else nearest, low), high)


def _pick_fit(model: ModelFacts) -> "Fit":
    """The fit, the model's own until another is chosen; "own" stands among the others only where it is none of them."""
    own = model.own_fit
    fits = {key: label for key, label in FITS.items() if key != "own" or own == "own"}
    read = by_key(fits)
    check_link("fit", lambda text: read(text) is not None, f"one of {', '.join(fits)}")
    if "fit" in st.session_state and st.session_state["fit"] == st.session_state.get(_FITTED_FOR, own):
        st.session_state["fit"] = own  # of a model that was picked after another
    st.session_state[_FITTED_FOR] = own
    take("fit", read, own)
    fit = st.segmented_control(
        "Fit", list(fits), format_func=fits.__getitem__, key="fit", required=True, persist_state="session",
        help=("Own: as the model was measured. " if own == "own" else "")
        + "Crop: the centre square. Squash: the whole photo, made square. Keep: the whole photo in its own shape.",
    )  # fmt: skip
    write_unless("fit", own)
    return cast("Fit", fit)
