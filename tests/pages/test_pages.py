"""Every page under AppTest, with a real model: it shows something, says what is wrong, and never a traceback."""

import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from explorer import paths
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.rendering.view import PhotoInput, View
from explorer.ui.navigation import PAGES, entries
from tests.app import TINY, open_app, sentences
from tests.conftest import REPOSITORY
from tests.tiny import save_tiny, save_weights

NAMES = [entry.name for entry in PAGES]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkpoints")]


def png(width: int = 40, height: int = 30, color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("name", [entry.name for entry in entries()])
def test_page_shows_itself_without_an_exception(name: str):
    app = open_app(name)
    assert not app.exception
    assert not sentences(app)
    assert app.main.children


def test_every_file_of_the_folder_is_in_the_menu():
    assert {path.stem for path in paths.PAGES.glob("*.py")} == {entry.name for entry in entries()}


@pytest.mark.parametrize(
    ("own", "fit"), [({"crop_mode": "squash"}, "squash"), ({"crop_pct": 0.8}, "own"), ({"crop_pct": 1.0}, "crop")]
)
def test_the_sidebar_begins_with_the_fit_of_the_models_own_library(own, fit, checkpoints):
    config = Path(save_tiny(checkpoints / "mine")) / "config.json"
    settings = json.loads(config.read_text())
    settings["pretrained_cfg"] |= {"crop_pct": 1.0, "crop_mode": "center", **own}
    config.write_text(json.dumps(settings))
    app = open_app(model="checkpoints/mine")
    assert not app.exception and not sentences(app)
    assert app.session_state["fit"] == app.session_state["choice"].fit == fit and "fit" not in app.query_params


@pytest.mark.parametrize("name", ["inside", "attention", "compare", "video"])
def test_a_model_of_one_layer_needs_no_slider_for_it(name, checkpoints):
    save_tiny(checkpoints / "flat", depth=1)
    app = open_app(name, model="checkpoints/flat", video_map="rollout", **{"with": TINY})
    assert not app.exception and not app.error
    assert app.session_state["choice"].model.depth == 1 and not [one for one in app.slider if "ayer" in one.label]


def test_what_did_not_work_is_also_said_to_who_has_scrolled_down():
    app = open_app("attention", photo="mine-0123")
    assert [said for said in app.error if "no longer here" in said.value] and len(app.toast) == 1


@pytest.mark.parametrize(("group", "first"), [("Look", "Rollout"), ("Explain", "Relevance"), ("Take away", "Share")])
def test_each_group_of_attentions_tabs_has_its_name_before_its_first_tab(group: str, first: str):
    app = open_app("attention")
    place = [tab.label for tab in app.tabs].index(first)
    blocks: Any = app.get("html")
    (style,) = [html.value for html in blocks if '--group: "' in html.value]
    assert f'[data-key="{place}"] {{ --group: "{group}";' in style


def test_attention_says_what_crop_cuts_off_and_shows_all_of_it():
    app = open_app("attention", photo="cat")  # 451 x 300
    assert [said for said in app.caption if said.value == "33 % of this photo is cut off (Fit: Crop)."]
    app.button(key="whole").click().run()
    assert not app.exception and app.session_state["choice"].fit == app.query_params["fit"] == "keep"
    assert not [said for said in app.caption if "cut off" in said.value]
    assert not [said for said in open_app("attention", photo="astronaut").caption if "cut off" in said.value]


@pytest.mark.parametrize("entry", PAGES, ids=NAMES)
def test_page_is_described(entry):
    text = (REPOSITORY / "docs" / "app.md").read_text()
    assert re.search(rf"^### {re.escape(entry.title)}$", text, re.MULTILINE), (
        f"docs/app.md has no section {entry.title}"
    )


def test_model_photo_size_and_fit_are_those_of_the_address():
    app = open_app(photo="coffee", size="96", fit="squash", heads="8")
    choice = app.session_state["choice"]
    assert (choice.photo.source, choice.size, choice.fit) == ("sample:coffee", 96, "squash")
    assert choice.view == View(ModelSource(TINY, num_heads=8), PhotoInput("sample:coffee", 96, "squash"))
    assert choice.model.num_heads == 8
    assert app.query_params == {
        "model": TINY,
        "photo": "coffee",
        "size": "96",
        "fit": "squash",
        "heads": "8",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("size", "97", "multiple of the model's patch size, 8, from 32 to 512"),
        ("size", "100000", "from 32 to 512"),
        ("size", "many", "from 32 to 512"),
        ("fit", "stretch", "crop, squash, keep"),
        ("photo", "unicorn", "cat, astronaut"),
    ],
)
def test_a_value_in_the_address_that_cannot_be_used_is_named_and_the_default_shown(key, value, expected):
    app = open_app(**{key: value})
    assert not app.exception
    assert [s for s in sentences(app) if f"{key} “{value}”" in s and expected in s]
    choice = app.session_state["choice"]
    assert (choice.photo.source, choice.size % 8, choice.fit) == ("sample:cat", 0, "crop")


