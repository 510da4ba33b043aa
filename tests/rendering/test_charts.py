"""Figures of evidence and divergence: what is drawn are the numbers."""

from typing import Any

import numpy as np
import pytest

import explorer
from explorer.attention.divergence import Divergence, divergence
from explorer.attention.evidence import Game, evidence
from explorer.rendering.charts import divergence_figure, evidence_figure
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def heat_of(result: Divergence) -> Any:
    """The one trace of a divergence's figure."""
    (heat,) = divergence_figure(result).data
    return heat


def test_every_curve_is_drawn_with_its_area(recording):
    result = evidence(recording, recording.attention(1), steps=3, random_orders=1)
    lines: Any = evidence_figure(result).data
    assert len(lines) == len(result.curves) == 6
    columns: dict[Game, Any] = {"deletion": lines[:3], "insertion": lines[3:]}
    for game, column in columns.items():
        for order, line in zip(("map", "random", "centre"), column, strict=True):
            curve = result.curve(order, game)
            np.testing.assert_array_equal(line.y, curve.probabilities)
            np.testing.assert_allclose(line.x, 100 * curve.shares)
            assert line.name.endswith(f"area {curve.area:.3f}")


def test_divergence_has_layers_across_and_heads_down(recording):
    result = divergence(recording, explorer.record(tiny_model(depth=2, seed=1), photo()))
    heat = heat_of(result)
    np.testing.assert_array_equal(np.array(heat.z), result.table.T)
    assert list(heat.x) == ["0", "1 / 0", "2 / 1"] and list(heat.y) == ["0", "1", "2", "3"]
    assert (heat.zmin, heat.zmax) == (0, result.table.max())


def test_divergence_of_a_model_from_itself_has_no_colours_below_zero(recording):
    heat = heat_of(divergence(recording, recording))
    assert not np.array(heat.z).any()
    assert 0 == heat.zmin < heat.zmax
