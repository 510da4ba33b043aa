"""The parts of the Compare page: the second recording, the linked canvases, the difference, what changed most."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from explorer.attention.divergence import Change, Divergence, divergence
from explorer.attention.queries import FUSIONS, Query, head_name, parse_head, query_text
from explorer.attention.recording import Recording
from explorer.errors import ExplorerError
from explorer.models.backbone import Model
from explorer.models.descent import same_descent, trained_from
from explorer.rendering.charts import divergence_figure
from explorer.rendering.comparison import EQUAL, difference_map, paint_difference, second_view
from explorer.rendering.comparison_figure import comparison_figure
from explorer.rendering.vector import Drawing
from explorer.rendering.view import View, picture
from explorer.ui import cached
from explorer.ui.address import write, write_unless
from explorer.ui.components.live_canvas import linked_canvases
from explorer.ui.messages import check_switch, plain, sentence_of
from explorer.ui.model_picker import pick_second_model
from explorer.ui.state import Current, shown_photo
from explorer.ui.view_settings import (
    asked_from,
    change_settings,
    check_layer_and_head,
    check_query,
    checked_query,
    default_layer,
    download_name,
    head_options,
    layer_words,
    settings,
    take_head,
    take_layer,
)
from explorer.ui.widgets import PLAIN, layer_slider
from explorer.web.payload import canvas_payload
from explorer.words import percent

CANVASES, QUERY, SEQ = "linked", "query", "linked_seq"
SHOWN_CHANGES, SEEN = 12, 5e-4  # heads in the list, and bits that don't round to 0.000
ROUNDING = 1e-10  # bits that float32 alone may leave between equal heads; they grow with a change's square
IN_USE = "second_in_use"  # the newest second model that could be recorded
SAME = "Pick a model to compare with. Besides the list, any id can be typed in, and Fine-tune makes models of your own."


def pick_second(now: Current) -> Recording | None:
    """The picked second model's recording; where there is none, a sentence and that of the last one that worked.

    None where it is the first again, and where no second model worked in this session yet.
    """
    try:
        second = pick_second_model("Compare with", "with", now.model.source.source)
        recording = second_recording(now, second)
    except ExplorerError as error:
        kept: Model | None = st.session_state.get(IN_USE)
        recording = None
        if kept:
            with suppress(ExplorerError):  # it may not take this photo's shape
                recording = second_recording(now, kept)
        instead = f" Shown instead: {plain(kept.name)}." if kept and recording else ""
        st.error(sentence_of(error) + instead, icon=":material/error:")
        return recording
    if _which(second) == _which(now.model):
        st.info(SAME, icon=":material/compare:")
        return None
    st.session_state[IN_USE] = second
    return recording


def _which(model: Model) -> tuple:
    return model.source.source, model.num_heads, model.source.grid


def show_first_alone(now: Current) -> None:
    """The first model's picture, where nothing can stand beside it."""
    layer = default_layer(now.recording)
    words = f"{now.model.name}: layer {layer}, mean of heads"
    shown = picture(now.view.with_map(layer=layer), now.recording, zoom=2)
    st.columns(2)[0].image(shown, caption=plain(words), alt=words, width="stretch")


def in_common_fit(now: Current) -> Current:
    """The same with fit Crop where it is the model's own: another model's own may be another part of the photo."""
    if now.fit != "own":
        return now
    return replace(now, fit="crop", recording=cached.record(now.model, now.photo, now.size, "crop"))


def second_recording(now: Current, model: Model) -> Recording:
    """The same photo by another model, at the multiple of its patch nearest to the first's size."""
    size = max(model.patch_size, round(now.size / model.patch_size) * model.patch_size)
    fixed = model.fixed_size
    size = min(fixed) if fixed else size
    return cached.record(model, now.photo, size, now.fit)


@dataclass(frozen=True)
class Pair:
    """Two recordings of one photo, and the view that the first was made with."""

    first: Recording
    second: Recording
    view: View
    trained: bool = False  # whether the second was trained from the first: before and after
    related: bool = True  # whether their heads have to do with each other

    @property
    def has_head_pairs(self) -> bool:
        return self.related and self.first.num_heads == self.second.num_heads


