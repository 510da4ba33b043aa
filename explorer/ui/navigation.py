"""The pages of the app, in the order of its menu."""

from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.navigation.page import Page

from explorer import paths


class Entry(NamedTuple):
    """One page: its file in pages/ without .py, its title and icon in the menu, and what a person does there."""

    name: str
    title: str
    icon: str
    purpose: str


PAGES = (
    Entry("home", "Home", ":material/visibility:", "See a photo through the model's eyes."),
    Entry("patches", "Patches", ":material/grid_view:", "How a photo becomes tokens, step by step."),
    Entry("inside", "Inside", ":material/account_tree:", "One token through one layer, number by number."),
    Entry("attention", "Attention", ":material/my_location:", "Any layer, any head, asked from any patch."),
    Entry("features", "Features", ":material/palette:", "What the tokens have in common: colours, parts, neighbours."),
    Entry("compare", "Compare", ":material/compare:", "Two models on one photo, or one before and after training."),
    Entry("video", "Video", ":material/movie:", "Attention over a short clip, in one colour scale."),
    Entry(
        "finetune", "Fine-tune", ":material/model_training:", "Teach the model your own classes from a zip of photos."
    ),
    Entry("evaluate", "Evaluate", ":material/fact_check:", "How often it is right, where it errs, and why."),
)


def entries() -> list[Entry]:
    """The pages whose files are there."""
    return [entry for entry in PAGES if path(entry).is_file()]


def path(entry: Entry) -> Path:
    """The file of a page."""
    return paths.PAGES / f"{entry.name}.py"


def page(entry: Entry) -> Page:
    """What st.navigation and st.page_link take; the first page is where the bare address leads."""
    return st.Page(path(entry), title=entry.title, icon=entry.icon, url_path=entry.name, default=entry is PAGES[0])


def is_home(opened: Page) -> bool:
    """Whether that page is the one which is there before PyTorch is."""
    return opened.url_path == ""


def pages() -> list[Page]:
    """Every page, for st.navigation."""
    return [page(entry) for entry in entries()]


def page_named(name: str) -> Page:
    """The page whose file in pages/ has that name."""
    return page(next(entry for entry in PAGES if entry.name == name))
