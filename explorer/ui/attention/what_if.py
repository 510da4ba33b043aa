"""The What if tab: drop patches, switch heads off, cut edges, and see at once what the answer is then."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np
import streamlit as st
from PIL import Image

from explorer.attention.interventions.edits import (
    CutEdge,
    DropPatches,
    Edit,
    PutToken,
    SetAttention,
    SetHead,
    SetMlp,
    edit_text,
    in_words,
    normalise_edits,
    parse_edit,
)
from explorer.attention.interventions.effect import Effect
from explorer.attention.interventions.heads import HeadEffects
from explorer.attention.maps.table import GRADIENT
from explorer.attention.queries import Query, parse_query, query_text
from explorer.attention.recording import Recording
from explorer.attention.scores import Target
from explorer.errors import QueryError
from explorer.rendering.effect_charts import effect_figure, measured_figure
from explorer.rendering.view import View
from explorer.ui.address import keep_in_address, write
from explorer.ui.components.pictures import patch_painter
from explorer.ui.map_picker import canvas_place, pick_settings
from explorer.ui.messages import check_link, plain, sentence_of, show_errors
from explorer.ui.photos import my_photos, pick_second_photo, samples
from explorer.ui.view_settings import default_layer
from explorer.ui.widgets import PLAIN, progress_bar
from explorer.words import with_sign

EDITS = "edits"  # the active edits as they are typed, oldest first; also in the address, one after another
PAINTER, SEQ = "what_if_painter", "what_if_seq"
BETWEEN = ";"  # edits in the address
EFFECT, HEADS = "what_if_effect", "what_if_heads"  # (the recording, what was asked of it, the answer)
REFUSED = "what_if_refused"  # a sentence on the edit that couldn't be added
MOST_PHOTOS = 16  # that a mean is over
ATTENTION, MLP = "attention", "mlp"  # as edits are typed
PARTS = {ATTENTION: SetAttention, MLP: SetMlp}  # of a layer
KINDS = {
    "head": "Head", ATTENTION: "Layer's attention", MLP: "Layer's MLP", "cut": "Edge", "put": "Token of another photo",
}  # fmt: skip


def what_if_tab(rec: Recording, view: View) -> None:
    """Edits on the left, what they do on the right; below, every head measured once."""
    st.caption(
        "Change what the model computes for this photo, and see its answer then: what matters is what changes it. "
        "Attention shows where a token looks; this shows whether it makes a difference."
    )
    edits = _active(rec)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _painter(rec, edits)
        second = _add_edits(rec, view)
        _list(edits)
    asked: tuple[Target, str] | None = None, "Likeness to the photo as it was"
    with right, show_errors():
        if rec.logits is not None:
            asked = _pick_target(rec, view)
        if asked is not None:
            _show(_effect(rec, view, edits, asked[0], second), asked[1])
    if asked is not None:
        st.divider()
        _all_heads(rec, asked[0])


def _pick_target(rec: Recording, view: View) -> tuple[Target, str] | None:
    """A class or the difference of two, and what its score is called; None where both are one."""
    shown = pick_settings(GRADIENT.name, canvas_place(rec, view))
    return None if shown is None else (shown.view.map["target"], f"Score for {plain(shown.title)}")


def check_edits(rec: Recording) -> None:
    """Name the edits of a link that this recording can't take."""
    example = edit_text(SetHead(rec.depth - 1, 0))
    check_link(
        EDITS, lambda text: len(_read(text, rec)) == len(_split(text)), f"edits such as {example}, separated by ;"
    )


def _split(text: str) -> list[str]:
    return [part for part in text.split(BETWEEN) if part.strip()]


def _read(text: str, rec: Recording) -> list[Edit]:
    """The edits that can be read and that the recording can take."""
    found: list[Edit] = []
    for part in _split(text):
        try:
            found = list(normalise_edits([*found, parse_edit(part)], rec))
        except QueryError:
            continue
    return found


def _active(rec: Recording) -> list[Edit]:
    """The edits of this session, at first those of the address; of another model's those that fit."""
    keep_in_address(EDITS)
    text = st.session_state.setdefault(EDITS, st.query_params.get(EDITS, ""))
    return _read(text, rec)


def _keep(edits: Sequence[Edit]) -> None:
    text = BETWEEN.join(map(edit_text, edits))
    st.session_state[EDITS] = text
    write(EDITS, text or None)


