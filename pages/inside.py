"""Inside: one token through one layer, step by step, with real numbers."""

import streamlit as st

from explorer.attention.recording import Recording
from explorer.rendering.view import Look, paint
from explorer.ui.address import by_key, take, write_unless
from explorer.ui.components.pictures import clickable_picture
from explorer.ui.inside import token
from explorer.ui.inside.stages import STAGES, Painted, Stage
from explorer.ui.messages import check_link, show_errors
from explorer.ui.navigation import page_named
from explorer.ui.state import Current, current
from explorer.ui.widgets import colour_bar

OPACITY, WIDE = 0.7, 672  # pixels a picture is wide at least
NAMES = {stage.name.lower(): f"{place} {stage.name}" for place, stage in enumerate(STAGES, start=1)}


def go(by: int, depth: int) -> None:
    """Callback of Back and Next: to another step, from the last one to the next layer."""
    places, state = list(NAMES), st.session_state
    place = state.get(token.LAYER, 0) * len(places) + places.index(state[token.STAGE]) + by
    state[token.LAYER], index = divmod(max(0, min(place, depth * len(places) - 1)), len(places))
    state[token.STAGE] = places[index]


def pick_stage(rec: Recording, layer: int) -> Stage:
    """The steps in a row between Back and Next."""
    check_link(token.STAGE, NAMES.__contains__, f"one of {', '.join(NAMES)}")
    take(token.STAGE, by_key(NAMES), next(iter(NAMES)))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.segmented_control(
            "Step",
            list(NAMES),
            format_func=NAMES.__getitem__,
            required=True,
            key=token.STAGE,
            persist_state="session",
            wrap=True,
        )
        write_unless(token.STAGE, next(iter(NAMES)))
        place = list(NAMES).index(str(name))
        first, last = place == 0 and layer == 0, place == len(STAGES) - 1
        st.button(
            "Back", key="inside_back", icon=":material/arrow_back:", on_click=go, args=(-1, rec.depth), disabled=first
        )
        words = "Next" if not last else f"On to layer {layer + 1}" if layer + 1 < rec.depth else "The end"
        st.button(
            words, key="inside_next", type="primary", icon=":material/arrow_forward:", on_click=go,
            args=(1, rec.depth), disabled=words == "The end",
        )  # fmt: skip
    return STAGES[place]


def show_picture(now: token.Followed, painted: Painted) -> None:
    """The photo with the step's map; a click follows another patch, a button a token that is no patch."""
    rec = now.recording
    zoom = max(1, round(WIDE / rec.image.width))
    image = rec.image.resize((rec.image.width * zoom, rec.image.height * zoom))
    look = Look(opacity=OPACITY, resample="nearest", colormap=painted.colormap)
    picture = paint(look, image, painted.values, painted.low, painted.high)
    words = f"{painted.words}, for {now.name}"
    clickable_picture(picture, painted.values, token.PICTURE, words, now.patch, token.follow_patch)
    st.caption(f"{painted.words}. Followed: **{now.name}**; click a patch to follow another.")
    colour_bar(painted.colormap, painted.number(painted.low), painted.number(painted.high))
    with st.container(horizontal=True):
        for name in rec.prefix_tokens:
            chosen = now.query == name
            st.button(
                f"Follow {name}", key=f"follow_{name}", on_click=token.follow_prefix, args=(name,), disabled=chosen
            )


@st.fragment
def walk(now: Current) -> None:
    """One layer; a fragment, so that a click redraws it and not the sidebar."""
    with show_errors():
        rec = now.recording
        layer_at, head_at = st.columns([3, 2], gap="large")
        with layer_at:
            layer = token.pick_layer(rec)
        with head_at:
            head = token.pick_head(rec)
        query, inside = token.pick_token(rec), token.kept_pass(rec, layer)
        followed = token.Followed(rec, inside, inside.step(query), query, head)
        stage = pick_stage(rec, layer)
        picture_at, beside = st.columns([2, 3], gap="large")
        with picture_at:
            show_picture(followed, stage.paint(followed))
        with beside:
            st.header(f"{STAGES.index(stage) + 1} · {stage.title}", anchor=False)
            st.markdown(stage.why)
            stage.draw(followed)


st.title("Inside a layer", anchor=False)
st.markdown(
    "A layer changes every token in two parts: **attention** fetches something from other tokens, the **MLP** works on "
    "what is there. Follow one token through both, number by number. Click a patch to follow another."
)
walk(current())
if st.button("See every layer and head", type="tertiary", icon=":material/arrow_forward:"):
    st.switch_page(page_named("attention"), query_params={})
