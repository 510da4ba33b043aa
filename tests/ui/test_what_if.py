"""The What if tab: what it shows is what the library gives, edits come and go, and the address holds them."""

import pytest

import explorer
from explorer.attention.interventions.edits import DropPatches, SetHead, SetMlp
from explorer.data.samples import sample_photo
from explorer.ui.attention.what_if import EDITS
from tests.app import open_app, sentences

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkpoints")]


def metrics(app) -> dict[str, tuple[str, str]]:
    """The score and the ledger's forecast, (value, change) each."""
    score, ledger_change = app.metric
    return {"score": (score.value, score.delta), "ledger_change": (ledger_change.value, ledger_change.delta)}


@pytest.fixture
def recording(checkpoints) -> explorer.Recording:
    model = explorer.load_model(checkpoints / "tiny.safetensors")
    return explorer.record(model, sample_photo("cat"), size=64)


def test_a_link_shows_its_edits_and_what_they_do(recording):
    app = open_app("attention", tab="What if", photo="cat", size="64", edits="head 1.0=off;drop 3,4 3,5")
    assert not app.exception and not sentences(app)
    effect = recording.what_if([SetHead(1, 0), DropPatches(((3, 4), (3, 5)))])
    shown = metrics(app)
    assert shown["score"] == (f"{effect.score[1]:.2f}", f"{effect.change:+.3f}") and effect.change
    assert shown["ledger_change"][0] == f"{effect.ledger_change:+.3f}".replace("-", "−")
    said = [one.label for one in app.button]
    assert "layer 1, head 0 off" in said and "2 patches dropped" in said


def test_an_edit_is_added_and_taken_back(recording):
    app = open_app("attention", tab="What if", photo="cat", size="64")
    assert metrics(app)["score"][1] == ""
    app.segmented_control(key="what_if_kind").set_value("mlp").run()
    app.selectbox(key="what_if_layer").set_value("0").run()
    app.button(key="what_if_add").click().run()
    assert app.session_state[EDITS] == "mlp 0=off" and app.query_params[EDITS] == "mlp 0=off"
    assert metrics(app)["score"][1] == f"{recording.what_if([SetMlp(0)]).change:+.3f}"
    app.button(key="what_if_undo_0").click().run()
    assert app.session_state[EDITS] == "" and EDITS not in app.query_params
    assert not app.exception and not sentences(app)


def test_means_are_over_the_samples_and_other_photos_give_tokens():
    app = open_app("attention", tab="What if", photo="cat", size="64", edits="head 2.0=mean;put 1,1@1=2,2;cut cls:0,0")
    assert not app.exception and not sentences(app)
    assert metrics(app)["ledger_change"][0] == "–" and metrics(app)["score"][1] not in ("", "+0.000")


def test_all_heads_are_measured_on_demand():
    app = open_app("attention", tab="What if", photo="cat", size="64")
    app.button(key="what_if_measure").click().run()
    assert not app.exception and [one for one in app.caption if "rank correlation with the effect:" in one.value]


def test_edits_of_a_link_that_cannot_be_are_named():
    app = open_app("attention", tab="What if", photo="cat", size="64", edits="head 9.0=off")
    assert any("head 9.0=off" in said and "edits such as head 2.0=off" in said for said in sentences(app))
    assert metrics(app)["score"][1] == ""