def _painter(rec: Recording, edits: list[Edit]) -> None:
    dropped = [patch for edit in edits if isinstance(edit, DropPatches) for patch in edit.patches]
    seq = st.session_state.setdefault(SEQ, 0)

    def take_stroke() -> None:
        stroke = st.session_state[PAINTER]["stroke"]
        patches = tuple(sorted((int(row), int(col)) for row, col in stroke["patches"]))
        others = [edit for edit in edits if not isinstance(edit, DropPatches)]
        st.session_state[SEQ] = stroke["seq"]
        _keep([*others, DropPatches(patches)] if patches else others)

    patch_painter(rec.image, rec.grid, dropped, seq, key=PAINTER, on_paint=take_stroke)
    st.caption("Click or paint patches to take them out of the token list; once more puts them back.")


def _add_edits(rec: Recording, view: View) -> Image.Image | None:
    """The widgets of one more edit, and the second photo where one is picked."""
    kind = str(st.segmented_control("Change", list(KINDS), format_func=KINDS.__getitem__, default="head",
                                    required=True, key="what_if_kind", wrap=True))  # fmt: skip
    second, edit = None, None
    if kind in ("head", "attention", "mlp"):
        edit = _pick_part(rec, view, kind)
    elif kind == "cut":
        edit = _pick_edge(rec, view)
    else:
        edit = _pick_token(rec, view)
    if kind == "put" or any(isinstance(one, PutToken) for one in _active(rec)):
        second = _fitted(rec, view, pick_second_photo("Second photo", "what_if_photo", view.photo.image).image)

    st.button("Add", key="what_if_add", icon=":material/add:", on_click=_add, args=(rec, edit), disabled=edit is None)
    if refused := st.session_state.pop(REFUSED, None):
        st.error(refused, icon=":material/error:")
    return second


def _add(rec: Recording, edit: Edit) -> None:
    try:
        _keep(list(normalise_edits([*_active(rec), edit], rec)))
    except QueryError as error:
        st.session_state[REFUSED] = sentence_of(error)


def _layer(rec: Recording, view: View, key: str, everywhere: bool = False) -> int | None:
    options = [*(["all"] if everywhere else []), *map(str, range(rec.depth))]
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]
    at = options.index(str(view.map["layer"] % rec.depth if view.map["layer"] is not None else default_layer(rec)))
    picked = str(st.selectbox("Layer", options, at, key=key))
    return None if picked == "all" else int(picked)


def _head(rec: Recording, view: View, key: str, everywhere: bool = False) -> int | None:
    options = [*(["all"] if everywhere else []), *map(str, range(rec.num_heads))]
    if st.session_state.get(key) not in (None, *options):
        del st.session_state[key]
    shown = str(view.map["head"])
    picked = str(st.selectbox("Head", options, options.index(shown) if shown in options else 0, key=key))
    return None if picked == "all" else int(picked)


def _pick_part(rec: Recording, view: View, kind: str) -> Edit:
    columns = st.columns(3 if kind == "head" else 2)
    with columns[0]:
        layer = _layer(rec, view, "what_if_layer")
    head = None
    if kind == "head":
        with columns[1]:
            head = _head(rec, view, "what_if_head")
    to: Any = columns[-1].selectbox(
        "Set to", ["off", "mean"], key="what_if_to", help="Off: it adds nothing. Mean: what it adds on average over "
        "the photos of the sidebar, token by token, so that it no longer tells this photo from others.",
    )  # fmt: skip
    assert layer is not None
    if kind == "head":
        assert head is not None
        return SetHead(layer, head, to)
    return PARTS[kind](layer, to)


def _token(rec: Recording, label: str, key: str, default: str) -> Query | None:
    text = st.text_input(label, default, key=key, help="A prefix token's name, or a patch as row,col.").strip()
    try:
        query = parse_query(text)
        rec.query_indices(query)
    except QueryError as error:
        st.caption(f":red[{sentence_of(error)}]")
        return None
    return query


def _pick_edge(rec: Recording, view: View) -> Edit | None:
    columns = st.columns(4)
    first = rec.prefix_tokens[0] if rec.prefix_tokens else "0,0"
    with columns[0]:
        query = _token(rec, "Reading token", "what_if_query", first)
    asked = view.map["query"]
    with columns[1]:
        key = _token(rec, "Token that is read", "what_if_key", query_text(asked) if isinstance(asked, tuple) else "0,0")
    with columns[2]:
        layer = _layer(rec, view, "what_if_edge_layer", everywhere=True)
    with columns[3]:
        head = _head(rec, view, "what_if_edge_head", everywhere=True)
    if query is None or key is None or "mean" in (query, key):
        return None
    return CutEdge(query, key, layer, head)