def test_the_files_to_share_keep_their_order_where_columns_lie_one_below_the_other():
    app = open_app("attention", tab="Share")
    labels = [button.proto.label for button in app.get("download_button")][2:]
    assert labels == [
        "Figure (SVG)", "Figure (PDF)", "Every layer × head (PDF)", "Through the layers (GIF)", "Live page (HTML)",
        "Picture (PNG)", "Maps (NPZ)", "Script (.py)", "Web page of this model (HTML)",
    ]  # fmt: skip


WRONG = {
    "attention": {
        "layer": "77", "head": "9", "query": "99,99", "colormap": "jet", "opacity": "7", "mass": "0", "scale": "log",
        "resample": "cubic", "grid": "maybe", "tab": "Nope", "map": "x", "class": "unicorn", "fusion": "sum",
        "discard_ratio": "5", "start_layer": "9", "like": "you",
    },
    "features": {"patch": "99,1", "second": "unicorn", "together": "maybe", "foreground": "2"},
    "compare": {"side": "left", "layer": "-1", "head": "foo", "query": "a,b", "without_artefacts": "maybe"},
    "video": {"fps": "5", "video_map": "x", "layer": "99", "head": "77", "beside": "maybe", "fusion": "sum"},
}  # fmt: skip


@pytest.mark.parametrize("page", WRONG)
def test_all_that_a_link_asks_for_in_vain_is_named_in_one_sentence(page):
    wrong = WRONG[page]
    app = open_app(page, **wrong)
    assert not app.exception
    (sentence,) = [s for s in sentences(app) if "The link asks for" in s]
    assert all(f"{key} “{value}”" in sentence for key, value in wrong.items()), sentence
    assert sentence.endswith(", which can't be used. Shown instead: the defaults.")
    app.switch_page("../../../pages/home.py").run()
    assert not [s for s in sentences(app) if "The link asks for" in s]


def test_what_a_person_sets_is_no_longer_said_of_the_link():
    app = open_app(size="97", fit="stretch")
    app.select_slider(key="size").set_value(96).run()
    assert [s for s in sentences(app) if "fit “stretch”" in s and "size" not in s]
    app.switch_page("../../../pages/patches.py").run()
    assert not sentences(app)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("no_such_model", "timm has no model named no_such_model"),
        ("resnet18", "resnet18 can't be shown"),
        ("../../etc/passwd", "isn't a model id"),
        ("checkpoints/gone.pth", "no longer there"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_explained_and_the_one_in_use_stays(model, expected):
    app = open_app()
    in_use = app.session_state["choice"].model
    app.session_state["model_next"] = {"model": model}
    app.run()
    assert not app.exception
    assert [s for s in sentences(app) if expected in s]
    assert app.session_state["choice"].model is in_use
    app.run()
    assert not sentences(app)


def test_a_link_to_a_model_that_is_not_there_opens_the_default_with_a_sentence():
    app = open_app(model="no_such_model")
    assert not app.exception
    assert [s for s in sentences(app) if "timm has no model named no_such_model" in s]
    assert app.session_state["choice"].model.source.source == registry.default_source()


def test_a_checkpoint_that_is_removed_stays_in_use_with_a_sentence(checkpoints):
    app = open_app()
    in_use = app.session_state["choice"].model
    (checkpoints / "tiny.safetensors").unlink()
    app.run()
    assert not app.exception
    assert [s for s in sentences(app) if "no longer there" in s]
    assert [text for text in app.markdown if "which is no longer there" in text.value], "no weights to name"
    assert app.get("popover"), "another file can be uploaded"
    assert app.session_state["choice"].model is in_use


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.png", b"", "'empty.png' is empty (0 bytes)"),
        ("broken.png", png()[:60], "'broken.png'"),
        ("zip.jpg", b"PK\x03\x04 and so on", "'zip.jpg' is a zip archive"),
        ("huge.png", png(1, 1).replace(b"\0\0\0\1\0\0\0\1", b"\0\1\x86\xa0\0\1\x86\xa0"), "'huge.png'"),
    ],
)
def test_a_photo_that_cannot_be_read_is_explained_and_the_last_picture_stays(name, content, expected):
    app = open_app()
    before = app.session_state["choice"].photo
    app.file_uploader[0].set_value((name, content, "image/png")).run()
    assert not app.exception
    assert [s for s in sentences(app) if expected in s]
    assert app.session_state["choice"].photo == before


def test_dropped_photos_are_shown_in_turn_and_cleared():
    app = open_app()
    app.file_uploader[0].set_value([("a.png", png(), "image/png"), ("b.png", png(30, 60, "blue"), "image/png")]).run()
    assert not app.exception and not sentences(app)
    assert [photo.title for photo in app.session_state["my_photos"]] == ["a.png", "b.png"]
    choice = app.session_state["choice"]
    assert choice.photo.title == "b.png" and choice.photo.image.size == (30, 60)
    assert app.query_params["photo"] == f"mine-{choice.photo.key}"
    next(button for button in app.button if button.label == "Clear my photos").click().run()
    assert app.session_state["choice"].photo.source == "sample:cat"
    assert not app.session_state["my_photos"]


