"""The table of map kinds: every row answers, and settings are checked without computing anything."""

import subprocess
import sys

import numpy as np
import pytest

import explorer
from explorer.attention.maps.settings import (
    Choice,
    Count,
    FirstLayer,
    HeadOrFusion,
    Layer,
    Likeness,
    Number,
    Switch,
    TargetClass,
)
from explorer.attention.maps.table import MAP_KINDS, map_kind
from explorer.errors import QueryError
from tests.conftest import REPOSITORY
from tests.tiny import photo, tiny_model


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def test_each_kind_is_what_the_method_of_its_name_gives(recording):
    assert recording.maps == tuple(MAP_KINDS)
    asked = {
        "attention": {"layer": 1, "head": 2, "query": (1, 3)},
        "rollout": {"query": (1, 3), "fusion": "max", "discard_ratio": 0.9, "start_layer": 1},
        "relevance": {"target": "bee", "start_layer": 1, "balanced": True},
    }
    for name, settings in asked.items():
        shown = recording.map(name, **settings)
        np.testing.assert_array_equal(shown, getattr(recording, name)(**settings))
        assert shown.shape == recording.grid and shown.dtype == np.float32


EXPLAINING = [kind.name for kind in MAP_KINDS.values() if kind.needs(TargetClass)]


def test_files_and_links_of_before_find_their_kind():
    """No name is ever taken away."""
    names = "attention rollout relevance gradient legrad gradcam integrated_gradients occlusion raw"
    assert all(map_kind(name).title for name in names.split())
    assert len(EXPLAINING) >= 6


@pytest.mark.parametrize("kind", EXPLAINING)
def test_each_kind_explains_a_class_a_difference_or_a_likeness(recording, kind):
    short = {"steps": 4} if kind == "integrated_gradients" else {}
    second = explorer.record(recording.model, photo(seed=9))
    maps = [
        recording.map(kind, target="bee", **short),
        recording.map(kind, target=("bee", 3), **short),
        recording.map(kind, similar_to=second, **short),
        recording.map(kind, similar_to=(1, 2), **short),
    ]
    for shown in maps:
        assert shown.shape == recording.grid and shown.dtype == np.float32 and np.isfinite(shown).all()
        assert (shown.min() < 0) == map_kind(kind).signed and shown.max() > 0
    assert len({shown.tobytes() for shown in maps}) == len(maps)


@pytest.mark.parametrize("kind", EXPLAINING)
def test_a_model_without_classes_explains_a_likeness(kind):
    recording = explorer.record(tiny_model(depth=2, num_classes=0), photo())
    assert kind in recording.maps
    with pytest.raises(QueryError, match="no classes: give similar_to"):
        recording.map(kind)
    assert recording.map(kind, similar_to=(1, 2)).shape == recording.grid


def test_relevance_without_further_words_is_balanced_in_a_map_and_chefers_own_in_the_older_method(recording):
    np.testing.assert_array_equal(recording.map("relevance"), recording.relevance(balanced=True))
    np.testing.assert_array_equal(recording.map("relevance", balanced=False), recording.relevance())
    assert not np.allclose(recording.map("relevance"), recording.relevance(), rtol=0.01)


def test_settings_left_out_have_their_defaults(recording):
    np.testing.assert_array_equal(recording.map("attention"), recording.attention(-1))
    np.testing.assert_array_equal(recording.map("rollout"), recording.rollout())


def test_attention_is_still_called_raw_by_older_files(recording):
    assert map_kind("raw") is map_kind("attention")
    np.testing.assert_array_equal(recording.map("raw", layer=1), recording.attention(1))


