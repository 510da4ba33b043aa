"""Pickers for the other half of a comparison: a second model, a second photo."""

from collections import Counter

import streamlit as st

from explorer.data.samples import SAMPLES
from explorer.models import registry
from explorer.models.backbone import Model
from explorer.ui.address import by_key, take, write
from explorer.ui.messages import check_link
from explorer.ui.model_picker import load_picked, model_box
from explorer.ui.photos import Photo, my_photos, samples


def pick_second_model(label: str, key: str, first: str) -> Model:
    """A model picker like the sidebar's, at first with another than that one; ExplorerError where it can't load.

    A bare weights file gets the same fields as in the sidebar, their keys beginning with `key`.
    """
    others = [entry.key for entry in registry.entries() if entry.key != first and registry.is_cached(entry)]
    source = model_box(label, key, others[0] if others else registry.BUNDLED)
    write(key, source)  # always: which model is the default depends on what lies on this machine
    return load_picked(source, f"{key}_")


def pick_second_photo(label: str, key: str, first: str) -> Photo:
    """One of the session's photos and the samples, at first another than the one of source `first`."""
    photos = {photo.key: photo for photo in (*my_photos(), *samples())}
    counts = Counter(photo.title for photo in photos.values())
    labels = {
        name: photo.title if counts[photo.title] == 1 else f"{photo.title} ({name[:6]})"
        for name, photo in photos.items()
    }
    default = next((name for name, photo in photos.items() if photo.source != first), next(iter(photos)))
    check_link(key, lambda text: _read(labels, text) is not None, f"one of {', '.join(SAMPLES)}")
    take(key, lambda text: _read(labels, text), default)
    photo = photos[st.selectbox(label, list(photos), key=key, format_func=labels.__getitem__, persist_state="session")]
    sample = photo.source.removeprefix("sample:")
    write(key, sample if sample in SAMPLES and photo.key != default else None)
    return photo


def _read(labels: dict[str, str], text: str) -> str | None:
    """A photo by its key, a sample also by its name alone, as links have it."""
    return f"sample:{text}" if text in SAMPLES else by_key(labels)(text)
