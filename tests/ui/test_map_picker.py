"""Which map the tabs of the Attention page and the Video page show, and what the address and the script keep of it."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
from timm.models import save_for_hf

from explorer.attention.targets import class_index
from explorer.ui.map_picker import class_labels, read_class
from tests.app import open_app, sentences
from tests.pages.test_pages import png
from tests.tiny import save_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkpoints")]


def code(app) -> str:
    return app.code[0].value


def recording(names: list[str] | None, *logits: float) -> Any:
    find = partial(class_index, class_names=names, count=len(logits))
    return SimpleNamespace(logits=np.array(logits), model=SimpleNamespace(class_names=names), class_index=find)


def test_classes_are_named_in_links_and_told_apart_where_they_share_a_name():
    labels = class_labels(recording(["crane", "cat", "crane"], 0, 2, 1))
    assert labels == {"predicted": "The predicted one", "cat": "cat (1)", "2": "crane (2)", "0": "crane (0)"}
    assert class_labels(recording(None, 0, 2)) == {"predicted": "The predicted one", "1": "class 1", "0": "class 0"}


def test_classes_with_confusing_names_go_by_their_number():
    labels = class_labels(recording(["seven", "predicted"], 2, 1))
    assert list(labels) == ["predicted", "seven", "1"]


def test_a_class_called_by_a_number_comes_before_the_class_of_that_number():
    labels = class_labels(recording(["0", "1", "10", "2"], 4, 3, 2, 1))
    assert labels["10"] == "10 (2)" and labels["2"] == "2 (3)"
    labels = class_labels(recording(["1", "crane", "crane"], 3, 2, 1))
    assert labels == {"predicted": "The predicted one", "1": "1 (0)", "#1": "crane (1)", "2": "crane (2)"}


@pytest.mark.parametrize(
    ("names", "text", "key"),
    [
        *((["0", "1", "10", "2"], text, text) for text in ("0", "1", "10", "2")),
        (["0", "1", "10", "2"], "3", "2"),  # no name, so a number
        (["ant", "bee", "crow", "bee"], "2", "crow"),
        (["ant", "bee", "crow", "bee"], "CROW", "crow"),
        (["ant", "bee", "crow", "bee"], "3", "3"),
        (["ant", "bee", "crow", "bee"], "bee", None),
        (["ant", "bee", "crow", "bee"], "4", None),
        (None, "3", "3"),
    ],
)
def test_links_name_a_class_as_commands_do(names, text, key):
    rec = recording(names, 1, 2, 3, 4)
    assert read_class(rec, class_labels(rec))(text) == key


def test_a_shared_rollout_has_the_settings_of_its_tab():
    app = open_app("attention", tab="Rollout", fusion="max", discard_ratio="0.25", start_layer="1")
    assert not app.exception and not sentences(app)
    assert app.slider(key="discard_ratio").value == 0.25
    app = open_app("attention", tab="Share", map="rollout", fusion="max", discard_ratio="0.25", start_layer="1")
    assert "MapChoice('rollout'" in code(app) and "fusion='max'" in code(app)
    assert "discard_ratio=0.25" in code(app) and "start_layer=1" in code(app)
    assert "Live page" not in str([button.proto for button in app.get("download_button")])


def test_a_shared_relevance_names_its_class():
    app = open_app("attention", tab="Share", map="relevance", **{"class": "1"})
    assert "MapChoice('relevance'" in code(app) and "target=1" in code(app)
    app.selectbox(key="class").set_value("predicted").run()
    assert "target=" not in code(app) and "class" not in app.query_params


def test_a_likeness_to_another_photo_is_in_script_and_link(checkpoints):
    save_weights(checkpoints, "mute.safetensors", num_classes=0)
    address = {"tab": "Share", "map": "relevance", "like": "photo", "like_photo": "rocket"}
    app = open_app("attention", model="checkpoints/mute.safetensors", **address)
    assert not app.exception and not sentences(app)
    assert "similar_to='sample:rocket'" in code(app) and "other = explorer.record(" in code(app)
    assert app.query_params["like_photo"] == "rocket"
    assert not [caption for caption in app.caption if "a link can't hold" in caption.value]


def test_a_model_of_side_by_side_attentions_offers_the_maps_that_it_can_have(checkpoints):
    settings: dict[str, Any] = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 1, "num_heads": 2}
    module = timm.create_model("vit_small_patch16_18x2_224", num_classes=3, **settings)
    save_for_hf(module, str(checkpoints / "wide"), model_args=settings, safe_serialization=True)
    app = open_app("attention", model="checkpoints/wide", tab="Relevance")
    assert not app.exception and not sentences(app)
    assert app.segmented_control(key="why").options == ["Integrated gradients", "Occlusion"]


def test_what_a_link_cannot_hold_is_said(checkpoints):
    save_weights(checkpoints, "mute.safetensors", num_classes=0)
    app = open_app("attention", model="checkpoints/mute.safetensors", tab="Share", map="relevance", like="photo")
    app.file_uploader[0].set_value([("mine.png", png(), "image/png"), ("other.png", png(9, 9, "blue"), "image/png")])
    app.run()
    app.selectbox(key="like_photo").set_value(app.session_state["my_photos"][0].key).run()
    assert not app.exception
    said = " ".join(caption.value for caption in app.caption)
    assert "except other.png and mine.png: a link can't hold photos of your own" in said
    assert "similar_to='mine.png'" in code(app) and "Put other.png and mine.png beside the script" in said
    assert "like_photo" not in app.query_params


@pytest.mark.parametrize("classes", [5, 0])
def test_video_offers_relevance(checkpoints, classes):
    save_weights(checkpoints, "model.safetensors", num_classes=classes)
    app = open_app("video", model="checkpoints/model.safetensors", video_map="relevance", fps="2")
    assert not app.exception and not sentences(app)
    if classes:
        app.selectbox(key="class").set_value("3").run()
    else:
        app.selectbox(key="like_photo").set_value("sample:rocket").run()
    next(button for button in app.button if button.label.startswith("Look at")).click().run()
    assert not app.exception
    film = app.session_state["video_kept"]
    view = film.asked[1]
    assert (view.map.kind, view.map["target"], view.map["similar_to"]) == (
        ("relevance", 3, None) if classes else ("relevance", None, "sample:rocket")
    )
    said = " ".join(caption.value for caption in app.caption)
    assert ("Relevance for class 3" if classes else "Relevance for the likeness to Rocket") in said