def test_all_heads_are_one_by_one_the_map_of_each(recording):
    for kind in MAP_KINDS.values():
        if kind.heads is not None:
            heads = kind.heads(recording, layer=1, query="cls")
            for head in range(recording.num_heads):
                np.testing.assert_array_equal(heads[head], recording.map(kind.name, layer=1, head=head, query="cls"))


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("saliency", {}, "one of attention, rollout, relevance, .*, not 'saliency'"),
        ("rollout", {"head": 1}, "takes the settings query, fusion, discard_ratio, start_layer, not head"),
        ("attention", {"layer": 3}, "layers 0 to 2; 3 is none"),
        ("attention", {"layer": "last"}, "layers 0 to 2; 'last' is none"),
        ("attention", {"head": 4}, "heads 0 to 3"),
        ("attention", {"head": "sum"}, "mean, max, min, not 'sum'"),
        ("attention", {"query": "reg1"}, "no 'reg1' token"),
        ("attention", {"query": (8, 0)}, "outside the grid"),
        ("rollout", {"fusion": "sum"}, "fusion must be one of mean, max, min"),
        ("rollout", {"discard_ratio": 1}, "from 0 to below 1, not 1"),
        ("rollout", {"discard_ratio": float("nan")}, "not nan"),
        ("rollout", {"start_layer": -1}, "start_layer must be 0 to 2"),
        ("relevance", {"target": "wasp"}, "no class 'wasp'"),
        ("relevance", {"target": ("bee", "wasp")}, "no class 'wasp'"),
        ("relevance", {"target": (0, 1, 2)}, "two classes, not 3"),
        ("relevance", {"balanced": "yes"}, "balanced must be True or False, not 'yes'"),
        ("legrad", {"start_layer": 3}, "start_layer must be 0 to 2"),
        ("gradcam", {"layer": 3}, "layers 0 to 2"),
        ("integrated_gradients", {"steps": 1}, "steps must be a whole number from 2 to 512, not 1"),
        ("integrated_gradients", {"steps": 8.5}, "not 8.5"),
        ("integrated_gradients", {"baseline": "white"}, "one of grey, black, mean"),
        ("relevance", {"similar_to": (0, 8)}, "outside the grid"),
        ("relevance", {"similar_to": "cat.jpg"}, "record 'cat.jpg' first"),
    ],
)
def test_what_a_recording_cannot_take_is_refused_before_anything_is_computed(recording, kind, settings, said):
    with pytest.raises(QueryError, match=said):
        recording.map(kind, **settings)
    with pytest.raises(QueryError, match=said):
        map_kind(kind).complete_settings(settings, recording)


def test_a_model_without_classes_still_has_relevance():
    recording = explorer.record(tiny_model(num_classes=0), photo())
    assert "relevance" in recording.maps and recording.probabilities is None
    with pytest.raises(QueryError, match="no classes"):
        recording.class_index(None)


def test_probabilities_and_class_names(recording):
    expected = np.exp(recording.logits.astype(np.float64)) / np.exp(recording.logits.astype(np.float64)).sum()
    np.testing.assert_allclose(recording.probabilities, expected, rtol=1e-12)
    assert recording.class_index("bee") == 1 and recording.class_index(None) == expected.argmax()
    assert recording.model.class_name(1) == "bee"


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (Layer("layer", "", -1, ""), "-2", -2),
        (FirstLayer("start", "", 0, ""), "2", 2),
        (HeadOrFusion("head", "", "mean", ""), "3", 3),
        (HeadOrFusion("head", "", "mean", ""), "max", "max"),
        (Choice("fusion", "", "a", "", choices=("a", "b")), "b", "b"),
        (Number("ratio", "", 0.0, ""), "0.25", 0.25),
        (Count("steps", "", 32, ""), "12", 12),
        (Switch("balanced", "", True, ""), "No", False),
        (Switch("balanced", "", True, ""), "true", True),
        (TargetClass("target", "", None, ""), "12", "12"),
        (TargetClass("target", "", None, ""), "tabby, cat", "tabby, cat"),
        (Likeness("similar_to", "", None, ""), "3,12", (3, 12)),
        (Likeness("similar_to", "", None, ""), "one,two.png", "one,two.png"),
    ],
)
def test_settings_as_typed(setting, text, value):
    assert setting.parse(text) == value
    setting.check(value)


@pytest.mark.parametrize("setting", [Layer("layer", "", -1, ""), Number("ratio", "", 0.0, "")])
def test_typing_errors_are_sentences(setting):
    with pytest.raises(QueryError, match="number, not 'x'"):
        setting.parse("x")


def test_a_setting_of_one_name_means_the_same_in_every_row():
    seen: dict[str, tuple] = {}
    for setting in (setting for kind in MAP_KINDS.values() for setting in kind.settings):
        facts = type(setting), setting.default, setting.alias
        assert seen.setdefault(setting.name, facts) == facts


def test_the_table_is_read_without_torch():
    code = "import sys, explorer.attention.maps.table; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"], done.stderr
