"""The Compare page where the second model is the first again, or can't be loaded."""

import pytest
from safetensors.torch import save_file

import explorer
from explorer.models.source import ModelSource, TrainedFrom
from explorer.ui.compare.view import SAME
from tests.app import TINY, open_app, sentences
from tests.tiny import save_weights

pytestmark = pytest.mark.usefixtures("checkpoints")
SECOND = "checkpoints/second.safetensors"


def said(app) -> list[str]:
    return [element.value for element in app.info]


def headers(app) -> list[str]:
    return [header.value for header in app.header]


@pytest.mark.slow
def test_with_one_model_there_is_a_picker_and_no_table_of_zeros(checkpoints):
    save_weights(checkpoints, "second.safetensors", depth=2)
    app = open_app("compare", **{"with": TINY})
    assert not app.exception and not sentences(app) and said(app) == [SAME]
    assert not headers(app) and "mean of heads" in str([image.proto for image in app.get("image")])
    app.selectbox(key="with").set_value(SECOND).run()
    assert not app.exception and not said(app) and headers(app)


@pytest.mark.slow
def test_heads_of_unrelated_models_are_not_paired(checkpoints):
    save_weights(checkpoints, "second.safetensors", seed=7)
    app = open_app("compare", **{"with": SECOND})
    assert headers(app) == ["Where they differ", "Which layers differ"]
    assert [caption for caption in app.caption if "Neither model comes from the other" in caption.value]
    assert "0" not in app.select_slider(key="head").options


@pytest.mark.slow
@pytest.mark.parametrize("sidebar", ["before", "after"])
def test_before_stands_left_and_after_right(checkpoints, monkeypatch, sidebar):
    changed_copy(checkpoints, "after.safetensors", layer=1)
    after = "checkpoints/after.safetensors"
    monkeypatch.setattr(
        "explorer.models.registry.trained_from",
        lambda source: TrainedFrom(ModelSource(TINY), "bees", "mine") if source == after else None,
    )
    sides = []
    monkeypatch.setattr("explorer.ui.compare.view.linked_canvases", lambda both, **_: sides.extend(both))
    models = {"model": TINY, "with": after} if sidebar == "before" else {"model": after, "with": TINY}
    app = open_app("compare", **models)
    assert not app.exception
    assert [heading.split(",")[0] for heading, _ in sides] == ["Before: tiny.safetensors", "After: after.safetensors"]
    assert headers(app) == ["Where it changed", "Which heads changed"]
    assert [caption for caption in app.caption if "Orange]: the model after training looks there more" in caption.value]


def changed_copy(checkpoints, name: str, layer: int | None) -> None:
    """The tiny model again; with a layer, the queries and keys of its block are others."""
    module = explorer.load_model(str(checkpoints / "tiny.safetensors"), device="cpu").module
    weights = {key: value.clone() for key, value in module.state_dict().items()}
    if layer is not None:
        weights[f"blocks.{layer}.attn.qkv.weight"] *= -3
    save_file(weights, checkpoints / name)


@pytest.mark.slow
def test_equal_maps_are_explained_and_the_head_that_changed_most_is_a_click_away(checkpoints):
    changed_copy(checkpoints, "second.safetensors", layer=1)
    app = open_app("compare", layer="0", **{"with": SECOND})
    (sentence,) = said(app)
    assert sentence.startswith("The two maps are equal at layer 0, mean of heads; the most changed is layer 1, head ")
    assert [caption for caption in app.caption if "the largest change is 0.0 %" in caption.value]
    button = app.button(key="most_changed")
    assert button.label.removeprefix("Show ") in sentence
    button.click().run()
    assert not app.exception and not said(app)
    assert button.label == f"Show layer {app.slider(key='layer').value}, head {app.select_slider(key='head').value}"


@pytest.mark.slow
def test_two_models_with_the_same_attention_everywhere_are_told(checkpoints):
    changed_copy(checkpoints, "second.safetensors", layer=None)
    app = open_app("compare", **{"with": SECOND})
    (sentence,) = said(app)
    assert sentence.startswith("From cls, no head of any layer changed")
    assert "most_changed" not in [button.key for button in app.button]


@pytest.mark.slow
def test_a_query_that_another_photo_size_lacks_becomes_the_default_with_a_sentence(checkpoints):
    save_weights(checkpoints, "second.safetensors", depth=2)
    app = open_app("compare", query="7,7", **{"with": SECOND})
    assert not sentences(app) and app.query_params["query"] == "7,7"
    app.select_slider(key="size").set_value(48).run()
    assert [s for s in sentences(app) if "outside the grid of 6 rows and 6 columns. Shown instead: cls." in s]
    assert headers(app) and "query" not in app.query_params


@pytest.mark.slow
def test_a_patch_pinned_on_attention_is_the_query_here(checkpoints):
    save_weights(checkpoints, "second.safetensors", depth=2)
    app = open_app("attention", query="3,4")
    app.switch_page("../../../pages/compare.py").run()
    assert app.query_params["query"] == "3,4"
    assert [caption for caption in app.caption if "divergence from patch (3, 4)" in caption.value]


@pytest.mark.slow
def test_a_second_model_that_cannot_be_loaded_leaves_the_first(checkpoints):
    app = open_app("compare", **{"with": "no_such_model"})
    assert not app.exception
    assert len([s for s in sentences(app) if "timm has no model named no_such_model" in s]) == 1
    assert "mean of heads" in str([image.proto for image in app.get("image")])


@pytest.mark.slow
def test_a_second_model_that_cannot_be_loaded_leaves_the_last_one_that_worked(checkpoints):
    save_weights(checkpoints, "second.safetensors", depth=2)
    (checkpoints / "torn.safetensors").write_bytes(b"torn")
    app = open_app("compare", **{"with": SECOND})
    app.selectbox(key="with").set_value("checkpoints/torn.safetensors").run()
    assert not app.exception
    assert [s for s in sentences(app) if "torn.safetensors" in s and "Shown instead: second" in s]
    assert headers(app)
