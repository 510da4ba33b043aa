"""What Python sends to the live canvas: the layer itself, in a form the browser can use, or only what fits."""

import copy
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

import explorer
from explorer.errors import QueryError
from explorer.rendering.colormaps import COLORMAPS, lookup_table
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script, recording_files
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import changed, view_of

VIEW = view_of(image="photo", layer=1)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(reg_tokens=2), photo(96, 64), size=64, fit="keep")


def metadata_of(payload: bytes) -> dict[str, str]:
    (length,) = struct.unpack("<Q", payload[:8])
    return json.loads(payload[8 : 8 + length])["__metadata__"]


def settings_of(payload: bytes) -> dict:
    return json.loads(metadata_of(payload)["canvas"])


def test_payload_holds_the_layer_the_image_and_the_colour_maps(recording):
    payload = canvas_payload(recording, VIEW)
    tensors = load(payload)
    np.testing.assert_array_equal(tensors["q"], recording.q(1).numpy())
    np.testing.assert_array_equal(tensors["k"], recording.k(1).numpy())
    np.testing.assert_array_equal(tensors["image"], np.array(recording.image))
    np.testing.assert_array_equal(tensors["colormaps"][COLORMAPS.index("turbo")], lookup_table("turbo"))
    assert set(tensors) == {"q", "k", "image", "colormaps", "artefacts"}


def test_payload_says_what_is_shown_and_how(recording):
    view = changed(VIEW, layer=-1, head=2, query=(3, 4), scale="shared", mass=0.6, resample="nearest", opacity=0.4)
    settings = settings_of(canvas_payload(recording, view, grid_lines=True, seq=7))
    assert (settings["layer"], settings["head"], settings["query"], settings["seq"]) == (2, 2, [3, 4], 7)
    assert settings["grid"] == [8, 12]
    assert settings["prefix"] == ["cls", "reg1", "reg2"]
    assert settings["scale"] == recording.scale(2)
    assert (settings["shows"], settings["depth"], settings["heads"]) == ("attention", 3, 4)
    assert settings["look"] == {
        "colormap": "inferno", "opacity": 0.4, "resample": "nearest", "scale": "shared", "mass": 0.6,
        "hide_artefacts": False, "grid": True, "mosaic": False,
    }  # fmt: skip