def in_order(now: Current, second: Recording) -> Pair:
    """The sidebar's model and the second; the one that was trained from the other stands right."""
    related = same_descent(now.model, second.model)
    if trained_from(now.model, second.model):
        return Pair(second, now.recording, replace(now.view, source=second.model.source), True, related)
    return Pair(now.recording, second, now.view, trained_from(second.model, now.model), related)


def pick_view(pair: Pair, default: int) -> View:
    """Layer (at first `default`) and head of the first; heads only where the second has their pairs."""
    first = pair.first
    options = head_options(first) if pair.has_head_pairs else list(FUSIONS)
    check_layer_and_head(first, options)
    layer_at, head_at = st.columns([3, 2], gap="large")
    take_layer(first, default)
    take_head(options)
    with layer_at:
        layer = layer_slider("Layer", first.depth, "layer")
    head = str(head_at.select_slider("Head", options, key="head", persist_state="session"))
    write_unless("layer", default)
    write_unless("head", "mean")
    hide = _pick_artefacts(pair)
    view = pair.view.with_map(layer=layer, head=parse_head(head), query=_query(first))
    return view.with_look(hide_artefacts=hide)


def _pick_artefacts(pair: Pair) -> bool:
    """Whether each map is shown without its own model's artefact tokens; not where token norms aren't known."""
    known = pair.first.norms is not None and pair.second.norms is not None
    check_switch("without_artefacts")
    hide = st.toggle(
        "Hide odd patches (artefacts)", key="without_artefacts", bind="query-params", disabled=not known,
        help="Take the patches whose token norm is an outlier out of both maps, their difference and the divergences.",
    )  # fmt: skip
    return hide and known


def _query(rec: Recording) -> Query:
    """The query that was clicked here or on Attention; the default, with a sentence, where this recording lacks it."""
    check_query(rec)
    query, complaint = checked_query(rec)
    if complaint:
        st.warning(complaint)
    write(QUERY, settings()["query"])
    return query


def _take_change() -> None:
    change = st.session_state[CANVASES].get("view")
    if change:
        query = change["query"]
        change_settings(query=query_text(query if isinstance(query, str) else tuple(query)))
        st.session_state[SEQ] = change["seq"]


def canvases(view: View, pair: Pair) -> None:
    """Both, linked."""
    first, second = pair.first, pair.second
    other = second_view(view, first, second)
    seq = st.session_state.get(SEQ, 0)
    when = ("Before: ", "After: ") if pair.trained else ("", "")
    sides = [
        (
            f"{said}{rec.model_name}, layer {shown.map['layer']}, {rec.grid[0]} × {rec.grid[1]} patches",
            canvas_payload(rec, shown, seq=seq),
        )
        for said, rec, shown in zip(when, (first, second), (view, other), strict=True)
    ]
    linked_canvases(sides, key=CANVASES, on_change=_take_change)


def differences(view: View, pair: Pair) -> None:
    """Where the right one looks more or less, and which heads, or layers where heads have no pairs, look elsewhere."""
    first, second = pair.first, pair.second
    result = divergence(first, second, view.map["query"], view.look.hide_artefacts, pair.related)
    change = difference_map(view, first, second)
    if float(abs(change).max()) < EQUAL and first.model is not second.model:
        _why_equal(view, result.most_changed()[0], asked_from(first, view))
    verb = "changed" if pair.trained else "differ"
    map_at, table_at = st.columns([2, 3], gap="large")
    with map_at:
        st.header("Where it changed" if pair.trained else "Where they differ", anchor=False)
        _difference_picture(pair, change)
    with table_at:
        st.header(f"Which {'heads' if pair.has_head_pairs else 'layers'} {verb}", anchor=False)
        figure = divergence_figure(result)
        st.plotly_chart(figure, key="divergence", width="stretch", config=PLAIN)
        st.caption(f"Jensen-Shannon divergence from {asked_from(first, view)}. {_how(result, pair)}")
    _most_changed(result, pair)
    _downloads(view, pair, result)


