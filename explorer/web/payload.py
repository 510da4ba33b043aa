"""The live canvas' data: the photo, q and k of all layers or of one, and settings, as safetensors bytes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save

from explorer.attention.artefacts import artefact_mask
from explorer.attention.queries import Query
from explorer.rendering.colormaps import COLORMAPS, lookup_table

if TYPE_CHECKING:  # at run time this module needs no torch: the app mounts the canvas before it is there
    from explorer.attention.recording import Recording
    from explorer.rendering.view import View

BYTE_LIMIT = 16 * 2**20  # q, k and bias of the shown layer alone; above it they stay on the server
ALL_LIMIT = 32 * 2**20  # those of all layers together; above it only the shown layer is sent
EXACT_LIMIT = 16 * 2**20  # up to here all layers are sent in float32, above it in float16
# What the canvas changes of a Look by itself.
LOOK = ("colormap", "opacity", "resample", "scale", "mass", "hide_artefacts")
NOT_VERIFIED = "Not verified: this model's own blocks may do something else with what their attention returns."
SHOWN_CLASSES = 5
MODULES = (
    "tensors.js", "attention.js", "background.js", "paint.js", "recording.js", "words.js", "choices.js",
    "controls.js", "maps.js", "picture.js", "player.js", "input.js", "view.js",
)  # fmt: skip
ASSETS = Path(__file__).parent / "canvas"
# CSS of a canvas with only what chooses layer and head below the picture; words beside it say what it shows.
FEW_TOOLS = (
    ".live { --stacked: 1; } .live :is(.asks, .look, .more, .readout) { display: none; } "
    ".live.fixed .tools { display: none; }"
)


@dataclass(frozen=True, eq=False)
class RecordingFiles:
    """A recording as files that never change: a canvas that is given their names fetches each once.

    key: names the content of all files, by what it follows from; photo: image, colour maps and, where token norms are
    known, artefact tokens, as safetensors; precision: in which q, k and bias of the layers are, None where those are
    too large together; layers: one file each, as safetensors with its number and scale, none where they are too large.
    """

    key: str
    photo: bytes
    precision: str | None
    layers: tuple[bytes, ...]


def recording_files(rec: "Recording", exact_limit: int = EXACT_LIMIT, limit: int = ALL_LIMIT) -> RecordingFiles:
    """The recording as files: its layers in float32 up to exact_limit bytes, in float16 up to limit, else none."""
    precision = _precision(rec, range(rec.depth), exact_limit, limit)
    key = _key(rec, precision)
    photo = save(_photo(rec), metadata={"key": key})
    layers = tuple(_layer_file(rec, layer, precision) for layer in range(rec.depth)) if precision else ()
    return RecordingFiles(key, photo, precision, layers)


def _key(rec: "Recording", precision: str | None) -> str:
    """Of model and photo, not of what came out: a second pass over the same photo may round otherwise."""
    from explorer.rendering.provenance import image_digest, weights_digest

    model = rec.model
    parts = (weights_digest(model.module), model.module, model.source, model.mean, model.std, rec.grid, precision)
    return blake2b(f"{image_digest(rec.image)} {parts}".encode(), digest_size=16).hexdigest()


def _layer_file(rec: "Recording", layer: int, precision: str) -> bytes:
    tensors = _queries_and_keys(rec, layer, precision)
    # With the digest in its head, a file is told from every other by its first bytes.
    about = {"layer": str(layer), "scale": repr(rec.scale(layer)), "digest": _digest(*tensors.values())}
    return save(tensors, metadata=about)


def _digest(*arrays: np.ndarray) -> str:
    digest = blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def canvas_payload(
    rec: "Recording",
    view: "View",
    *,
    grid_lines: bool = False,
    mosaic: bool = False,
    seq: int = 0,
    exact_limit: int = BYTE_LIMIT,
    limit: int = BYTE_LIMIT,
    files: RecordingFiles | None = None,
    urls: Mapping[str, Any] | None = None,
    steps: bool = False,
    classes: bool = False,
) -> bytes:
    """The view as safetensors: settings, image, colour maps, and q and k ("head token dim") or the query's own rows.

    view: of kind attention, or rollout, whose first layer and fusion are the canvas' layer and head then.
    artefacts (rows, cols) uint8 tells the canvas which patches to take out when asked, where token norms are known.
    q and k are sent in float32 up to exact_limit bytes, in float16 up to `limit` or where the recording holds no more,
    and not at all above that: then, and for the query "mean", the softmax rows of the query ("head token") go along.
    seq: number of the newest change the canvas reported, so that it can tell settings older than that.
    files: of all layers, which come on another way; urls {"photo": url, "layers": [url, …]}: where the canvas fetches
    them. What they hold isn't sent again. steps: whether the canvas has sliders for layer and head; classes: whether
    it shows the likeliest classes. Raises QueryError for a layer, head or query outside the recording.
    """
    asked = view.map.row.complete_settings(view.map.settings, rec)
    at, of = ("layer", "head") if "layer" in asked else ("start_layer", "fusion")
    query = rec.default_query if asked["query"] is None else asked["query"]
    layer = asked[at] % rec.depth
    streamed = files.precision if files else None
    precision = _precision(rec, (layer,), min(exact_limit, limit), limit)
    inside = urls is None or streamed is None  # whether q and k of the shown layer are in these bytes
    sent = _queries_and_keys(rec, layer, precision) if inside and precision else {}
    rows = _rows(rec, layer, query, needed=inside and not sent, all_layers=inside and mosaic)
    look = {name: getattr(view.look, name) for name in LOOK} | {"grid": grid_lines, "mosaic": mosaic}
    settings = {
        "shows": view.map.kind,
        "layer": layer,
        "head": asked[of],
        "query": query,
        "look": look,
        "grid": rec.grid,
        "prefix": rec.prefix_tokens,
        "depth": rec.depth,
        "heads": rec.num_heads,
        "default_query": rec.default_query,
        "scale": rec.scale(layer),
        "colormaps": COLORMAPS,
        "note": _note(rec, streamed or precision, server=urls is not None or files is None),
        "seq": seq,
        "steps": steps,
        "rows": list(rows),
        "classes": _classes(rec) if classes else [],
    }
    if files and urls:
        settings |= {"key": files.key, "files": urls}
    stacked = {"rows": np.stack(list(rows.values()))} if rows else {}
    tensors = {**({} if urls else _photo(rec)), **stacked, **sent}
    return save(tensors, metadata={"canvas": json.dumps(settings)})


def _photo(rec: "Recording") -> dict[str, np.ndarray]:
    tables = np.stack([lookup_table(name) for name in COLORMAPS])
    outlying = {} if rec.norms is None else {"artefacts": artefact_mask(rec).astype(np.uint8)}
    return {"image": np.array(rec.image), "colormaps": tables, **outlying}


def _rows(
    rec: "Recording", layer: int, query: Query, needed: bool, all_layers: bool
) -> dict[int, Float[np.ndarray, "head token"]]:
    """By layer, the rows of the query that a canvas can't compute, or not in an instant."""
    if all_layers:
        return {each: rec.rows(each, query) for each in range(rec.depth)}
    return {layer: rec.rows(layer, query)} if needed or query == "mean" else {}


