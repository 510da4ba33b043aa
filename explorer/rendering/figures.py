"""A figure ready for a paper: the photo and the maps of all heads, labelled, at about 300 dots per inch."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from PIL import Image

from explorer.attention.maps.settings import Layer, TargetClass
from explorer.data.images import ImageSource
from explorer.errors import QueryError
from explorer.rendering.backdrop import backdrop
from explorer.rendering.colormaps import colorize
from explorer.rendering.names import Names, call_classes, head_label
from explorer.rendering.provenance import with_provenance
from explorer.rendering.vector import Drawing, Picture, Text
from explorer.rendering.view import (
    View,
    hide_artefacts,
    noted_map,
    paint,
    shown_heads,
    shown_mask,
    value_range,
)

if TYPE_CHECKING:
    from explorer.attention.recording import Recording

NO_NAMES: Names = {}
WIDTH = 504.0  # points: 7 inches, the text width of a page
MARGIN, GAP = 6.0, 5.0
TITLE, LABEL = 10.0, 7.5  # font sizes
SMALLEST = 6.0  # of a title that is too long for its line, which is cut then; the file's own title is whole
DPI = 300
LARGEST, LARGEST_OF_MANY = 130.0, 60.0  # width of a picture in points: of one layer's heads, of every layer's
COLUMNS = 7  # pictures in a row at most, where it isn't one column per head


class Tile(NamedTuple):
    """One picture of the figure; map None: the photo itself."""

    label: str
    map: np.ndarray | None


def figure(
    view: View,
    recording: "Recording",
    of: Literal["heads", "layers"] = "heads",
    second: "Recording | None" = None,
    photo: ImageSource | None = None,
    names: Names = NO_NAMES,
) -> Drawing:
    """of "heads": the photo, every head of the view's layer and their mean; "layers": every layer x head.

    A map without layers and heads gives the photo and that one map; second as in shown_map; photo: what the recording
    was made of, for sharp tiles; names: of heads and classes, as parse_names() reads them. QueryError as the maps do.
    """
    if of not in ("heads", "layers"):
        raise QueryError(f"A figure shows heads or layers, not {of!r}.")
    row, text = view.map.row, title(view, recording, of, names)
    layer = row.needs(Layer)
    if not row.has_layers_and_heads or layer is None:
        heatmap, note = noted_map(view, recording, second)
        text += " (doesn't add up to its score)" if note else ""
        tiles = [Tile("image", None), Tile(row.title.lower(), heatmap)]
        columns = 2
    elif of == "heads":
        tiles = [Tile("image", None), *head_tiles(view, recording, names)]
        columns = math.ceil(len(tiles) / math.ceil(len(tiles) / COLUMNS))
    else:
        tiles = [
            Tile(f"layer {index}, {tile.label}", tile.map)
            for index in range(recording.depth)
            for tile in head_tiles(view.with_map(**{layer.name: index}), recording, names)
        ]
        columns = recording.num_heads + 1
    return _lay_out(view, recording, tiles, columns, text, photo)


def head_tiles(view: View, recording: "Recording", names: Names = NO_NAMES) -> list[Tile]:
    """Every head of the view's layer, and their mean."""
    setting = view.map.row.needs(Layer)
    layer = view.map[setting.name] % recording.depth if setting else 0
    heads = shown_heads(view.with_look(hide_artefacts=False), recording)
    shown = hide_artefacts(view.look, recording, np.concatenate([heads, heads.mean(axis=0, keepdims=True)]))
    labels = [head_label(names, layer, head, f"head {head}") for head in range(len(shown) - 1)]
    return [Tile(label, heatmap) for label, heatmap in zip([*labels, "mean"], shown, strict=True)]


