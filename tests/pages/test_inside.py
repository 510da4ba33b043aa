"""The page Inside and the tabs Account and Lens: they show what the library computes, for the token of the address."""

import pytest

from explorer.ui.inside.token import token_names
from tests.app import open_app, sentences
from tests.tiny import save_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkpoints")]


def step(app, name: str):
    """The app after a click on Back or Next."""
    return next(button for button in app.button if button.key == f"inside_{name}").click().run()


def words(app) -> str:
    return " ".join(element.value for element in (*app.markdown, *app.caption))


def test_the_walk_goes_through_all_steps_and_on_to_the_next_layer():
    app = open_app("inside", query="2,3")
    headings = []
    for _ in range(6):
        assert not app.exception and not sentences(app)
        assert "Followed: **row 2, column 3**" in words(app)
        headings.append(app.header[0].value)
        step(app, "next")
    assert headings == [
        "1 · Its query against every key", "2 · Softmax: scores become shares of 100 %", "3 · A mixture of values",
        "4 · All heads, side by side and joined", "5 · The MLP: each token by itself", "6 · The token after the layer",
    ]  # fmt: skip
    assert app.query_params["inside_layer"] == "1" and app.header[0].value == headings[0]
    step(app, "back")
    assert app.header[0].value == headings[5] and "inside_layer" not in app.query_params


def test_scores_are_those_of_the_library():
    app = open_app("inside", query="cls", inside_layer="1")
    rec = app.session_state["last_good"].recording
    scores = rec.step(1, "cls").scores[0]
    said = words(app)
    best = f"Fits best: **{token_names(rec)[scores.argmax()]}**, score **{scores.max():+.2f}**"
    assert best.replace("-", "−") in said
    assert "Followed: **cls**" in said


def test_a_link_that_asks_for_too_much_gets_a_sentence():
    app = open_app("inside", inside_layer="9", inside_step="dance", query="99,1")
    assert not app.exception
    assert [s for s in sentences(app) if "inside_layer" in s and "inside_step" in s and "query" in s]
    assert app.header[0].value.startswith("1 ·")


def test_a_model_without_cls_or_classes_is_walked_through(checkpoints):
    save_weights(checkpoints, "mute.safetensors", num_classes=0, class_token=False, global_pool="avg")
    app = open_app("inside", model="checkpoints/mute.safetensors", inside_step="result")
    assert not app.exception and not sentences(app)
    assert "This model has no classifier." in words(app)


def test_the_account_adds_up_to_the_score():
    app = open_app("attention", tab="Account", **{"class": "1"})
    assert not app.exception and not sentences(app)
    account = app.session_state["last_good"].recording.ledger(1)
    score = f"{account.score:+.2f}".replace("-", "−")
    assert f"**Score for class 1: {score}**, all shares together: {score}" in words(app)


def test_the_lens_names_the_class_and_the_layer():
    app = open_app("attention", tab="Lens", layer="1", **{"class": "1"})
    assert not app.exception and not sentences(app)
    assert "How likely “class 1” is for each patch after layer 1" in str([image.proto for image in app.get("image")])


def test_two_classes_are_told_apart():
    app = open_app("attention", tab="Relevance", why="gradient", instead_of="2", **{"class": "1"})
    assert not app.exception and not sentences(app)
    assert "Gradient for class 1 rather than class 2" in str([image.proto for image in app.get("image")])
    app.selectbox(key="instead_of").set_value("1").run()
    assert "Both are class 1: choose two different ones." in words(app)
