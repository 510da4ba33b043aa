"""Evidence curves as a figure for a paper: deletion and insertion side by side, mean and spread, as SVG or PDF."""

from collections.abc import Sequence

import numpy as np

from explorer.attention.evidence import CONTROLS, Game
from explorer.attention.evidence_mean import Band, spread_of
from explorer.rendering.vector import Drawing, Item, Line, Text
from explorer.words import percent

PALETTE = ((234, 88, 12), (124, 58, 237), (15, 118, 110), (190, 24, 93), (77, 124, 15), (3, 105, 161), (180, 83, 9))
CONTROL = {"random": ((120, 113, 108), (1.5, 2.0)), "centre": ((37, 99, 235), (4.0, 2.0))}
TITLES: dict[Game, str] = {"deletion": "Deletion: lower is better", "insertion": "Insertion: higher is better"}
SIDE, HEIGHT, GAP = 210.0, 150.0, 46.0  # points of one plot, and between two
LEFT, TOP, SMALL = 40.0, 40.0, 7.0
TINT = 0.82  # how much white is in a band


def colour_of(order: str, maps: Sequence[str]) -> tuple[int, int, int]:
    """A control's own colour, or one of the palette by the map's place."""
    return CONTROL[order][0] if order in CONTROL else PALETTE[list(maps).index(order) % len(PALETTE)]


def evidence_drawing(bands: Sequence[Band], title: str, settings: str = "{}") -> Drawing:
    """Both games; a band is mean ± one standard deviation over photos; areas with their spread in the legend."""
    maps = [band.order for band in bands if band.game == "deletion" and band.order not in CONTROLS]
    top = max(float((band.mean + band.spread).max()) for band in bands)
    scale = 1.0 if top > 0.5 else max(top, 1e-6)
    items: list[Item] = [Text(title, LEFT, 14, 10)]
    for at, game in enumerate(TITLES):
        x = LEFT + at * (SIDE + GAP)
        mine = [band for band in bands if band.game == game]
        items += [*_areas(mine, maps, x, scale), *_axes(game, x, scale), *_curves(mine, maps, x, scale)]
        items += _legend(mine, maps, x)
    lines = max(len(bands) // 2, 1)
    return Drawing(LEFT + 2 * SIDE + GAP + 12, TOP + HEIGHT + 40 + 10 * lines, tuple(items), title, settings)


def _place(band_x: np.ndarray, values: np.ndarray, x: float, scale: float) -> tuple[tuple[float, float], ...]:
    across, down = x + band_x * SIDE, TOP + HEIGHT * (1 - np.clip(values / scale, 0, 1))
    return tuple((round(float(a), 3), round(float(b), 3)) for a, b in zip(across, down, strict=True))


def _areas(bands: Sequence[Band], maps: Sequence[str], x: float, scale: float) -> list[Item]:
    found: list[Item] = []
    for band in bands:
        if band.spread.any():
            upper = _place(band.shares, band.mean + band.spread, x, scale)
            lower = _place(band.shares, band.mean - band.spread, x, scale)
            red, green, blue = (round(255 * TINT + (1 - TINT) * part) for part in colour_of(band.order, maps))
            found.append(Line((*upper, *lower[::-1]), (red, green, blue), filled=True))
    return found


def _axes(game: Game, x: float, scale: float) -> list[Item]:
    bottom = TOP + HEIGHT
    items: list[Item] = [Text(TITLES[game], x, TOP - 8, 8.5), Line(((x, TOP), (x, bottom), (x + SIDE, bottom)))]
    for tick in np.linspace(0, 1, 6):
        across, down = x + tick * SIDE, bottom - tick * HEIGHT
        items += [Line(((across, bottom), (across, bottom + 3))), Line(((x - 3, down), (x, down)))]
        items += [
            Text(percent(tick, 0), across, bottom + 11, SMALL, "middle"),
            Text(f"{tick * scale:.2g}", x - 5, down + 2.5, SMALL, "end"),
        ]
    return [*items, Text("share of patches", x + SIDE / 2, bottom + 21, SMALL, "middle")]


def _curves(bands: Sequence[Band], maps: Sequence[str], x: float, scale: float) -> list[Item]:
    return [
        Line(
            _place(band.shares, band.mean, x, scale),
            colour_of(band.order, maps),
            1.0 if band.order in CONTROL else 1.6,
            CONTROL[band.order][1] if band.order in CONTROL else (),
        )
        for band in bands
    ]


def _legend(bands: Sequence[Band], maps: Sequence[str], x: float) -> list[Item]:
    items: list[Item] = []
    for row, band in enumerate(bands):
        y = TOP + HEIGHT + 34 + 10 * row
        colour, dash = colour_of(band.order, maps), CONTROL[band.order][1] if band.order in CONTROL else ()
        spread = float(spread_of(band.areas))
        area = f"{band.areas.mean():.3f}" + (f" ± {spread:.3f}" if len(band.areas) > 1 else "")
        items += [Line(((x, y - 2.5), (x + 16, y - 2.5)), colour, 1.4, dash)]
        items += [Text(f"{band.order}: area {area}", x + 20, y, SMALL)]
    return items