def _downloads(view: View, pair: Pair, result: Divergence) -> None:
    """Figure and numbers, made only when clicked."""
    photo, name = shown_photo().image, f"{download_name(pair.first, view)}-compared"

    def drawing() -> Drawing:
        return comparison_figure(view, pair.first, pair.second, photo)

    files: list[tuple[str, str, str, Callable[[], bytes | str]]] = [
        (
            "Figure (PDF)",
            "pdf",
            "application/pdf",
            lambda: drawing().pdf(),
        ),
        ("Figure (SVG)", "svg", "image/svg+xml", lambda: drawing().svg()),
        ("Numbers (CSV)", "csv", "text/csv", lambda: "\n".join(map(",".join, result.rows())) + "\n"),
    ]
    for place, (label, ending, mime, make) in zip(st.columns(4), files, strict=False):
        place.download_button(
            label, make, f"{name}.{ending}", mime, on_click="ignore", width="stretch", key=f"compared_{ending}"
        )


def _difference_picture(pair: Pair, change: np.ndarray) -> None:
    """The change over the grey photo, with what its colours mean."""
    image = pair.first.image.resize((pair.first.image.width * 2, pair.first.image.height * 2))
    right = "the model after training" if pair.trained else f"{plain(pair.second.model_name)} (right)"
    words = f"The photo in grey, orange where {right} looks more, blue where less"
    st.image(paint_difference(image, change), alt=words, width="stretch")
    st.caption(
        f":orange[Orange]: {right} looks there more; :blue[blue]: less. Each patch counts as a share of its own "
        f"map; the largest change is {_percent(float(abs(change).max()))}."
    )


def _percent(share: float) -> str:
    return "less than 0.1 %" if EQUAL <= share < 5e-4 else percent(share)


def _why_equal(view: View, most: Change, query: str) -> None:
    """One sentence on two equal maps, and the way to the head that changed most, if any did."""
    if most.bits < ROUNDING:
        st.info(
            f"From {query}, no head of any layer changed: the attention of the two is the same everywhere, as after "
            "training the classifier alone."
        )
        return
    place = f"layer {most.layer}, {head_name(most.head)}"
    st.info(
        f"The two maps are equal at {layer_words(view)}; the most changed is {place} "
        f"({'less than 0.001' if most.bits < 5e-4 else f'{most.bits:.3f}'} bits)."
    )
    st.button(f"Show {place}", key="most_changed", icon=":material/arrow_forward:", on_click=_show, args=(most,))


def _show(change: Change) -> None:
    st.session_state.update(layer=change.layer, head=str(change.head))


def _how(result: Divergence, pair: Pair) -> str:
    """What was compared with what."""
    if not pair.related:
        return (
            "Neither model comes from the other, so head 2 of one has nothing to do with head 2 of the other: the "
            "means of each layer's heads are compared."
        )
    if not pair.has_head_pairs:
        return "The models have different numbers of heads: their means are compared."
    if any(a != b for a, b in result.layers):
        return "The models have different depths: layers at the same relative depth are compared."
    return "0 bits: the same map; 1 bit: nothing in common."


def _most_changed(result: Divergence, pair: Pair) -> None:
    if not pair.has_head_pairs:
        return  # the chart has one number per layer and says it all
    changes = result.most_changed()[:SHOWN_CHANGES]
    changes = [change for change in changes if change.bits >= SEEN] or changes[:1]
    table = {
        "Layer": [change.layer for change in changes],
        "Head": [head_name(change.head) for change in changes],
        "Bits": [change.bits for change in changes],
    }
    most = max(changes[0].bits, 1e-3)  # bars as long as their share of the most changed head's
    bar = st.column_config.ProgressColumn("Divergence (bits)", format="%.3f", min_value=0, max_value=most)
    title = "The heads that changed most" if pair.trained else "The heads that differ most"
    with st.expander(title, expanded=True):
        st.dataframe(table, column_config={"Bits": bar}, hide_index=True, width="stretch", height="content")