def test_a_photo_whose_file_went_is_let_go_with_one_sentence_and_the_others_stay():
    app = open_app()
    unlike_other_tests = png(31, 61, "indigo")
    app.file_uploader[0].set_value([("a.png", png(), "image/png"), ("b.png", unlike_other_tests, "image/png")]).run()
    for file in Path(tempfile.gettempdir()).glob(f"vit-explorer-photos-*/{app.session_state['choice'].photo.key}"):
        file.unlink()
    st.cache_data.clear()  # its thumbnail, after 300 others
    app.run()
    assert not app.exception
    assert sentences(app) == ["A photo of yours is no longer on the server: drop what you still need in again."]
    assert [photo.title for photo in app.session_state["my_photos"]] == ["a.png"]
    assert app.session_state["choice"].photo.source == "sample:cat"


def test_an_input_too_long_to_keep_its_shape_leaves_the_last_picture():
    app = open_app()
    app.file_uploader[0].set_value(("thin.png", png(3000, 4), "image/png")).run()
    assert not sentences(app), "cropped, any shape works"
    app.session_state["fit"] = "keep"
    app.run()
    assert not app.exception
    assert [s for s in sentences(app) if "use fit crop or squash" in s and "last picture that worked" in s]


def test_another_patch_size_moves_the_input_size_to_its_nearest_multiple(checkpoints):
    save_weights(checkpoints, "coarse.safetensors", patch_size=16)
    app = open_app(size="104")
    app.session_state["model_next"] = {"model": "checkpoints/coarse.safetensors"}
    app.run()
    assert not app.exception
    assert app.session_state["choice"].size in (96, 112)


def test_patch_of_the_address():
    app = open_app("patches")
    app.query_params["patch"] = "2,3"
    app.run()
    assert "The vector of patch (2, 3): 64 numbers" in str([element.proto for element in app.get("image")])
    app.query_params["patch"] = "99,3"
    app.run()
    assert [s for s in sentences(app) if "Patch 99,3 isn't one of this photo's 8 rows and 8 columns" in s]
    assert "patch" not in app.query_params


def test_the_picked_patch_is_the_query_on_the_attention_page():
    app = open_app("attention", query="1,1")
    app.switch_page("../../../pages/patches.py").run()
    app.query_params["patch"] = "2,3"
    app.run()
    next(button for button in app.button if button.label == "See where they look").click().run()
    assert not app.exception and not sentences(app)
    assert [title.value for title in app.title] == ["Where every token looks"]
    assert app.query_params["query"] == "2,3"


def test_features_names_the_picked_patch():
    app = open_app("features", patch="2,3")
    assert "Patch (2, 3) is picked; pick another." in [caption.value for caption in app.caption]


def test_the_stand_in_for_a_clip_is_shown_and_described():
    app = open_app("video", fps="2")
    assert [caption for caption in app.caption if caption.value.startswith("Until you drop one in: a pan over Cat.")]
    assert "A pan over Cat" in str([image.proto for image in app.get("image")])
    assert "Look at 4 frames" in [button.label for button in app.button]


def save_odd(folder):
    """A weights file of a width that no 64 divides."""
    module = VisionTransformer(img_size=64, patch_size=8, embed_dim=96, depth=2, num_heads=3, num_classes=5)
    save_file(module.state_dict(), folder / "odd.safetensors")


def test_a_file_that_cannot_tell_its_heads_keeps_the_field_to_say_them(checkpoints):
    save_odd(checkpoints)
    app = open_app()
    app.session_state["model_next"] = {"model": "checkpoints/odd.safetensors"}
    app.run()
    assert not app.exception
    assert [s for s in sentences(app) if "The width 96 isn't a multiple of 64: say how many heads" in s]
    assert app.session_state["choice"].model.source.source == TINY, "the model in use stays"
    app.number_input(key="heads").set_value(7).run()
    assert [s for s in sentences(app) if "7 heads don't divide the width 96" in s]
    app.number_input(key="heads").set_value(3).run()
    assert not sentences(app)
    choice = app.session_state["choice"]
    assert (choice.model.source.source, choice.model.num_heads) == ("checkpoints/odd.safetensors", 3)


def test_a_link_to_a_file_that_cannot_tell_its_heads_shows_the_default_and_the_field(checkpoints):
    save_odd(checkpoints)
    app = open_app(model="checkpoints/odd.safetensors")
    assert not app.exception and [s for s in sentences(app) if "say how many heads" in s]
    assert app.session_state["choice"].model.source.source == registry.default_source()
    app.number_input(key="heads").set_value(3).run()
    assert not sentences(app) and app.session_state["choice"].model.num_heads == 3