def _precision(rec: "Recording", layers: Iterable[int], exact_limit: int, limit: int) -> str | None:
    """The best one in which q, k and bias of the layers stay within the limits; None where none does."""
    numbers = 0
    for layer in layers:
        call = rec.call(layer)
        numbers += sum(tensor.numel() for tensor in (call.q, call.k, call.bias) if tensor is not None)
    if rec.precision == "float32" and numbers * 4 <= exact_limit:
        return "float32"
    return "float16" if numbers * 2 <= limit else None


def _queries_and_keys(rec: "Recording", layer: int, precision: str) -> dict[str, np.ndarray]:
    call = rec.call(layer)
    found = {"q": call.q, "k": call.k} | ({} if call.bias is None else {"bias": call.bias})
    half = precision == "float16"
    return {name: (tensor.half() if half else tensor.float()).cpu().numpy() for name, tensor in found.items()}


def _note(rec: "Recording", precision: str | None, server: bool) -> str:
    notes = [] if rec.verified else [NOT_VERIFIED]
    if precision is None:
        notes.append(f"Hovering is off: q and k of {len(rec.tokens):,} tokens are too large to send.")
        notes += ["A click asks the server for that patch."] * server
    elif precision == "float16":
        notes.append("These weights come from q and k in half precision.")
    return " ".join(notes)


def _classes(rec: "Recording") -> list[tuple[str, str, float | None]]:
    """The likeliest classes: name, what is said of it and share; of a regression its numbers, without share."""
    if rec.probabilities is None:
        return []
    top = rec.probabilities.argsort()[::-1][:SHOWN_CLASSES]
    values = rec.probabilities[top]
    if rec.model.outputs == "number":
        names = [rec.model.class_name(index) if len(rec.probabilities) > 1 else "Predicted number" for index in top]
        return [(name, f"{value:.4g}", None) for name, value in zip(names, values, strict=True)]
    names = [rec.model.class_name(index) for index in top]
    return [(name, f"{100 * value:.1f} %", float(value)) for name, value in zip(names, values, strict=True)]


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
