"""What the Evidence tab says of the ranking, on scores made by hand and on a mask in the middle."""

import pytest

from explorer.attention.localization import Score
from explorer.ui.attention.evidence import verdict
from tests.app import open_app, sentences

HEAD, PRIOR = Score(2, 1, 0.7, 0.4, 1.0), Score(None, "centre prior", 0.8, 0.5, 1.0)


def test_a_prior_that_beats_every_head_is_said_so():
    said = verdict([PRIOR, HEAD])
    assert said.startswith("Best: **layer 2, head 1** with AUC 0.700.") and "beats every head with AUC 0.800" in said


def test_a_prior_that_loses_is_not_worth_a_word():
    assert "prior" not in verdict([HEAD, Score(None, "centre prior", 0.6, 0.5, 1.0)])


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_the_tab_names_the_best_head_for_the_object_that_was_marked():
    app = open_app("attention", tab="Evidence")
    assert not [said for said in app.markdown if said.value.startswith("Best: **layer")]  # nobody has marked one
    app.segmented_control(key="mask_how").set_value("Rectangle").run()
    assert not app.exception and not sentences(app)
    assert [said for said in app.markdown if said.value.startswith("Best: **layer")]


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_curves_of_several_maps_and_photos_stay_while_the_layer_moves():
    app = open_app("attention", tab="Evidence")
    app.multiselect(key="evidence_more").set_value(["rollout"])
    app.segmented_control(key="evidence_over").set_value("all")
    app.select_slider(key="evidence_steps").set_value(5).run()
    app.button(key="evidence_run").click().run()
    kept = app.session_state["evidence_kept"]
    assert kept.bands[0].order == "attention" and kept.bands[1].order == "rollout"
    assert len(kept.found) == len(kept.bands[0].areas) > 3
    app.session_state["layer"] = 0
    app.run()
    assert not app.exception and not sentences(app)
    assert any(said.value.endswith("Press **Run** for what is shown now.") for said in app.caption)
    assert app.session_state["evidence_kept"] is kept
