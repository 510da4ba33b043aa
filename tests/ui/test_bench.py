"""The bench in the Evidence tab, and the Relevance tab's first map, which the bench chose."""

import pytest

from explorer.attention.maps.table import EXPLAINS_BEST, MAP_KINDS
from tests.app import open_app, sentences

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("checkpoints")]


def test_the_maps_are_compared_on_the_sidebars_photos_and_a_stopped_bench_goes_on():
    app = open_app("attention", tab="Evidence")
    assert not app.exception and not sentences(app)
    assert "occlusion" not in app.multiselect(key="bench_maps").value  # it takes long
    app.multiselect(key="bench_maps").set_value(["attention", "gradient"]).run()
    assert [said for said in app.caption if said.value.startswith("The app's 7 photos, 4 maps: about ")]
    app.button(key="bench_run").click().run()
    assert not app.exception and not sentences(app)
    lines = app.session_state["bench_kept"].lines
    assert [line["photo"] for line in lines] == [*range(7)]
    assert [said for said in app.markdown if "comes first on 7 photos" in said.value]
    assert not [button for button in app.button if button.key == "bench_run"]  # nothing is left to do

    del lines[3:]  # as a click elsewhere would have left it
    app.run()
    assert app.button(key="bench_run").label == "Go on"
    assert [said for said in app.markdown if "comes first on 3 photos" in said.value]
    app.button(key="bench_run").click().run()
    assert len(app.session_state["bench_kept"].lines) == 7
    app.segmented_control(key="bench_depth").set_value("all").run()
    assert app.button(key="bench_run").label == "Compare the maps"
    assert app.session_state["bench_kept"].asked[1].ways == ("grey",)  # until it is asked for


def test_other_maps_begin_anew():
    app = open_app("attention", tab="Evidence")
    app.multiselect(key="bench_maps").set_value(["attention"]).run()
    app.button(key="bench_run").click().run()
    app.multiselect(key="bench_maps").set_value(["rollout"]).run()
    assert app.button(key="bench_run").label == "Compare the maps"
    app.multiselect(key="bench_maps").set_value([]).run()
    assert not app.exception and [said for said in app.info if "at least one map" in said.value]


def test_relevance_begins_with_what_the_bench_found_best():
    app = open_app("attention", tab="Relevance", why=EXPLAINS_BEST)
    picker = app.segmented_control(key="why")
    assert picker.value == EXPLAINS_BEST and "attention" not in picker.options
    assert [said for said in app.caption if f"{MAP_KINDS[EXPLAINS_BEST].title} named these patches best" in said.value]
    picker.set_value("occlusion").run()
    assert not app.exception and app.query_params["why"] == "occlusion"


def test_an_older_link_to_the_relevance_tab_shows_relevance():
    app = open_app("attention", tab="Relevance")
    assert app.segmented_control(key="why").value == "relevance" and app.query_params["balanced"] == "no"


def test_a_link_to_no_such_map_is_named():
    app = open_app("attention", tab="Relevance", why="saliency")
    assert [said for said in sentences(app) if "why “saliency”" in said and "gradient" in said]
