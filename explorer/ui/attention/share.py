"""The Share tab: the view as files that leave the app, made only when clicked."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import streamlit as st

from explorer import paths
from explorer.attention.maps.kind import MapKind
from explorer.attention.recording import Recording
from explorer.data.samples import SAMPLE
from explorer.errors import ModelError, QueryError
from explorer.models.backbone import Model
from explorer.models.onnx import check_exporter
from explorer.rendering.figures import figure
from explorer.rendering.gif import layers_gif
from explorer.rendering.names import Names, parse_names
from explorer.rendering.python_script import python_script
from explorer.rendering.view import View, png, save_npz
from explorer.ui.map_picker import Shown, canvas_place, pick_map
from explorer.ui.messages import plain, sentence_of
from explorer.ui.state import shown_photo
from explorer.ui.view_settings import download_name
from explorer.web.live_page import live_page
from explorer.web.site.about import about_model
from explorer.web.site.page import one_file

A_ROW = 4  # files side by side
LOCAL = {"localhost", "127.0.0.1", "[::1]"}


class File(NamedTuple):
    """One form of a view."""

    label: str
    ending: str
    mime: str
    make: Callable[[], bytes | str]
    about: str
    fits: Callable[[MapKind], object] = lambda kind: True  # which kinds of map it exists for


def share_tab(rec: Recording, view: View) -> None:
    """Every form of one map of the view; the page's address restores it too."""
    shown = pick_map(canvas_place(rec, view))
    if shown is None:
        return
    name, names = download_name(rec, shown.view), _pick_names()
    st.caption(f"The address of this page brings this view back{_not_in_link(shown.view)}. To take it elsewhere:")
    _buttons(name, [file for file in _files(rec, shown, names) if file.fits(shown.view.map.row)])
    here = is_here(st.context.headers) and paths.workspace() is None
    script = python_script(shown.view, elsewhere=not here)
    st.markdown(
        "**This view as Python**: the script writes the same picture (PNG) and maps (NPZ) as the buttons above."
    )
    st.download_button(
        "Script (.py)", script, f"{name}.py", "text/x-python", on_click="ignore", key="share_py",
        icon=":material/code:",
        help=f"Runs {'from any folder here' if here else 'where the explorer is installed'}, and writes beside itself.",
    )  # fmt: skip
    st.code(script, language="python")
    site_button(lambda: rec.model, Path(rec.model.name).stem, "share_site")
    if own := own_photos(shown.view):
        st.caption(f"Put {plain(' and '.join(own))} beside the script, or change the path in it.")


def is_here(headers: Mapping[str, str]) -> bool:
    """Whether the browser with these headers runs on the server's own machine, whose folders may be named to it."""
    named = {name.lower(): value for name, value in headers.items()}
    host = re.sub(r":\d+$", "", named.get("host", "localhost"))
    return host in LOCAL and not named.keys() & {"x-forwarded-for", "forwarded"}


def site_button(load: Callable[[], Model], name: str, key: str, unsure: float | None = None) -> None:
    """The page with the model inside, made when it is clicked; load: the model, name: of the file.

    unsure: the probability below which the page says that it is unsure.
    """
    try:
        check_exporter("A web page of this model")
    except ModelError as error:
        st.caption(sentence_of(error))
        return

    def make() -> str:
        model = load()
        return one_file(model, about_model(model, unsure))

    st.download_button(
        "Web page of this model (HTML)", paths.for_same_visitor(make), f"{name}.html", "text/html", on_click="ignore",
        key=key, icon=":material/language:",
        help="One file that runs the model in the visitor's browser, on any photo. Takes some seconds to make.",
    )  # fmt: skip


def _pick_names() -> Names:
    """What heads and classes are called in figures, as the person says."""
    with st.expander("Names in figures"):
        text = st.text_area(
            "Names", key="figure_names", persist_state="session", label_visibility="collapsed",
            placeholder="9.3 = ears\ntabby, tabby cat = cat",
            help="One per line: a head as layer.head, or a class, and its name in figures.",
        )  # fmt: skip
        try:
            return parse_names(str(text).splitlines())
        except QueryError as error:
            st.error(sentence_of(error))
            return {}


def _buttons(name: str, files: list[File]) -> None:
    """Row after row, so that they keep their order on a phone, where columns lie one below the other."""
    for start in range(0, len(files), A_ROW):
        for place, file in zip(st.columns(A_ROW), files[start : start + A_ROW], strict=False):
            place.download_button(
                file.label, file.make, f"{name}.{file.ending}", file.mime, on_click="ignore", width="stretch",
                help=file.about, key=f"share_{file.ending}",
            )  # fmt: skip


def own_photos(view: View) -> list[str]:
    """The view's images that a person dropped in: neither link nor script holds them."""
    images = (view.photo.image, view.map.other_image)
    return [image for image in images if image is not None and not image.startswith(SAMPLE)]


def _not_in_link(view: View) -> str:
    own = own_photos(view)
    return f", except {plain(' and '.join(own))}: a link can't hold photos of your own" if own else ""


def _files(rec: Recording, shown: Shown, names: Names) -> tuple[File, ...]:
    view, second, photo = shown.view, shown.second, shown_photo().image
    row = view.map.row
    drawn = "All heads of the layer, labelled." if row.has_layers_and_heads else "Photo and map, labelled."
    moving = row.sweep.help if row.sweep else ""
    heads, layers = (partial(figure, view, rec, of, second, photo, names) for of in ("heads", "layers"))
    return (
        File("Figure (SVG)", "svg", "image/svg+xml", lambda: heads().svg(), drawn),
        File("Figure (PDF)", "pdf", "application/pdf", lambda: heads().pdf(), drawn),
        File(
            "Every layer × head (PDF)", "all.pdf", "application/pdf", lambda: layers().pdf(), "One page.",
            lambda kind: kind.has_layers_and_heads,
        ),
        File(
            "Through the layers (GIF)", "gif", "image/gif", lambda: layers_gif(view, rec, photo=photo), moving,
            lambda kind: kind.sweep,
        ),
        File(
            "Live page (HTML)", "html", "text/html", lambda: live_page(view, rec),
            "One file; hovering works offline.", lambda kind: kind.live,
        ),
        File(
            "Picture (PNG)", "png", "image/png", lambda: png(view, rec, second=second, photo=photo),
            "In the photo's own resolution.",
        ),
        File(
            "Maps (NPZ)", "npz", "application/octet-stream", lambda: save_npz(view, rec, second),
            "Map, mask, photo and every setting.",
        ),
    )  # fmt: skip
