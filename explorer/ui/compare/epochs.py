"""Compare over a training: the start and one kept epoch side by side, and how far every layer moved in between."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

import explorer
from explorer.attention.divergence import History, epoch_divergence
from explorer.attention.recording import Recording
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit
from explorer.rendering.charts import history_figure
from explorer.rendering.view import View
from explorer.ui import cached
from explorer.ui.address import number, take, write
from explorer.ui.compare.view import Pair, second_recording
from explorer.ui.messages import check_link
from explorer.ui.state import Current
from explorer.ui.view_settings import asked_from
from explorer.ui.widgets import PLAIN, progress_bar

RUN, EPOCH = "trained", "epoch"
KEPT, MOST_KEPT = "epoch_divergences", 400  # tables of this session, by what they were computed from


def trained_models() -> dict[str, str]:
    """Key -> title of every checkpoint that kept epochs beside it."""
    return {entry.key: entry.title for entry in registry.local_entries() if registry.saved_epochs(entry.key)}


def pick_epochs(now: Current, trained: dict[str, str]) -> tuple[Pair, str]:
    """A checkpoint and one of its epochs, beside the start; and the checkpoint's key."""
    run_at, epoch_at = st.columns([2, 3], gap="large")
    check_link(RUN, trained.__contains__, f"one of {', '.join(trained)}")
    take(RUN, lambda text: text if text in trained else None, next(iter(trained)))
    key = run_at.selectbox("Training", list(trained), format_func=trained.__getitem__, key=RUN, persist_state="session")
    write(RUN, key)
    kept = dict(registry.saved_epochs(key))
    epochs = [0, *kept]
    within = number(int, 0, max(kept))
    check_link(EPOCH, lambda text: within(text) in epochs, f"one of {', '.join(map(str, epochs))}")
    take(EPOCH, lambda text: epoch if (epoch := within(text)) in epochs else None, max(kept))
    epoch = epoch_at.select_slider("Epoch (0: before training)", epochs, key=EPOCH, persist_state="session")
    write(EPOCH, str(epoch))
    start = _start(now, key)
    before = second_recording(now, start)
    if epoch:
        source = f"{key}/{registry.EPOCHS}/{kept[epoch].name}"
        after = second_recording(now, cached.load_model(source))
    else:
        after = before
    return Pair(before, after, replace(now.view, source=start.source), trained=True), key


def _start(now: Current, key: str) -> Model:
    """The model that the training began with; where the checkpoint doesn't say which, the sidebar's."""
    origin = registry.trained_from(key)
    if origin is None:
        st.info("This checkpoint doesn't say what it was trained from: the model in the sidebar stands for its start.")
        return now.model
    return cached.load_model(origin.model)


def divergence_by_epoch(view: View, pair: Pair, now: Current, key: str) -> None:
    """The divergence from the start of every layer, epoch by epoch."""
    st.subheader("Over the epochs", anchor=False)
    result = _history(view, pair.first, now, key)
    st.plotly_chart(
        history_figure(result, view.map["layer"], st.session_state[EPOCH]),
        key="by_epoch",
        width="stretch",
        config=PLAIN,
    )
    asked = asked_from(pair.first, view)
    head_only = " All maps are the same: only the head was trained." if not result.table.any() else ""
    st.caption(
        f"Jensen-Shannon divergence from the start, mean over the heads of each layer, from {asked}. "
        f"Bold: layer {view.map['layer']}.{head_only}"
    )


def _history(view: View, start: Recording, now: Current, key: str) -> History:
    """Epoch after epoch, each kept for this session, so that one that was broken off goes on where it was."""
    epochs = registry.saved_epochs(key)
    shelf: dict[tuple, np.ndarray] = st.session_state.setdefault(KEPT, {})
    tables, image = [], now.photo.image  # read here: it asks Streamlit's cache, which is not for other threads
    with progress_bar("Epochs looked at") as progress:
        for done, (_, folder) in enumerate(epochs, start=1):
            asked = (view.source, view.map["query"], view.look.hide_artefacts, now.photo.key, start.image.size, now.fit)
            mark = (folder, cached.stamp(str(folder)), asked)
            if mark not in shelf:
                shelf[mark] = cached.in_recording_thread(
                    lambda folder=folder: _divergence(folder, image, now.fit, start, view)
                )
                progress(done, len(epochs))
            tables.append(shelf[mark])
    while len(shelf) > MOST_KEPT:
        shelf.pop(next(iter(shelf)))
    unmoved = np.zeros((start.depth, start.num_heads))
    return History((0, *(epoch for epoch, _ in epochs)), np.stack([unmoved, *tables]))


def _divergence(folder: Path, image: Image.Image, fit: Fit, start: Recording, view: View) -> np.ndarray:
    recording = explorer.record(explorer.load_model(folder), image, min(start.image.size), fit)
    return epoch_divergence(start, recording, view.map["query"], view.look.hide_artefacts)
