"""Every kind of map in the table works in pages, commands, links, files, films and scripts."""

import io

import numpy as np
import pytest
from PIL.GifImagePlugin import GifImageFile

import explorer
from explorer.attention.evidence import evidence
from explorer.attention.maps.table import MAP_KINDS
from explorer.cli import main
from explorer.data.video import Clip
from explorer.errors import QueryError
from explorer.rendering.colormaps import DIVERGING, lookup_table
from explorer.rendering.figures import figure, title
from explorer.rendering.gif import layers_gif
from explorer.rendering.python_script import python_script
from explorer.rendering.video import painted_frames, record_clip
from explorer.rendering.view import View, limits, picture, save_npz, shown_map
from tests.app import open_app, sentences
from tests.tiny import photo, save_tiny, tiny_model
from tests.views import changed, view_of

SETTINGS = {"integrated_gradients": {"steps": 4, "baseline": "mean"}, "gradcam": {"layer": 1}}
OTHERS = [kind for kind in MAP_KINDS if kind != "attention"]


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


def settings_of(kind):
    return {"kind": kind, **SETTINGS.get(kind, {})}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAP_KINDS)
def test_in_files_figures_and_animations(recording, kind):
    view = view_of(**settings_of(kind))
    stored = np.load(io.BytesIO(save_npz(view, recording)))
    np.testing.assert_array_equal(stored["map"], recording.map(kind, **SETTINGS.get(kind, {})))
    assert View.from_json(str(stored["settings"])) == view
    assert figure(view, recording).svg() and "tiny: " in title(view, recording)
    if MAP_KINDS[kind].sweep:
        assert GifImageFile(io.BytesIO(layers_gif(view, recording))).n_frames == 3
    else:
        with pytest.raises(QueryError, match="no animation"):
            layers_gif(view, recording)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAP_KINDS)
def test_in_a_film(kind):
    view = view_of(**settings_of(kind))
    clip = record_clip(tiny_model(), Clip([photo(seed=seed) for seed in range(2)], 8.0), view)
    assert clip.maps.shape == (2, 8, 8) and not np.array_equal(*clip.maps)
    assert len(list(painted_frames(clip, view))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAP_KINDS)
