"""Pictures of patches and tokens: the right colours in the right places."""

import numpy as np
from PIL import Image

from explorer.rendering.patches import (
    NEGATIVE,
    POSITIVE,
    ZERO,
    filter_sheet,
    marked_map,
    signed_colors,
    token_lines,
    vector_strip,
)  # fmt: skip


def pixel(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in np.array(picture)[y, x])


def test_colours_run_from_teal_through_pale_to_orange():
    colors = signed_colors(np.array([-9.0, -2.0, 0.0, 2.0, 9.0]), limit=2)
    assert [tuple(color) for color in colors] == [NEGATIVE, NEGATIVE, ZERO, POSITIVE, POSITIVE]


def test_a_strip_has_one_bar_a_number():
    strip = vector_strip(np.array([-1.0, 1.0, 0.0]), limit=1, height=10)
    assert strip.size == (1200, 10)
    assert [pixel(strip, x, 5) for x in (200, 600, 1000)] == [NEGATIVE, POSITIVE, ZERO]


def test_lines_begin_with_the_prefix_and_mark_one_patch():
    tokens = np.stack([np.full(4, value) for value in (1.0, -1.0, 0.0, -1.0)])
    sheet = token_lines(tokens, prefix=1, limit=1, marked=2, height=400)
    x = sheet.width // 2
    assert pixel(sheet, x, 4)[:3] == POSITIVE
    assert pixel(sheet, x, 18)[3] == 0, "a clear gap after the prefix tokens"
    assert [pixel(sheet, x, 22 + 100 * line + 50)[:3] for line in range(3)] == [NEGATIVE, ZERO, NEGATIVE]
    assert [pixel(sheet, 3, 22 + 100 * line + 50)[3] for line in range(3)] == [0, 255, 0]


def test_thousands_of_tokens_share_the_height_of_a_screen():
    tokens = np.repeat([[1.0] * 4, [-1.0] * 4], 2000, axis=0)
    sheet = token_lines(np.concatenate([np.zeros((1, 4)), tokens]), prefix=1, limit=1, marked=3001, height=400)
    top, x = sheet.height - 800, sheet.width // 2
    assert [pixel(sheet, x, top + y)[:3] for y in (200, 600)] == [POSITIVE, NEGATIVE]
    assert pixel(sheet, 3, top + 600)[3] == 255 and pixel(sheet, 3, top + 580)[3] == 0


def test_filters_stand_in_rows_with_clear_gaps():
    filters = np.zeros((5, 2, 2, 3), np.float32)
    filters[4] = 1
    sheet = filter_sheet(filters, columns=4, gap=6)
    tile = (sheet.width - 3 * 6) // 4
    assert sheet.size == (4 * tile + 18, 2 * tile + 6)
    assert pixel(sheet, 5, 5) == (0, 0, 0, 255)
    assert pixel(sheet, 5, tile + 6 + 5) == (255, 255, 255, 255)
    assert pixel(sheet, tile + 2, 5)[3] == 0


def test_a_map_of_any_shape_has_its_patch_framed():
    heatmap = np.arange(15, dtype=np.float32).reshape(3, 5)
    picture = marked_map(heatmap, (1, 4))
    zoom = picture.width // 5
    assert picture.size == (5 * zoom, 3 * zoom)
    assert pixel(picture, 4 * zoom + 1, zoom + 1) == (255, 255, 255)
    assert pixel(picture, 4 * zoom + zoom // 2, zoom + zoom // 2) != (255, 255, 255)
    assert pixel(picture, 1, 1) != (255, 255, 255)