def title(view: View, recording: "Recording", of: str = "heads", names: Names = NO_NAMES) -> str:
    """One line that says what is shown, with classes called as `names` call them."""
    row, settings = view.map.row, dict(view.map.settings)
    layer = row.needs(Layer)
    if of == "layers" and layer and row.has_layers_and_heads:
        settings[layer.name] = None
    if (explained := row.needs(TargetClass)) and (target := settings[explained.name]) is not None:
        parts = target if isinstance(target, tuple) else (target,)
        indices = tuple(recording.class_index(part) for part in parts)  # before classes are called otherwise
        settings[explained.name] = indices if isinstance(target, tuple) else indices[0]
    recording = call_classes(recording, names)
    unsure = "" if recording.verified else " (not verified)"
    return f"{recording.model_name}: {row.heading(recording, settings)}{unsure}"


def _limits(view: View, tiles: Sequence[Tile]) -> tuple[float, float] | None:
    """The range common to all maps, or None where each has its own; a single signed map has its own shown."""
    maps = np.stack([tile.map for tile in tiles if tile.map is not None])
    return None if view.look.scale == "map" and not view.map.row.signed else value_range(view, maps)


def _lay_out(
    view: View, recording: "Recording", tiles: list[Tile], columns: int, text: str, photo: ImageSource | None
) -> Drawing:
    largest = LARGEST if len(tiles) <= 3 * COLUMNS else LARGEST_OF_MANY
    side = min((WIDTH - 2 * MARGIN - GAP * (columns - 1)) / columns, largest)
    image = _tile_photo(view, recording, photo, side)
    width = 2 * MARGIN + columns * side + GAP * (columns - 1)
    height = side * image.height / image.width
    label = min(LABEL, side / 7)
    step = height + label * 1.5 + GAP
    limits, top = _limits(view, tiles), MARGIN + TITLE * 1.6
    most = int(1.7 * width / SMALLEST)
    line = text if len(text) <= most else f"{text[: most - 3]}..."
    items: list[Picture | Text] = [Text(line, MARGIN, MARGIN + TITLE, min(TITLE, 1.7 * width / len(line)))]
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        x, y = MARGIN + column * (side + GAP), top + row * step
        items.append(Picture(_tile_image(view, image, tile, limits), x, y, side, height))
        items.append(Text(tile.label, x + side / 2, y + height + label * 1.2, label, "middle"))
    bottom = top + math.ceil(len(tiles) / columns) * step
    items += _scale(view, limits, width, bottom)
    return Drawing(width, bottom + 2 * LABEL, tuple(items), text, with_provenance(view.to_json(), recording))


def _tile_photo(view: View, recording: "Recording", photo: ImageSource | None, side: float) -> Image.Image:
    """What the tiles are painted on, at about 300 dots per inch and no smaller than what the model saw."""
    dots, seen = side / 72 * DPI, recording.image
    width = seen.width * max(1, round(dots / seen.width)) if photo is None else max(seen.width, round(dots))
    return backdrop(seen, photo, recording.part.geometry, width)


def _tile_image(view: View, image: Image.Image, tile: Tile, limits: tuple[float, float] | None) -> Image.Image:
    if tile.map is None:
        return image
    low, high = limits or value_range(view, tile.map)
    return paint(view.drawn_look, image, tile.map, low, high, shown_mask(view.look, tile.map))


def _scale(view: View, limits: tuple[float, float] | None, width: float, y: float) -> list[Picture | Text]:
    """The colour bar with its numbers, or a line that says each map has its own range."""
    if limits is None:
        return [Text("Colours run from each map's lowest to its highest value.", MARGIN, y + LABEL, 6.5, grey=0.35)]
    ramp = Image.fromarray(colorize(np.linspace(0, 1, 256, dtype=np.float32)[None], view.drawn_look.colormap))
    bar = min(120.0, width - 80)
    low, high = (f"{value:.2g}" for value in limits)
    left = MARGIN + 32
    return [
        Text(low, left - 4, y + LABEL, LABEL, "end"),
        Picture(ramp, left, y + 1, bar, LABEL),
        Text(high, left + bar + 4, y + LABEL, LABEL),
    ]
