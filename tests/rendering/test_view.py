"""What a view names is what its PNG and NPZ hold."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import explorer
from explorer.data.samples import sample_photo
from explorer.errors import ImageError, QueryError
from explorer.models.source import ModelSource
from explorer.rendering.figures import figure, title
from explorer.rendering.view import (
    Look,
    MapChoice,
    PhotoInput,
    View,
    limits,
    noted_map,
    paint,
    picture,
    png,
    save_npz,
    shown_map,
)
from explorer.web.payload import canvas_payload
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import changed, view_of

VIEW = view_of(layer=1, head=2, query=(1, 3))


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def load(data: bytes):
    return np.load(io.BytesIO(data), allow_pickle=False)


def test_npz_holds_the_map_the_heads_and_every_setting(recording):
    stored = load(save_npz(VIEW, recording))
    np.testing.assert_array_equal(stored["map"], recording.attention(1, 2, (1, 3)))
    np.testing.assert_array_equal(stored["heads"], recording.heads(1, (1, 3)))
    np.testing.assert_array_equal(stored["image"], np.array(recording.image))
    np.testing.assert_array_equal(stored["logits"], recording.logits)
    assert View.from_json(str(stored["settings"])) == VIEW
    assert "mask" not in stored


def test_what_is_not_verified_says_so_in_files_titles_and_on_the_canvas(recording):
    assert load(save_npz(VIEW, recording))["verified"]
    assert "erified" not in title(VIEW, recording) and b"Not verified" not in canvas_payload(recording, VIEW)
    unsure = replace(recording, verified=False)
    assert not load(save_npz(VIEW, unsure))["verified"]
    assert title(VIEW, unsure).endswith("(not verified)") and b"Not verified" in canvas_payload(unsure, VIEW)


@pytest.mark.parametrize(("kind", "settings"), [("gradient", {}), ("relevance", {"balanced": True})])
def test_a_map_that_does_not_add_up_says_so_everywhere(kind, settings):
    model = tiny_model()
    model.module.bfloat16()  # rounds the sums
    recording, view = explorer.record(model, photo()), view_of(kind=kind, target=2, **settings)
    said = r"^The balanced gradient and the biases add up to -?[\d.]+, not to the score of -?[\d.]+\.$"
    with pytest.warns(UserWarning, match=said):
        heatmap = recording.map(kind, target=2, **settings)
    shown, note = noted_map(view, recording)
    np.testing.assert_array_equal(shown, heatmap)
    assert re.match(said, note) and str(load(save_npz(view, recording))["note"]) == note
    assert figure(view, recording).title.endswith("(doesn't add up to its score)")


def test_a_map_that_adds_up_says_nothing(recording):
    for kind in recording.maps:
        few = {"steps": 2} if kind == "integrated_gradients" else {}
        _, note = recording.map_with_note(kind, **few)
        assert (note == "") != (kind == "integrated_gradients"), kind
        assert not note or note.endswith("More steps come closer.")
    assert not recording.map_with_note("relevance", balanced=False)[1]
    assert str(load(save_npz(view_of(kind="gradient"), recording))["note"]) == ""


def test_npz_is_the_same_bytes_twice(recording):
    assert save_npz(VIEW, recording) == save_npz(VIEW, recording)


def test_rollout_and_mass_are_stored(recording):
    view = changed(VIEW, kind="rollout", query="cls", discard_ratio=0.3, start_layer=1, mass=0.5)
    stored = load(save_npz(view, recording))
    np.testing.assert_array_equal(stored["map"], recording.rollout("cls", "mean", 0.3, 1))
    assert stored["map"][stored["mask"]].sum() >= 0.5 * stored["map"].sum()
    assert "heads" not in stored


def test_png_is_the_overlay_and_carries_its_settings(recording):
    picture = Image.open(io.BytesIO(png(VIEW, recording, zoom=1)))
    expected = explorer.overlay(recording.image, recording.attention(1, 2, (1, 3)))
    np.testing.assert_array_equal(np.array(picture), np.array(expected))
    assert View.from_json(picture.info["explorer"]) == VIEW
    assert Image.open(io.BytesIO(png(VIEW, recording))).size == (256, 256)


@pytest.mark.parametrize(("fit", "part"), [("crop", (50, 0, 150, 100)), ("squash", None), ("keep", None)])
def test_a_picture_over_the_photo_has_its_pixels_and_the_same_map(fit, part):
    whole = photo(200, 100)
    rec = explorer.record(tiny_model(), whole, fit=fit)
    view = changed(VIEW, fit=fit)
    expected = explorer.overlay(whole.crop(part) if part else whole, rec.attention(1, 2, (1, 3)))
    np.testing.assert_array_equal(np.array(picture(view, rec, photo=whole)), np.array(expected))
    assert picture(changed(view, width=50), rec, photo=whole).width == 50
    assert save_npz(view, rec) == save_npz(view, rec) and load(save_npz(view, rec))["image"].shape[0] == 64


def test_settings_of_before_a_field_was_added_are_read():
    settings = json.loads(VIEW.to_json())
    del settings["look"]["width"], settings["map"]["settings"]["head"]
    assert View.from_json(json.dumps(settings)) == changed(VIEW, head="mean")


# As version 0.1.0 wrote them, into an NPZ and into a PNG's text.
NPZ_OF_0_1 = (
    '{"model": "checkpoints/tiny.safetensors", "image": "sample:cat", "arch": "vit_tiny_patch16_224", "num_heads": 4, '
    '"grid": "8x8", "size": 64, "fit": "keep", "kind": "rollout", "layer": 1, "head": 2, "query": [2, 5], '
    '"fusion": "max", "discard_ratio": 0.25, "start_layer": 1, "target": null, "similar_to": null, "mass": 0.6, '
    '"hide_artefacts": true, "colormap": "viridis", "opacity": 0.5, "resample": "nearest", "scale": "shared", '
    '"width": 300}'
)
PNG_OF_0_1 = (
    '{"model": "bundled", "image": "cat.jpg", "arch": null, "num_heads": null, "grid": null, "size": null, '
    '"fit": "crop", "kind": "raw", "layer": 9, "head": "max", "query": "cls", "fusion": "mean", "discard_ratio": 0.0, '
    '"start_layer": 0, "target": null, "similar_to": null, "mass": null, "hide_artefacts": false, '
    '"colormap": "inferno", "opacity": 0.6, "resample": "bicubic", "scale": "map", "width": null}'
)


def test_files_of_the_first_release_still_open():
    assert View.from_json(NPZ_OF_0_1) == View(
        ModelSource("checkpoints/tiny.safetensors", "vit_tiny_patch16_224", 4, "8x8"),
        PhotoInput("sample:cat", 64, "keep"),
        MapChoice("rollout", query=(2, 5), fusion="max", discard_ratio=0.25, start_layer=1),
        Look("viridis", 0.5, "nearest", "shared", 0.6, True, 300),
    )
    assert View.from_json(PNG_OF_0_1) == view_of("bundled", "cat.jpg", fit="crop", layer=9, head="max", query="cls")


def test_scripts_of_the_first_release_still_make_views():
    flat = json.loads(NPZ_OF_0_1)
    assert View(**flat) == View.from_json(NPZ_OF_0_1)
    assert View(model="bundled", image="cat.jpg") == view_of("bundled", "cat.jpg", fit="crop")
    with pytest.raises(TypeError, match="ModelSource"):
        View("bundled", "cat.jpg")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(TypeError):
        View(ModelSource("bundled"))  # pyright: ignore[reportCallIssue]


def test_a_view_of_another_map_keeps_what_both_take():
    view = changed(VIEW, layer=2).with_map("rollout", fusion="max")
    assert view.map == MapChoice("rollout", query=(1, 3), fusion="max")
    assert view.look == VIEW.look and view.with_map("relevance").map == MapChoice("relevance", balanced=True)
    assert view.with_look(mass=0.5).look == Look(mass=0.5) and hash(view) != hash(VIEW)


def test_a_map_choice_names_every_setting_and_its_kind_of_today():
    assert dict(MapChoice("raw").settings) == {"layer": -1, "head": "mean", "query": None}
    assert MapChoice("raw", layer=3) == MapChoice("attention", layer=3) != MapChoice()


def test_scales(recording):
    heatmap, heads = shown_map(VIEW, recording), recording.heads(1, (1, 3))
    assert limits(VIEW, recording, heatmap) == (heatmap.min(), heatmap.max())
    assert limits(changed(VIEW, scale="shared"), recording, heatmap) == (heads.min(), heads.max())
    assert limits(changed(VIEW, scale="raw"), recording, heatmap) == (0, 1)


def test_outside_the_mass_mask_is_darkened(recording):
    plain = np.array(picture(VIEW, recording)).astype(int)
    masked = np.array(picture(changed(VIEW, mass=0.6), recording)).astype(int)
    inside = np.kron(recording.mass_mask(1, 2, 0.6, (1, 3)), np.ones((8, 8))) > 0
    np.testing.assert_array_equal(masked[inside], plain[inside])
    photo_pixels = np.array(recording.image)
    np.testing.assert_array_equal(masked[~inside], (photo_pixels[~inside] * 0.45).astype(int))


def test_opacity_zero_is_the_photo(recording):
    view = changed(VIEW, opacity=0.0)
    shown = paint(view.look, recording.image, shown_map(view, recording), 0, 1)
    np.testing.assert_array_equal(np.array(shown), np.array(recording.image))


def test_hidden_artefacts_are_out_of_map_heads_scale_and_mask():
    recording = explorer.record(with_artefacts(tiny_model(), (2, 5)), photo())
    view = changed(VIEW, hide_artefacts=True, mass=0.5, scale="shared")
    stored = load(save_npz(view, recording))
    assert np.argwhere(stored["artefacts"]).tolist() == [[2, 5]]
    kept = ~stored["artefacts"]
    raw = recording.attention(1, 2, (1, 3))
    assert stored["map"][2, 5] == raw[kept].min() and (stored["map"][kept] == raw[kept]).all()
    heads = recording.heads(1, (1, 3))
    np.testing.assert_array_equal(stored["heads"][:, 2, 5], heads[:, kept].min(axis=1))
    np.testing.assert_array_equal(stored["heads"][2], stored["map"])
    assert limits(view, recording, stored["map"]) == (heads[:, kept].min(), heads[:, kept].max())
    assert stored["map"][stored["mask"]].sum() >= 0.5 * stored["map"].sum() and not stored["mask"][2, 5]


def test_a_second_image_is_recorded_or_given(tmp_path):
    model = tiny_model()
    photo(seed=1).save(tmp_path / "other.png")
    recording, other = explorer.record(model, photo()), explorer.record(model, tmp_path / "other.png")
    view = changed(VIEW, kind="relevance", similar_to=str(tmp_path / "other.png"))
    expected = recording.map("relevance", similar_to=other)
    np.testing.assert_array_equal(shown_map(view, recording), expected)
    elsewhere = changed(view, similar_to="a photo of one person.png")
    np.testing.assert_array_equal(load(save_npz(elsewhere, recording, second=other))["map"], expected)
    with pytest.raises(ImageError):
        shown_map(elsewhere, recording)
    assert View.from_json(elsewhere.to_json()) == elsewhere
    likeness = shown_map(changed(view, similar_to="sample:coffee"), recording)
    coffee = explorer.record(model, sample_photo("coffee"))
    np.testing.assert_array_equal(likeness, recording.map("relevance", similar_to=coffee))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "saliency"},
        {"scale": "log"},
        {"width": 0},
        {"width": 9000},
        {"fusion": "max"},
        {"head": "sum"},
        {"layer": "last"},
        {"kind": "rollout", "discard_ratio": 1.0},
        {"kind": "rollout", "start_layer": -1},
    ],
)
def test_unknown_settings_are_refused(settings):
    with pytest.raises(QueryError):
        view_of(**settings)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"query": null}'])
def test_texts_that_are_no_view_are_refused(text):
    with pytest.raises(QueryError):
        View.from_json(text)
