"""The attention of one layer and head itself: softmax weights from one query on the patches."""

import numpy as np
from jaxtyping import Float

from explorer.attention.queries import Head, Query, query_title
from explorer.attention.recorded import RecordedPass


def compute(recording: RecordedPass, layer: int, head: Head, query: Query | None) -> Float[np.ndarray, "row col"]:
    """float32 softmax weights, not renormalised."""
    return recording.on_patches(recording.pick_head(recording.head_rows(layer, query), head)).cpu().numpy()


def heads(recording: RecordedPass, layer: int, query: Query | None) -> Float[np.ndarray, "head row col"]:
    """Those of every head, float32."""
    return recording.heads(layer, query)


def describe(recording: RecordedPass, layer: int | None, head: Head, query: Query | None) -> str:
    """Of a layer, or with None of all."""
    where = "all layers" if layer is None else f"layer {layer % recording.depth}"
    return f"attention of {where} from {query_title(query or recording.default_query)}"
