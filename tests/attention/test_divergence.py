"""Divergence of heads: worked examples, plain references, and grids of different patch sizes on one image."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import jensenshannon

import explorer
from explorer.attention.divergence import (
    difference,
    divergence,
    jensen_shannon,
    matching_query,
    on_common_cells,
    resample,
)  # fmt: skip
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model, with_artefacts


def record(**settings):
    return explorer.record(tiny_model(**settings), photo(64, 64))


@pytest.fixture(scope="module")
def first():
    return record()


@pytest.fixture(scope="module")
def second():
    return record(seed=1)


def test_worked_values():
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1)
    assert jensen_shannon(np.array([0.5, 0.5]), np.array([5.0, 5.0])) == 0
    # m = (.75, .25): (log2(1 / .75) + .5 log2(.5 / .75) + .5 log2(.5 / .25)) / 2
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.311278, abs=1e-6)


def test_it_lies_between_0_and_1_bit():
    rng = np.random.default_rng(0)
    p, q = (rng.gamma(0.05, size=(200, 50)) + 1e-12 for _ in range(2))  # from nearly flat to nearly one-hot
    bits = jensen_shannon(p, q)
    assert bits.min() >= 0 and bits.max() <= 1 and np.ptp(bits) > 0.5
    for tokens in (2, 197, 3601):  # nothing in common is one bit, whatever the number of tokens
        half = np.arange(tokens) < tokens // 2
        assert jensen_shannon(half.astype(float), (~half).astype(float)) == pytest.approx(1, abs=1e-12)


def test_every_head_equals_scipy_over_all_tokens(first, second):
    result = divergence(first, second, query=(2, 3))
    assert result.table.shape == (3, 4) and result.heads == (0, 1, 2, 3)
    for layer in range(3):
        for head in range(4):
            p, q = (np.float64(r.rows(layer, (2, 3))[head]) for r in (first, second))
            assert result.table[layer, head] == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)


def test_a_recording_does_not_differ_from_itself(first):
    assert divergence(first, first).table.max() < 1e-12


def test_it_is_symmetric(first, second):
    np.testing.assert_allclose(divergence(first, second).table, divergence(second, first).table, rtol=1e-12)


def test_most_changed_comes_first(first, second):
    result = divergence(first, second)
    changes = result.most_changed()
    bits = [change.bits for change in changes]
    assert len(changes) == 12 and bits == sorted(bits, reverse=True)
    assert all(result.table[change.layer, int(change.head)] == change.bits for change in changes)


def test_different_patch_sizes_are_compared_on_the_image(first):
    coarse = record(patch_size=16, seed=2)
    result = divergence(first, coarse)
    assert result.table.shape == (3, 4)
    fine, wide = np.float64(first.heads(1)[2]), np.float64(coarse.heads(1)[2])
    spread = np.kron(wide, np.ones((2, 2))) / 4
    expected = jensenshannon(fine.ravel(), spread.ravel(), base=2) ** 2
    assert result.table[1, 2] == pytest.approx(expected, abs=1e-9)


def test_grids_that_do_not_divide_equal_a_sum_over_pixels():
    rng = np.random.default_rng(0)
    p, q = rng.random((3, 4)), rng.random((5, 6))
    a, b = on_common_cells(p, q)
    pixels = [np.kron(p, np.ones((5, 3))) / 15, np.kron(q, np.ones((3, 2))) / 6]
    expected = jensenshannon(*(x.ravel() for x in pixels), base=2) ** 2
    assert float(jensen_shannon(a.ravel(), b.ravel())) == pytest.approx(expected, abs=1e-12)
    assert a.sum() == pytest.approx(p.sum()) and b.sum() == pytest.approx(q.sum())


def test_resampling_keeps_the_sum_and_splits_by_area():
    heatmap = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(resample(heatmap, (1, 2)), [[2.0, 4.0]])
    np.testing.assert_allclose(resample(heatmap, (2, 3)), [[0.5, 1, 1.5]] * 2)


def test_other_prefix_tokens_are_left_out(first):
    registers = record(reg_tokens=2, seed=3)
    p, q = (np.float64(r.heads(0)[1]).ravel() for r in (first, registers))
    assert divergence(first, registers).table[0, 1] == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)


def test_other_depths_are_matched_by_relative_depth(first):
    result = divergence(record(depth=2, seed=4), first)
    assert result.layers == ((0, 0), (1, 2)) and result.table.shape == (2, 4)


def test_other_numbers_of_heads_are_compared_by_their_mean(first):
    calls = [replace(call, q=call.q[:2], k=call.k[:2]) for call in first.calls]
    result = divergence(first, replace(first, calls=calls))
    assert result.heads == ("mean",) and result.table.shape == (3, 1)
    p, q = first.rows(0).mean(axis=0), first.rows(0)[:2].mean(axis=0)
    assert result.table[0, 0] == pytest.approx(jensenshannon(np.float64(p), np.float64(q), base=2) ** 2, abs=1e-9)


def test_a_patch_query_goes_to_the_same_place():
    assert matching_query("cls", (8, 8), (4, 4)) == "cls"
    assert matching_query((7, 2), (8, 8), (4, 4)) == (3, 1)
    assert matching_query((0, 3), (4, 4), (6, 6)) == (0, 5)


def test_a_crop_beside_the_whole_photo_is_refused():
    image = photo(96, 64)
    crop, squash, keep = (explorer.record(tiny_model(), image, fit=fit) for fit in ("crop", "squash", "keep"))
    for other in (squash, keep):
        with pytest.raises(QueryError, match="different parts"):
            divergence(crop, other)
    assert divergence(squash, keep).table.shape == (3, 4)  # both show all of it
    first, second = [explorer.record(tiny_model(), Image.new("RGB", (96, 64)), fit=fit) for fit in ("crop", "squash")]
    with pytest.raises(QueryError, match="different parts"):
        divergence(first, second)  # the model saw the same pixels, at other places
    first, second = [explorer.record(tiny_model(), photo(80, 80), fit=fit) for fit in ("crop", "squash")]
    assert divergence(first, second).table.max() == 0


def test_two_photos_are_refused(first):
    with pytest.raises(QueryError, match="different photos"):
        divergence(first, explorer.record(tiny_model(), photo(64, 64, seed=1)))
    with pytest.raises(QueryError, match="different photos"):
        divergence(first, explorer.record(tiny_model(), photo(64, 64).transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    with pytest.raises(QueryError, match="different photos"):
        divergence(first, explorer.record(tiny_model(), photo(128, 64), fit="keep"))  # the same colours, drawn out


@pytest.mark.parametrize(("size", "patch", "width", "height"), [(64, 16, 430, 400), (48, 8, 101, 77), (32, 8, 77, 101)])
@pytest.mark.parametrize("fit", ["crop", "squash", "keep"])
def test_other_patch_and_input_sizes_show_the_same_part(fit, size, patch, width, height):
    image = photo(width, height)
    coarse = explorer.record(tiny_model(patch_size=patch, size=size), image, fit=fit)
    fine = explorer.record(tiny_model(patch_size=2 * patch, size=2 * size), image, fit=fit)
    assert divergence(coarse, fine).table.shape == (3, 4)


def test_the_same_photo_in_another_file_is_the_same(tmp_path):
    image = photo(320, 240)
    image.save(tmp_path / "p.jpg", quality=60)
    whole = explorer.record(tiny_model(), image)
    for other in (tmp_path / "p.jpg", np.array(image), image.resize((160, 120), Image.Resampling.LANCZOS)):
        assert divergence(whole, explorer.record(tiny_model(), other)).table.shape == (3, 4)


def test_the_difference_is_one_of_shares_on_the_finer_grid():
    first, second = np.full((2, 2), 0.1, np.float32), np.zeros((4, 4), np.float32)
    second[0, 0] = 0.5
    got = difference(first, second)
    assert got.shape == (4, 4) and got.dtype == np.float32
    assert got[0, 0] == pytest.approx(15 / 16) and got.sum() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(got.ravel()[1:], -1 / 16, rtol=1e-5)


def test_hidden_artefacts_of_either_are_out_of_both_and_the_rest_is_normalised():
    pair = [
        explorer.record(with_artefacts(tiny_model(seed=seed), at), photo()) for seed, at in ((0, (2, 5)), (1, (6, 1)))
    ]
    kept = np.ones(65, bool)
    kept[[1 + 2 * 8 + 5, 1 + 6 * 8 + 1]] = False
    result, counted = divergence(*pair, query=(3, 3), hide_artefacts=True), divergence(*pair, query=(3, 3))
    for layer in range(3):
        for head in range(4):
            p, q = (np.float64(rec.rows(layer, (3, 3))[head, kept]) for rec in pair)
            assert result.table[layer, head] == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)
    assert abs(result.table - counted.table).max() > 0.01


def test_hidden_artefacts_on_grids_of_other_patch_sizes():
    fine = explorer.record(with_artefacts(tiny_model(), (2, 5)), photo())
    coarse = record(patch_size=16, seed=2)
    hidden = np.zeros((8, 8), bool)
    hidden[2, 5] = True
    result = divergence(fine, coarse, hide_artefacts=True)
    p = fine.heads(1)[2].astype(np.float64)[~hidden]
    q = np.kron(coarse.heads(1)[2].astype(np.float64), np.ones((2, 2)))[~hidden]
    assert result.table[1, 2] == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-9)


def test_a_map_without_any_weight_is_no_number_that_is_missing():
    nothing, some = np.zeros(4), np.ones(4)
    assert jensen_shannon(nothing, nothing) == 0
    assert jensen_shannon(nothing, some) == jensen_shannon(some, nothing) == 1
