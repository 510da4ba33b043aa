"""Choices in the address by their keys, on the real pages: they survive a renamed label and a change of page."""

from typing import Any
from urllib.parse import parse_qsl

import pytest
from safetensors.torch import save_file

import explorer
from explorer.models import registry
from explorer.models.source import ModelSource
from explorer.rendering.view import Look, MapChoice, PhotoInput, View
from explorer.ui.address import by_key, number, read_patch
from tests.app import TINY, open_app, sentences
from tests.tiny import save_weights, tiny_model


def test_a_key_and_a_label_read_as_the_key():
    read = by_key({"dino-s8": "DINO ViT-S/8"})
    assert [read(text) for text in ("dino-s8", "DINO ViT-S/8", "DINO S8")] == ["dino-s8", "dino-s8", None]


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("0", 0), ("4", None), ("-1", None), ("many", None), ("²", None)]
)
def test_numbers_within_bounds(text, value):
    assert number(int, 0, 3)(text) == value


@pytest.mark.parametrize("text", ["²,1", "1,²", "1", "1,", ",1", "1,2,3", "3,0", "-1,0", "٣,1"])
def test_a_patch_outside_the_grid_or_no_patch_reads_as_none(text):
    assert read_patch((3, 4))(text) is None and read_patch((3, 4))("2,3") == (2, 3)


def test_a_number_of_the_wrong_kind_reads_as_none():
    assert number(int, 0, 3)("1.5") is None and number(float, 0, 0.95)("0.5") == 0.5
    assert number(float, 0, 1)("nan") is None


def test_no_number_has_too_many_digits():
    assert (
        number(int, 0, 3)("9" * 9999) is None
        and number(int, 0, 3)("²") is None
        and read_patch((3, 4))("9" * 9999 + ",1") is None
    )


@pytest.mark.slow
def test_the_address_names_models_and_fit_by_key(checkpoints):
    save_weights(checkpoints, "other.safetensors", seed=1)
    app = open_app("compare", fit="Squash")  # the label, as older links have it
    assert not app.exception and not sentences(app)
    assert app.query_params["model"] == TINY and app.query_params["fit"] == "squash"
    app.selectbox(key="with").select("other.safetensors").run()
    assert app.query_params["with"] == "checkpoints/other.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("text", [TINY, "tiny.safetensors"])
def test_a_link_may_name_a_model_by_key_or_label(checkpoints, text):
    assert open_app(model=text).session_state["choice"].model.source.source == TINY


@pytest.mark.slow
def test_a_link_with_a_label_that_is_no_more_says_so(checkpoints):
    app = open_app(model="DINO of Old")
    assert not app.exception
    assert [sentence for sentence in sentences(app) if "'DINO of Old' isn't a model id" in sentence]
    assert app.session_state["choice"].model.source.source == registry.default_source()


@pytest.mark.slow
def test_the_second_photo_of_a_link_is_a_samples_name(checkpoints):
    app = open_app("features", second="rocket")
    assert app.selectbox(key="second").value == "sample:rocket"
    app.selectbox(key="second").set_value("sample:flower").run()
    assert app.query_params["second"] == "flower"
    app.switch_page("../../../pages/home.py").run()
    app.switch_page("../../../pages/features.py").run()
    assert app.selectbox(key="second").value == "sample:flower" and app.query_params["second"] == "flower"
    assert [s for s in sentences(open_app("features", second="unicorn")) if "second “unicorn”" in s]


@pytest.mark.slow
def test_the_second_model_takes_architecture_and_heads(checkpoints):
    near = {name: tensor + 1e-4 for name, tensor in tiny_model().module.state_dict().items()}
    save_file(near, checkpoints / "bare.safetensors")  # as if trained from it: only then do heads have pairs
    app = open_app("compare", **{"with": "checkpoints/bare.safetensors", "with_heads": "4", "heads": "4"})
    assert not app.exception and not sentences(app)
    assert app.query_params["with_heads"] == "4"
    assert app.select_slider(key="head").options == ["mean", "max", "min", "0", "1", "2", "3"]
    app.number_input(key="with_heads").set_value(2).run()
    assert app.select_slider(key="head").options == ["mean", "max", "min"], "other numbers of heads have no pairs"
    app.number_input(key="with_heads").set_value(7).run()
    assert not app.exception and sentences(app)


# As version 0.1.0 wrote them into the address of its Attention page.
LINKS_OF_0_1 = [
    (
        "model=checkpoints/tiny.safetensors&photo=coffee&size=96&fit=squash&layer=1&head=0&query=1,3&colormap=viridis"
        "&opacity=0.35&resample=nearest&scale=shared&mass=0.5&hide_artefacts=1&grid=1&tab=Share&map=raw",
        MapChoice("attention", layer=1, head=0, query=(1, 3)),
        Look("viridis", 0.35, "nearest", "shared", 0.5, True),
    ),
    (
        "model=checkpoints/tiny.safetensors&photo=coffee&size=96&fit=squash&layer=0&head=max&query=mean&tab=Share"
        "&map=rollout&fusion=max&discard_ratio=0.25&start_layer=1",
        MapChoice("rollout", query="mean", fusion="max", discard_ratio=0.25, start_layer=1),
        Look(),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("link", "map", "look"), LINKS_OF_0_1)
def test_links_of_the_first_release_still_open(checkpoints, link, map, look):
    app = open_app("attention", **dict(parse_qsl(link)))
    assert not app.exception and not sentences(app)
    assert bool(app.session_state["canvas_settings"]["grid"]) == ("grid=1" in link)
    script: dict[str, Any] = {"explorer": explorer}
    exec(app.code[0].value[app.code[0].value.index("view = ") :].partition("\nmodel = ")[0], script)
    assert script["view"] == View(ModelSource(TINY), PhotoInput("sample:coffee", 96, "squash"), map, look)