def test_in_the_command_line_and_a_script(tmp_path, monkeypatch, kind):
    model = save_tiny(tmp_path / "model")
    photo().save(tmp_path / "photo.png")
    options = [f"--{name}={value}" for name, value in SETTINGS.get(kind, {}).items()]
    asked = ["attention", str(tmp_path / "photo.png"), "--model", model, "--kind", kind, *options, "--npz"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    (written,) = (tmp_path / "out").glob("*.npz")
    view = view_of(model, "photo.png", **settings_of(kind))
    recording = explorer.record(explorer.load_model(model), tmp_path / "photo.png")
    np.testing.assert_array_equal(np.load(written)["map"], shown_map(view, recording))
    monkeypatch.chdir(tmp_path)
    exec(compile(python_script(view), "view.py", "exec"), {"__file__": str(tmp_path / "view.py")})
    np.testing.assert_array_equal(np.load(tmp_path / "view.npz")["map"], shown_map(view, recording))


@pytest.mark.parametrize("kind", OTHERS)
def test_evidence_for_it(recording, kind):
    heatmap = recording.map(kind, **SETTINGS.get(kind, {}))
    assert 0 <= evidence(recording, heatmap, steps=4, random_orders=1).curve("map", "deletion").area <= 1


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
@pytest.mark.parametrize("kind", OTHERS)
def test_in_a_link_the_picker_and_the_evidence_tab(kind):
    link = {key: str(value) for key, value in SETTINGS.get(kind, {}).items()}
    app = open_app("attention", tab="Share", map=kind, **link)
    assert not app.exception and not sentences(app)
    assert app.segmented_control(key="map").value == kind
    assert f"MapChoice('{kind}'" in app.code[0].value
    app = open_app("attention", tab="Evidence", map=kind, **link)
    app.select_slider(key="evidence_steps").set_value(5).run()
    app.button(key="evidence_run").click().run()
    assert not app.exception and not sentences(app)
    assert app.session_state["evidence_kept"].asked[1].map.kind == kind


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_steps_and_baseline_have_widgets():
    app = open_app("attention", tab="Share", map="integrated_gradients", steps="8", baseline="black")
    assert "steps=8" in app.code[0].value and "baseline='black'" in app.code[0].value
    app.slider(key="steps").set_value(16).run()
    assert app.query_params["steps"] == "16" and "steps=16" in app.code[0].value


def test_signed_maps_have_their_zero_in_the_middle_of_diverging_colours(recording):
    for kind in MAP_KINDS.values():
        view = view_of(**settings_of(kind.name))
        heatmap = shown_map(view, recording)
        low, high = limits(view, recording, heatmap)
        assert (low == -high) == kind.signed
        if kind.signed:
            assert high == np.abs(heatmap).max()
            assert view.drawn_look.colormap == DIVERGING and view.look.colormap == "inferno"
            assert limits(changed(view, scale="raw"), recording, heatmap) == (low, high)
    views = [changed(view_of(kind="gradient"), colormap=name) for name in ("grey", "turbo")]
    drawn = [np.array(picture(view, recording)) for view in views]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_diverging_colours_are_white_in_the_middle_and_as_dark_at_both_ends():
    table = lookup_table(DIVERGING).astype(int)
    assert (table[127:129] > 240).all()
    assert table[0, 2] > table[0, 0] and table[-1, 0] > table[-1, 2]
    light = table.sum(axis=1)
    assert (np.diff(light[:128]) >= 0).all() and (np.diff(light[128:]) <= 0).all()


def test_a_mass_mask_of_a_signed_map_counts_what_speaks_for_the_class(recording):
    view = view_of(kind="gradient", mass=0.9)
    stored = np.load(io.BytesIO(save_npz(view, recording)))
    assert stored["map"][stored["mask"]].min() > 0


def test_what_was_stored_before_there_were_balanced_gradients_means_chefers_own(recording):
    own = recording.relevance()
    nested = view_of(kind="relevance").to_json().replace(', "balanced": true', "")
    assert "balanced" not in nested
    flat = '{"model": "tiny", "image": "photo.png", "kind": "relevance", "target": null, "opacity": 0.6}'
    for text in (nested, flat):
        view = View.from_json(text)
        assert view.map["balanced"] is False
        np.testing.assert_array_equal(shown_map(view, recording), own)
    script = "import explorer\nchoice = explorer.MapChoice('relevance', target=2)\nmap = recording.relevance(2)"
    names = {"recording": recording}
    exec(script, names)
    np.testing.assert_array_equal(recording.map("relevance", **names["choice"].settings), names["map"])


@pytest.mark.parametrize("balanced", [True, False])
def test_todays_files_and_scripts_keep_the_switch(recording, balanced):
    view = view_of(kind="relevance", balanced=balanced)
    assert View.from_json(view.to_json()) == view
    assert ("balanced=True" in python_script(view)) == balanced


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_links_from_before_mean_chefers_own():
    app = open_app("attention", tab="Share", map="relevance")
    assert "balanced" not in app.code[0].value and app.query_params["balanced"] == "no"
    app = open_app("attention", tab="Relevance")
    assert app.query_params["balanced"] == "no"
    app = open_app("attention", tab="Share", map="relevance", balanced="yes")
    assert "balanced=True" in app.code[0].value


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_a_new_choice_of_relevance_is_balanced():
    app = open_app("attention", tab="Share")
    app.segmented_control(key="map").set_value("relevance").run()
    assert "balanced=True" in app.code[0].value and app.query_params["balanced"] == "yes"
    app.segmented_control(key="balanced").set_value("no").run()
    assert "balanced" not in app.code[0].value


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_a_switch_that_a_link_gets_wrong_is_named():
    app = open_app("attention", tab="Share", map="relevance", balanced="perhaps")
    assert any("perhaps" in said and "yes or no" in said for said in sentences(app))


def test_occlusion_that_would_take_too_long_names_a_size(recording, monkeypatch):
    from explorer.attention import limits

    monkeypatch.setattr(limits, "MOST_WORK", 25 * 26 * recording.model.num_parameters)
    with pytest.raises(QueryError, match=r"once for each of 64 patches, .* at size 40 or less"):
        recording.map("occlusion")
    assert explorer.record(recording.model, photo(), size=40).map("occlusion").shape == (5, 5)