def test_attention_from_the_payload_is_the_recordings(recording):
    tensors = load(canvas_payload(recording, VIEW))
    scores = tensors["q"] @ tensors["k"].swapaxes(1, 2) * recording.scale(1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    prefix = len(recording.prefix_tokens)
    np.testing.assert_allclose(weights[:, 0, prefix:].reshape(4, 8, 12), recording.heads(1, "cls"), atol=1e-6)


def test_the_artefact_tokens_go_along_where_norms_are_known():
    recording = explorer.record(with_artefacts(tiny_model(), (2, 5), (7, 0)), photo())
    marked = load(canvas_payload(recording, VIEW))["artefacts"]
    assert marked.dtype == np.uint8 and np.argwhere(marked).tolist() == [[2, 5], [7, 0]]
    assert "artefacts" not in load(canvas_payload(replace(recording, norms=None), VIEW))


def test_above_the_limit_half_precision_then_only_the_querys_rows(recording):
    size = recording.q(1).nbytes * 2
    half = canvas_payload(recording, VIEW, limit=size - 1)
    assert load(half)["q"].dtype == np.float16
    assert "half precision" in settings_of(half)["note"]

    rows_only = canvas_payload(recording, changed(VIEW, query=(2, 3)), limit=size // 2 - 1)
    assert set(load(rows_only)) == {"image", "colormaps", "artefacts", "rows"}
    np.testing.assert_array_equal(load(rows_only)["rows"], [recording.rows(1, (2, 3))])
    assert "Hovering is off" in settings_of(rows_only)["note"]


def test_all_layers_as_files_in_the_best_precision_that_fits(recording):
    size = sum(recording.q(layer).nbytes * 2 for layer in range(3))
    exact, half, none = (recording_files(recording, limit, size // 2) for limit in (size, size - 1, size - 1))
    none = recording_files(recording, size - 1, size // 2 - 1)
    assert (exact.precision, half.precision, none.precision) == ("float32", "float16", None)
    assert len(exact.layers) == len(half.layers) == 3 and none.layers == ()
    for layer, (content, smaller) in enumerate(zip(exact.layers, half.layers, strict=True)):
        np.testing.assert_array_equal(load(content)["k"], recording.k(layer).numpy())
        assert load(smaller)["q"].dtype == np.float16
        about = metadata_of(content)
        assert (about["layer"], float(about["scale"])) == (str(layer), recording.scale(layer))


def test_what_files_hold_is_not_sent_again(recording):
    files = recording_files(recording)
    urls = {"photo": "/media/a.zip", "layers": ["/media/b.zip", "/media/c.zip", "/media/d.zip"]}
    payload = canvas_payload(recording, changed(VIEW, query=(2, 3)), files=files, urls=urls)
    assert load(payload) == {} and len(payload) < 4000
    assert settings_of(payload)["files"] == urls and settings_of(payload)["key"] == files.key


def test_files_of_other_photos_and_models_have_other_names_and_the_same_ones_the_same(recording):
    files = recording_files(recording)
    again = recording_files(explorer.record(recording.model, photo(96, 64), size=64, fit="keep"))
    assert again.key == files.key
    rounded = replace(recording, calls=[replace(call, q=call.q * (1 + 1e-7)) for call in recording.calls])
    assert recording_files(rounded).key == files.key
    other = recording_files(explorer.record(tiny_model(reg_tokens=2), photo(96, 64, seed=1), size=64, fit="keep"))
    trained = copy.deepcopy(recording.model.module)
    next(trained.parameters()).data.add_(0.01)
    model = replace(recording.model, module=trained)
    keys = {
        recording_files(replace(recording, model=model)).key,
        recording_files(recording, 0).key,
        other.key,
        files.key,
    }
    assert len(keys) == 4, "another model, another precision, another photo"
    assert files.photo != other.photo
    # Streamlit names a large file by its first, middle and last bytes: the first ones have to tell them apart.
    assert all(a[:300] != b[:300] for a, b in zip(files.layers, other.layers, strict=True))


def test_a_rollout_names_its_first_layer_and_fusion(recording):
    view = changed(VIEW, kind="rollout", start_layer=1, fusion="max", query=(1, 2))
    settings = settings_of(canvas_payload(recording, view))
    assert (settings["shows"], settings["layer"], settings["head"], settings["query"]) == ("rollout", 1, "max", [1, 2])


def test_the_likeliest_classes_go_along_where_asked(recording):
    assert settings_of(canvas_payload(recording, VIEW))["classes"] == []
    classes = settings_of(canvas_payload(recording, VIEW, classes=True))["classes"]
    best = int(recording.logits.argmax())
    assert classes[0] == [recording.model.class_name(best), f"{100 * recording.probabilities[best]:.1f} %",
                          pytest.approx(float(recording.probabilities[best]))]  # fmt: skip


def test_the_mean_query_comes_with_its_rows(recording):
    tensors = load(canvas_payload(recording, changed(VIEW, query="mean")))
    np.testing.assert_array_equal(tensors["rows"], [recording.rows(1, "mean")])
    assert "q" in tensors


@pytest.mark.parametrize("change", [{"layer": 3}, {"head": 4}, {"head": "sum"}, {"query": (8, 0)}, {"query": "reg3"}])
def test_what_the_recording_lacks_is_one_clear_error(recording, change):
    with pytest.raises(QueryError):
        canvas_payload(recording, changed(VIEW, **change))


def test_the_script_is_one_module_without_imports():
    script = canvas_script()
    assert "import " not in [line[:7] for line in script.splitlines()]
    assert "export class LiveView" in script
    html, css = canvas_markup()
    assert 'data-part="picture"' in html
    assert "--st-primary-color" in css