def _pick_token(rec: Recording, view: View) -> Edit | None:
    columns = st.columns(3)
    asked = view.map["query"]
    shown = query_text(asked) if isinstance(asked, tuple) else "0,0"
    with columns[0]:
        patch = _token(rec, "Patch", "what_if_patch", shown)
    with columns[1]:
        source = _token(rec, "Patch in that photo", "what_if_source", shown)
    with columns[2]:
        layer = _layer(rec, view, "what_if_put_layer")
    if not isinstance(patch, tuple) or not isinstance(source, tuple) or layer is None:
        return None
    return PutToken(patch, layer, None if source == patch else source)


def _list(edits: list[Edit]) -> None:
    """The active edits, each a button that takes it back."""
    for at, edit in enumerate(edits):
        st.button(
            in_words(edit), key=f"what_if_undo_{at}", icon=":material/undo:", type="tertiary", on_click=_keep,
            args=([*edits[:at], *edits[at + 1 :]],), help="Take this back.",
        )  # fmt: skip
    if len(edits) > 1:
        st.button("Undo all", key="what_if_clear", icon=":material/undo:", on_click=_keep, args=([],))


def _fitted(rec: Recording, view: View, photo: Image.Image) -> Image.Image:
    return rec.model.fit_photo(photo, view.photo.size, view.photo.fit)


def _kept(key: str, rec: Recording, asked: Any, work: Callable[[], Any] | None) -> Any:
    """The newest answer where the same was asked of the same recording, else that of work(), if there is any.

    A session mustn't keep a recording that nobody else does: they are large.
    """
    kept = st.session_state.get(key)
    if kept is not None and kept[0]() is rec and kept[1] == asked:
        return kept[2]
    if work is None:
        return None
    answer = work()
    st.session_state[key] = (ref(rec), asked, answer)
    return answer


def _effect(rec: Recording, view: View, edits: list[Edit], target: Target, second: Image.Image | None) -> Effect:
    """What the edits do; means are over the session's own photos, or the samples where there are none."""
    means = any(getattr(edit, "to", "") == "mean" for edit in edits)
    photos = (my_photos() or samples())[:MOST_PHOTOS] if means else []
    asked = (tuple(edits), target, tuple(photo.key for photo in photos), second and second.tobytes())
    return _kept(
        EFFECT, rec, asked,
        lambda: rec.what_if(edits, target, photos=[_fitted(rec, view, one.image) for one in photos], second=second),
    )  # fmt: skip


def _show(effect: Effect, words: str) -> None:
    score_at, ledger_at = st.columns(2)
    change = f"{effect.change:+.3f}" if effect.edits else None
    score_at.metric(words, f"{effect.score[1]:.2f}", change)
    by_ledger = "–" if effect.ledger_change is None or not effect.edits else with_sign(effect.ledger_change, 3)
    ledger_at.metric(
        "Change by the ledger alone", by_ledger, help="What the ledger's shares alone would give: direct paths, as if "
        "later layers didn't react. Where the true change is smaller, other parts compensate.",
    )  # fmt: skip
    if effect.top:
        st.plotly_chart(effect_figure(effect), key="what_if_classes", width="stretch", config=PLAIN)


def _all_heads(rec: Recording, target: Target) -> None:
    st.markdown("**Which heads matter?**")
    st.caption(
        "Every head is switched off once. Red heads speak for the class: without them its logit falls. Beside it: "
        "each head's share by the ledger, and how far its attention is from an even one."
    )
    asked = rec.class_index(target) if rec.logits is not None and not isinstance(target, tuple) else target
    heads = _kept(HEADS, rec, asked, None)
    if st.button("Measure all heads", key="what_if_measure", icon=":material/play_arrow:") and heads is None:
        with progress_bar("Switching heads off, layer by layer") as progress:
            heads = _kept(HEADS, rec, asked, lambda: rec.measure_heads(target, progress=progress))
    if heads is not None:
        _heads(heads)


def _heads(heads: HeadEffects) -> None:
    panels: list[tuple[str, np.ndarray, str, str]] = [
        ("Effect", heads.effects, "logit", "Score with the head minus score without it")
    ]
    with_effect = "rank correlation with the effect"
    if heads.shares is not None:
        said = f"Its share by direct paths; {with_effect}: {heads.correlation(heads.shares):.2f}"
        panels.append(("By the ledger", heads.shares, "logit", said))
    said = f"0: even, near 1: all on one token; {with_effect}'s size: {heads.correlation(heads.divergence):.2f}"
    panels.append(("Divergence from even attention", heads.divergence, "bits", said))
    for column, (title, table, unit, words) in zip(st.columns(len(panels)), panels, strict=True):
        column.markdown(f"**{title}**")
        figure = measured_figure(table, unit, signed=unit == "logit")
        column.plotly_chart(figure, key=f"what_if_{title}", width="stretch", config=PLAIN)
        column.caption(words)
