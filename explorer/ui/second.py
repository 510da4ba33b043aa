"""Pickers for the other half of a comparison: a second model, a second photo."""

import streamlit as st

from explorer.models import registry
from explorer.models.backbone import Model
from explorer.ui import cached
from explorer.ui.messages import check_link
from explorer.ui.model_picker import source_of
from explorer.ui.photos import Photo, my_photos, samples


def pick_second_model(label: str, key: str, first: str) -> Model:
    """A model picker like the sidebar's, at first with another than that one; ExplorerError where it can't load."""
    entries = {entry.key: entry for entry in registry.entries()}
    keys = list(entries)
    others = [entry.key for entry in entries.values() if entry.key != first and registry.is_cached(entry)]
    source = str(
        st.selectbox(
            label, keys, keys.index(others[0]) if others else 0, key=key, bind="query-params", accept_new_options=True,
            format_func=lambda name: entries[name].title if name in entries else str(name), filter_mode="contains",
            help="Pick one, or type any timm or Hugging Face id.",
        )
    )  # fmt: skip
    return cached.load_model(source if source in entries else source_of(source))


def pick_second_photo(label: str, key: str, first: str) -> Photo:
    """One of the session's photos and the samples, at first another than the one of source `first`."""
    photos = {photo.title: photo for photo in (*my_photos(), *samples())}
    titles = list(photos)
    check_link(key, photos.__contains__, f"one of {', '.join(titles)}")
    start = next((index for index, title in enumerate(titles) if photos[title].source != first), 0)
    return photos[st.selectbox(label, titles, start, key=key, bind="query-params")]
