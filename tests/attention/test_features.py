"""Colours and similarities of patch tokens, on tokens whose principal components are known."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

import explorer
from explorer.attention.features import (
    components,
    cosine,
    foreground_side,
    otsu,
    patch_tokens,
    pca_colours,
    similarity,
    without_specks,
)
from explorer.errors import QueryError
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def with_tokens(recording, patches):
    tokens = np.concatenate([recording.tokens[:1], patches.reshape(64, -1)]).astype(np.float32)
    return replace(recording, tokens=tokens)


@pytest.fixture(scope="module")
def square(recording):
    """An object of 4 x 4 patches in the middle: a strong axis against the ground, three weaker ones inside."""
    rng = np.random.default_rng(0)
    patches = rng.normal(0, 0.01, (8, 8, 64))
    patches[2:6, 2:6, 5] += 50
    patches[2:6, 2:6, 7] += np.arange(4)[:, None] * 6  # 1st inside: down
    patches[2:6, 2:6, 9] += np.arange(4)[None, :] * 3  # 2nd inside: across
    return with_tokens(recording, patches)


def test_the_object_is_the_foreground_and_the_rest_is_black(square):
    colours = pca_colours([square])[0]
    expected = np.zeros((8, 8), bool)
    expected[2:6, 2:6] = True
    np.testing.assert_array_equal(colours.foreground, expected)
    assert not colours.rgb[~expected].any() and colours.rgb.dtype == np.float32


def test_a_photo_turned_inside_out_has_the_same_foreground(square):
    flipped = replace(square, tokens=-square.tokens)
    np.testing.assert_array_equal(pca_colours([flipped])[0].foreground, pca_colours([square])[0].foreground)


def test_red_and_green_are_the_two_strongest_axes_of_the_object(square):
    colours = pca_colours([square])[0]
    inside = colours.rgb[2:6, 2:6]
    np.testing.assert_allclose(inside[..., 0], np.repeat(np.arange(4)[:, None] / 3, 4, axis=1), atol=0.02)
    np.testing.assert_allclose(inside[..., 1], np.repeat(np.arange(4)[None] / 3, 4, axis=0), atol=0.02)
    assert colours.explained[:2] == pytest.approx((0.8, 0.2), abs=0.01)


def test_two_images_share_their_colours(square):
    shifted = np.roll(patch_tokens(square).reshape(8, 8, 64), 1, axis=1)
    one, two = pca_colours([square, with_tokens(square, shifted)])
    np.testing.assert_allclose(np.roll(one.rgb, 1, axis=1), two.rgb, atol=1e-5)
    np.testing.assert_array_equal(np.roll(one.foreground, 1, axis=1), two.foreground)


def test_without_foreground_every_patch_is_coloured(recording):
    colours = pca_colours([recording], foreground=False)[0]
    assert colours.foreground.all()
    assert colours.rgb.reshape(-1, 3).min(axis=0).tolist() == [0, 0, 0]
    assert colours.rgb.reshape(-1, 3).max(axis=0).tolist() == [1, 1, 1]


def test_signs_do_not_depend_on_the_solver():
    tokens = np.random.default_rng(1).normal(size=(40, 8))
    scores, shares = components(tokens, 3)
    centred = tokens - tokens.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    for i in range(3):
        axis = vectors[:, -1 - i] * np.sign(vectors[np.abs(vectors[:, -1 - i]).argmax(), -1 - i])
        np.testing.assert_allclose(scores[:, i], centred @ axis, atol=1e-9)
        assert shares[i] == pytest.approx(values[-1 - i] / values.sum())


def test_otsu_splits_where_the_gap_is_widest():
    assert otsu(np.array([0, 9.0, 1, 10, 0.5, 11])) == 5
    scores = np.random.default_rng(0).normal(size=50)
    assert otsu(-scores) == pytest.approx(-otsu(scores))


def test_equal_tokens_are_all_foreground():
    assert foreground_side(np.zeros(9), np.ones(9, bool)).all()


@pytest.mark.parametrize("query", [(2, 5), "cls", "mean"])
def test_similarity_equals_sklearn(recording, query):
    other = explorer.record(recording.model, photo(seed=3))
    token = recording.tokens[recording.query_indices(query)].mean(axis=0, keepdims=True)
    expected = cosine_similarity(token, other.tokens[1:]).reshape(8, 8)
    got = similarity(recording, query, other)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.dtype == np.float32


def test_a_patch_is_most_like_itself(recording):
    got = similarity(recording, (2, 5))
    assert got[2, 5] == pytest.approx(1) and got.argmax() == 2 * 8 + 5


def test_cosine():
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(0.96)
    assert cosine(np.zeros(2), np.ones(2)) == 0


def test_tokens_of_two_models_are_not_mixed(recording):
    other = explorer.record(replace(tiny_model(seed=1), name="another"), photo())
    with pytest.raises(QueryError, match="one model"):
        similarity(recording, (0, 0), other)
    with pytest.raises(QueryError, match="one model"):
        pca_colours([recording, other])


def test_too_few_patches_are_refused(recording):
    small = explorer.record(recording.model, photo(), size=8)
    with pytest.raises(QueryError, match="larger input"):
        pca_colours([small])


def test_shares_of_the_variance_are_numbers_also_where_all_tokens_are_alike():
    tokens = np.random.default_rng(0).normal(size=(40, 6)) * [9, 4, 2, 1, 1, 1]
    variances = np.linalg.svd(tokens - tokens.mean(axis=0), compute_uv=False) ** 2
    assert components(tokens, 3)[1] == pytest.approx(variances[:3] / variances.sum(), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # sklearn's own division by zero
        assert components(np.ones((8, 6)), 3)[1] == (0.0, 0.0, 0.0)


def test_specks_and_holes_are_smoothed_away():
    mask = np.zeros((10, 10), bool)
    mask[2:7, 2:7] = True
    expected = mask.copy()
    mask[4, 4] = False  # a hole
    mask[9, 9] = True  # a speck
    np.testing.assert_array_equal(without_specks(mask), expected)
    assert without_specks(np.ones((4, 4), bool)).all() and not without_specks(np.zeros((4, 4), bool)).any()


def test_the_cut_moves_between_both_sides_means():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 60), rng.normal(6, 1, 40)])
    border = np.arange(100) < 60
    for turned in (scores, -scores):
        much, usual, little = (foreground_side(turned, border, cut) for cut in (-1, 0, 1))
        assert (little <= usual).all() and (usual <= much).all()
        np.testing.assert_array_equal(little, scores > scores[usual].mean())
        np.testing.assert_array_equal(much, scores > scores[~usual].mean())


def test_a_cut_out_of_range_is_refused(square):
    with pytest.raises(QueryError, match="from -1 to 1, not 2"):
        pca_colours([square], cut=2)
