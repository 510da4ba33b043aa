"""What the live canvas gets: one layer of a recording with its image and settings, as safetensors bytes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save

from explorer.attention.artefacts import artefact_mask
from explorer.rendering.colormaps import COLORMAPS, lookup_table

if TYPE_CHECKING:  # at run time this module needs no torch: the app mounts the canvas before it is there
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View

BYTE_LIMIT = 16 * 2**20  # q, k and bias above it stay on the server
# What the canvas changes of a Look by itself.
LOOK = ("colormap", "opacity", "resample", "scale", "mass", "hide_artefacts")
NOT_VERIFIED = "Not verified: this model's own blocks may do something else with what their attention returns."
MODULES = ("attention.js", "paint.js", "controls.js", "input.js", "view.js")
ASSETS = Path(__file__).parent / "canvas"


def canvas_payload(
    rec: "Recording", view: "View", grid_lines: bool = False, seq: int = 0, limit: int = BYTE_LIMIT
) -> bytes:
    """The view's layer as safetensors: image, colour maps, and q and k ("head token dim") or the query's own rows.

    artefacts (rows, cols) uint8 tells the canvas which patches to take out when asked, where token norms are known.
    q and k are sent in float32, in float16 where only that fits into `limit` bytes or the recording holds no more, and
    not at all above that: then, and for the query "mean", the softmax rows of the query ("head token") go along.
    seq: number of the newest change the canvas reported, so that it can tell settings older than that.
    Raises QueryError for a layer, head or query outside the recording.
    """
    asked = view.map.row.checked(view.map.settings, rec)
    query = rec.default_query if asked["query"] is None else asked["query"]
    layer = asked["layer"] % rec.depth
    sent = _queries_and_keys(rec, layer, limit)
    rows = {} if sent and query != "mean" else {"rows": rec.rows(layer, query)}
    tables = np.stack([lookup_table(name) for name in COLORMAPS])
    settings = {
        "layer": layer,
        "head": asked["head"],
        "query": query,
        "look": {name: getattr(view.look, name) for name in LOOK} | {"grid": grid_lines},
        "grid": rec.grid,
        "prefix": rec.prefix_tokens,
        "default_query": rec.default_query,
        "heads": rec.num_heads,
        "scale": rec.scale(layer),
        "colormaps": COLORMAPS,
        "note": _note(rec, sent),
        "seq": seq,
    }
    outlying = {} if rec.norms is None else {"artefacts": artefact_mask(rec).astype(np.uint8)}
    tensors = {"image": np.array(rec.image), "colormaps": tables, **outlying, **rows, **sent}
    return save(tensors, metadata={"canvas": json.dumps(settings)})


def _queries_and_keys(rec: "Recording", layer: int, limit: int) -> dict[str, np.ndarray]:
    """q, k and bias of a layer in the best precision that stays within limit bytes; empty where none does."""
    bias = rec.bias(layer)
    found = {"q": rec.q(layer), "k": rec.k(layer)} | ({} if bias is None else {"bias": bias.float()})
    numbers = sum(tensor.numel() for tensor in found.values())
    if rec.precision == "float32" and numbers * 4 <= limit:
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}
    if numbers * 2 <= limit:
        return {name: tensor.half().cpu().numpy() for name, tensor in found.items()}
    return {}


def _note(rec: "Recording", sent: dict[str, np.ndarray]) -> str:
    notes = [] if rec.verified else [NOT_VERIFIED]
    if not sent:
        notes.append(
            f"Hovering is off: q and k of {len(rec.tokens):,} tokens are too large to send. "
            "A click asks the server for that patch."
        )
    elif sent["q"].dtype == np.float16:
        notes.append("These weights come from q and k in half precision.")
    return " ".join(notes)


def canvas_script() -> str:
    """The canvas as one JavaScript module that defines LiveView."""
    parts = [(ASSETS / name).read_text("utf-8") for name in MODULES]
    return "\n".join(without_imports(part) for part in parts)


def without_imports(module: str) -> str:
    """The module's text without its import statements, which start at a line's start and end with a semicolon."""
    kept, inside = [], False
    for line in module.splitlines():
        inside = inside or line.startswith("import ")
        if not inside:
            kept.append(line)
        inside = inside and not line.endswith(";")
    return "\n".join(kept)


def canvas_markup() -> tuple[str, str]:
    """The canvas' HTML and CSS."""
    return (ASSETS / "canvas.html").read_text("utf-8"), (ASSETS / "canvas.css").read_text("utf-8")
