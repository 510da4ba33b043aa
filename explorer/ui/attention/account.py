"""The Account tab: what every head, patch and MLP adds to a class's logit; all of it adds up to the logit."""

import numpy as np
import streamlit as st

from explorer.attention.ledger import Ledger
from explorer.attention.maps.table import GRADIENT
from explorer.attention.queries import query_name
from explorer.attention.recording import Recording
from explorer.rendering.account import heads_figure, layer_shares, waterfall_figure
from explorer.rendering.backdrop import backdrop
from explorer.rendering.colormaps import DIVERGING
from explorer.rendering.view import View, paint
from explorer.ui import cached
from explorer.ui.map_picker import canvas_place, pick_settings
from explorer.ui.messages import plain
from explorer.ui.widgets import PLAIN, colour_bar
from explorer.words import with_sign

LISTED, NAMED = 10, 3  # shares in the list; patches named for each
CHOSEN, FIGURE = "account_head", "account_heads"
_ACCOUNTS: cached.KeptWith[Ledger] = cached.KeptWith(4)
WIDE = 2  # times the size that the model saw


def account_tab(rec: Recording, view: View) -> None:
    """The share of every head and MLP, the list of the largest, one head's patches, and the sum step by step."""
    st.caption(
        "The score of a class is a sum: of what every head of every layer adds, every MLP, the embeddings and the "
        "biases (Elhage et al. 2021). Red speaks for the class, blue against it."
    )
    shown = pick_settings(GRADIENT.name, canvas_place(rec, view))
    if shown is None:
        return
    target, likened = (shown.view.map[name] for name in ("target", "similar_to"))
    account = _ACCOUNTS.get(rec, shown.view.map, lambda: rec.ledger(target, shown.second or likened))
    score, total = with_sign(account.score), with_sign(account.total)
    st.markdown(f"**Score for {plain(shown.title)}: {score}**, all shares together: {total}")
    chosen = _chosen_head(account)
    heads_at, map_at = st.columns([3, 2], gap="large")
    with heads_at:
        _heads(account, chosen)
        _list(rec, account)
    with map_at:
        _map_of_head(rec, view, account, chosen)
    st.plotly_chart(waterfall_figure(account), key="account_waterfall", width="stretch", config=PLAIN)
    st.caption("A share counts the direct path only: what a head changes in later layers is in their shares.")


def _chosen_head(account: Ledger) -> tuple[int, int]:
    """(layer, head): the one that was clicked, else the one with the largest share."""
    shares = layer_shares(account)
    clicked = st.session_state.get(CHOSEN)
    if clicked is not None and clicked[0] < shares.shape[0] and clicked[1] < shares.shape[1]:
        return clicked
    layer, head = np.unravel_index(int(np.abs(shares).argmax()), shares.shape)
    return int(layer), int(head)


def _heads(account: Ledger, chosen: tuple[int, int]) -> None:
    accent = st.get_option(f"theme.{st.context.theme.type or 'light'}.primaryColor") or "#ff4b4b"
    figure = heads_figure(account, chosen, accent)
    st.plotly_chart(figure, key=FIGURE, on_select=_take_head, selection_mode="points", width="stretch", config=PLAIN)
    st.caption("Click a head to see from which patches its share comes.")


def _take_head() -> None:
    points = st.session_state[FIGURE]["selection"]["points"]
    if points:
        st.session_state[CHOSEN] = int(points[0]["x"]), int(points[0]["y"])


def _map_of_head(rec: Recording, view: View, account: Ledger, chosen: tuple[int, int]) -> None:
    row = account.heads[chosen]
    prefix = len(rec.prefix_tokens)
    values = row[prefix:].reshape(rec.grid)
    limit = float(np.abs(values).max())
    image = backdrop(rec.image, None, rec.part.geometry, None, WIDE)
    words = f"Layer {chosen[0]}, head {chosen[1]}: {with_sign(float(row.sum()))}"
    look = view.with_look(colormap=DIVERGING).look
    st.image(paint(look, image, values, -limit, limit), caption=words, alt=words, width="stretch")
    colour_bar(DIVERGING, with_sign(-limit, 3), with_sign(limit, 3))
    others = ", ".join(f"{name} {with_sign(float(row[index]), 3)}" for index, name in enumerate(rec.prefix_tokens))
    if others:
        st.caption(f"From tokens that are no patch: {others}.")


def _list(rec: Recording, account: Ledger) -> None:
    """The largest shares of heads and MLPs, for or against."""
    shares = [(float(share), *place) for place, share in np.ndenumerate(layer_shares(account))]
    shares += [(float(share), layer, None) for layer, share in enumerate(account.mlps)]
    largest = sorted(shares, key=lambda share: -abs(share[0]))[:LISTED]
    table = {
        "Part": [f"layer {layer}, {'MLP' if head is None else f'head {head}'}" for _, layer, head in largest],
        "Adds": [with_sign(share) for share, _, _ in largest],
        "Most of it from": ["" if head is None else _patches(rec, account, layer, head) for _, layer, head in largest],
    }
    st.dataframe(table, hide_index=True, width="stretch", height="content")


def _patches(rec: Recording, account: Ledger, layer: int, head: int) -> str:
    """The tokens that give most of a head's share."""
    row = account.heads[layer, head]
    order = np.argsort(-row * np.sign(row.sum()), kind="stable")[:NAMED]
    return ", ".join(f"{_token(rec, int(index))} {with_sign(float(row[index]))}" for index in order)


def _token(rec: Recording, index: int) -> str:
    prefix = len(rec.prefix_tokens)
    if index < prefix:
        return rec.prefix_tokens[index]
    row, col = divmod(index - prefix, rec.grid[1])
    return query_name((row, col))
