"""Views for tests, from plain settings: each goes to the part of a View that has it."""

from dataclasses import fields, replace
from typing import Any

from explorer.models.source import ModelSource
from explorer.rendering.view import Look, PhotoInput, View


def view_of(source: str = "tiny", image: str = "photo.png", **settings: Any) -> View:
    """A view of that model and image, the rest as in changed()."""
    return changed(View(ModelSource(source), PhotoInput(image)), **settings)


def changed(view: View, **settings: Any) -> View:
    """The view with some settings changed: "kind", and those of its photo, its look or its map."""
    photo, look = (
        {each.name: settings.pop(each.name) for each in fields(part) if each.name in settings}
        for part in (PhotoInput, Look)
    )
    view = replace(view, photo=replace(view.photo, **photo), look=replace(view.look, **look))
    return view.with_map(settings.pop("kind", None), **settings)
