"""What the sidebar chose, for every page.

A page begins with one of two calls:

    from explorer.ui.state import chosen, current

    choice = chosen()          # Choice: facts of the model, photo, size and fit; no forward pass
    choice.model               # explorer.Model
    now = current()            # Current: a Choice with its recording
    now.recording              # explorer.Recording, kept between reruns and shared by all pages
    now.model                  # explorer.Model
    now.photo.image            # PIL, the whole photo; now.photo.title for people
    now.model.source           # ModelSource: what load_model takes to load it again
    now.view.with_map(layer=3)  # explorer.View of that model and photo

Where the newest choice can't be recorded, current() says why in one sentence above the page and gives the last one that
could, so the last good picture stays; a page needs no code for that. To record something else, a second model say:

    from explorer.ui import cached
    other = cached.record(cached.load_model("timm:deit_tiny_patch16_224"), now.photo, size=224, fit=now.fit)

inside `with show_errors():` of explorer.ui.messages. A page's own settings are widgets with bind="query-params"; call
messages.check_link(key, …) before such a widget to name a value in the address that can't be used.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import streamlit as st

from explorer.errors import ExplorerError
from explorer.models.facts import ModelFacts
from explorer.rendering.view import PhotoInput, View
from explorer.ui import cached
from explorer.ui.messages import sentence_of
from explorer.ui.photos import Photo

if TYPE_CHECKING:
    from explorer.attention.recording import Recording
    from explorer.models.backbone import Model
    from explorer.models.preprocess import Fit

_CHOICE = "choice"  # what the sidebar chose in this run
_GOOD = "last_good"  # the newest Current that could be recorded


@dataclass(frozen=True)
class Choice:
    """A model, a photo and how the photo is fitted to it."""

    facts: ModelFacts
    photo: Photo
    size: int
    fit: "Fit"
    loaded: "Model | None" = None  # None while the bundled model loads behind the first picture

    @property
    def model(self) -> "Model":
        """The model; where it isn't loaded yet, a line on the page says so until it is."""
        return self.loaded or cached.load_model(self.facts.source)

    @property
    def view(self) -> View:
        """The model and the photo as parts of a View; its map and look are the defaults."""
        return View(self.facts.source, PhotoInput(self.photo.source, self.size, self.fit))


@dataclass(frozen=True, kw_only=True)
class Current(Choice):
    """A choice that was recorded."""

    recording: "Recording"

    @property
    def model(self) -> "Model":
        return self.recording.model


def choose(choice: Choice) -> None:
    """Called by the sidebar in every run."""
    st.session_state[_CHOICE] = choice


def chosen() -> Choice:
    """What the sidebar chose, without a forward pass."""
    return st.session_state[_CHOICE]


def current() -> Current:
    """The choice and its recording, or, with a sentence on what is wrong, the last choice that could be recorded."""
    try:
        now = _recorded(chosen())
    except ExplorerError as error:
        good: Current | None = st.session_state.get(_GOOD)
        st.error(sentence_of(error) + (" Below is the last picture that worked." if good else ""))
        if good is None:
            st.stop()
        return good
    st.session_state[_GOOD] = now
    return now


def shown_photo() -> Photo:
    """The photo of the newest current()."""
    return st.session_state[_GOOD].photo


def _recorded(choice: Choice) -> Current:
    recording = cached.record(choice.model, choice.photo, choice.size, choice.fit)
    return Current(**{field.name: getattr(choice, field.name) for field in fields(Choice)}, recording=recording)
