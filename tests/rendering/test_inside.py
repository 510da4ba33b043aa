"""Figures of a step, of an account and of the lens: what is drawn are the numbers, and shares add up to 100 %."""

from typing import Any

import numpy as np
import pytest

import explorer
from explorer.attention.ledger import Ledger
from explorer.rendering.account import heads_figure, layer_shares, waterfall_figure
from explorer.rendering.inside import length_figure, share_figure
from explorer.rendering.lens import OTHER, PALETTE, course_figure, guesses
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


@pytest.fixture(scope="module")
def account(recording) -> Ledger:
    return recording.ledger(1)


def test_shares_are_drawn_largest_first_and_add_up_to_the_whole(recording):
    shares = recording.rows(1, (2, 3))[0]
    names = [f"token {index}" for index in range(len(shares))]
    bars: Any = share_figure(shares, names, count=4).data[0]
    assert sum(bars.x) == pytest.approx(100, abs=1e-4)
    assert list(bars.customdata[:4]) == [names[index] for index in np.argsort(-shares)[:4]]
    assert bars.customdata[4] == "all 61 others" and len(bars.x) == 5
    few: Any = share_figure(np.array([0.25, 0.75], np.float32), ["a", "b"], count=4).data[0]
    assert list(few.customdata) == ["b", "a"] and list(few.text) == ["75.0 %", "25.0 %"]


def test_lengths_keep_their_order():
    bars: Any = length_figure({"before": 3.0, "after": 1.5}).data[0]
    assert list(bars.x) == [3.0, 1.5] and list(bars.customdata) == ["before", "after"]


def test_every_head_and_mlp_has_a_cell_and_the_chosen_one_a_frame(account):
    figure: Any = heads_figure(account, (2, 1), "#123456")
    heat, cells = figure.data
    np.testing.assert_allclose(heat.z[:-1], account.heads.sum(axis=2).T)
    np.testing.assert_allclose(heat.z[-1], account.mlps)
    assert heat.zmax == -heat.zmin == pytest.approx(np.abs(heat.z).max())
    assert len(cells.x) == 3 * 5 and cells.customdata[-1][0] == "MLP"
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (1.5, 2.5, 0.5, 1.5)


def test_the_waterfall_ends_at_the_score(account):
    steps: Any = waterfall_figure(account).data[0]
    assert list(steps.measure) == ["relative"] * 8 + ["total"]
    assert [sum(steps.y[:-1]), steps.y[-1]] == pytest.approx([account.score] * 2, abs=1e-4)
    assert steps.y[2] == pytest.approx(layer_shares(account)[0].sum(), abs=1e-5)


def test_guesses_are_coloured_by_class_and_paler_where_unsure():
    classes = np.array([[7, 7], [7, 3]])
    drawn = guesses(classes, np.array([[1.0, 0.0], [1.0, 1.0]]))
    assert drawn.legend == {7: PALETTE[0], 3: PALETTE[1]}
    assert drawn.picture.getpixel((0, 0)) == PALETTE[0] and drawn.picture.getpixel((1, 1)) == PALETTE[1]
    assert sum(drawn.picture.getpixel((1, 0))) > sum(PALETTE[0])  # pyright: ignore
    many = guesses(np.arange(9).reshape(3, 3), np.ones((3, 3)))
    assert many.legend[None] == OTHER and many.picture.getpixel((2, 2)) == OTHER


def test_a_line_for_each_class(recording):
    lens = recording.lens()
    lines: Any = course_figure(lens.image, {1: "bee", 4: "boot"}, 2).data
    assert [line.name for line in lines] == ["bee", "boot"]
    lines = course_figure(lens.image, {1: '<b>"b"</b>'}, 2).data
    (odd,) = lines
    assert odd.name == '&lt;b&gt;"b"&lt;/b&gt;' and odd.hovertemplate.startswith(odd.name)
    np.testing.assert_allclose(lines[0].y, 100 * lens.image[:, 1])
