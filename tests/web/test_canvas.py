"""What Python sends to the live canvas: the layer itself, in a form the browser can use, or only what fits."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load

import explorer
from explorer.errors import QueryError
from explorer.rendering.colormaps import COLORMAPS, lookup_table
from explorer.web.payload import canvas_markup, canvas_payload, canvas_script
from tests.tiny import photo, tiny_model, with_artefacts
from tests.views import changed, view_of

VIEW = view_of(image="photo", layer=1)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(reg_tokens=2), photo(96, 64), size=64, fit="keep")


def settings_of(payload: bytes) -> dict:
    (length,) = struct.unpack("<Q", payload[:8])
    return json.loads(json.loads(payload[8 : 8 + length])["__metadata__"]["canvas"])


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
    assert settings["look"] == {
        "colormap": "inferno", "opacity": 0.4, "resample": "nearest", "scale": "shared", "mass": 0.6,
        "hide_artefacts": False, "grid": True,
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
    np.testing.assert_array_equal(load(rows_only)["rows"], recording.rows(1, (2, 3)))
    assert "Hovering is off" in settings_of(rows_only)["note"]


def test_the_mean_query_comes_with_its_rows(recording):
    tensors = load(canvas_payload(recording, changed(VIEW, query="mean")))
    np.testing.assert_array_equal(tensors["rows"], recording.rows(1, "mean"))
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
