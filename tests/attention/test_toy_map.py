"""A map that is registered in one place is found, working, in pages, commands, links, files and scripts."""

import io

import numpy as np
import pytest
from PIL.GifImagePlugin import GifImageFile

import explorer
from explorer.attention.evidence import evidence
from explorer.attention.maps import table
from explorer.attention.maps.kind import MapKind, Sweep
from explorer.attention.maps.settings import Number
from explorer.cli import main
from explorer.data.video import Clip
from explorer.rendering.figures import title
from explorer.rendering.gif import layers_gif
from explorer.rendering.python_script import python_script
from explorer.rendering.video import record_clip
from explorer.rendering.view import View, save_npz, shown_map
from tests.app import open_app, sentences
from tests.tiny import photo, save_tiny, tiny_model
from tests.views import view_of


def distance(recording, layer, power):
    """(rows, cols) distance from the centre in patches, to a power; the same in every layer."""
    rows, cols = (np.arange(count) - (count - 1) / 2 for count in recording.grid)
    return (np.hypot(rows[:, None], cols[None]) ** power).astype(np.float32)


POWER = Number("power", "Power", 1.0, "that the distance is raised to", low=0.5, high=4.0, step=0.5)
TOY = MapKind(
    name="distance",
    title="Distance from the centre",
    help="How far each patch lies from the middle.",
    settings=(table.LAYER, POWER),
    compute=distance,
    sweep=Sweep("layer", caption="distance in layer", help="The same everywhere."),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The one place."""
    monkeypatch.setitem(table.MAP_KINDS, TOY.name, TOY)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


VIEW_SETTINGS = {"kind": "distance", "power": 2.0, "layer": 1}


def test_in_the_library(recording):
    assert recording.maps[-1] == "distance"
    squared = recording.map("distance", power=2.0)
    assert squared.shape == (8, 8) and squared[0, 0] == pytest.approx(2 * 3.5**2)


def test_in_help_and_files_of_the_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["figure", "--help"])
    said = capsys.readouterr().out
    assert ",distance}" in said.replace("\n", "") and "--power" in said and "raised to" in said
    save_tiny(tmp_path / "model")
    photo().save(tmp_path / "photo.png")
    asked = ["figure", str(tmp_path / "photo.png"), "--model", str(tmp_path / "model"), "--kind", "distance"]
    for ending in ("png", "svg"):
        assert main([*asked, "--power", "2", "--out", str(tmp_path / f"view.{ending}")]) == 0
    assert main([*asked, "--power", "9", "--out", str(tmp_path / "view.png")]) == 2
    assert "power must lie from 0.5 to 4, not 9.0" in capsys.readouterr().err


def test_in_an_npz_a_figure_and_a_gif(recording):
    view = view_of(**VIEW_SETTINGS)
    stored = np.load(io.BytesIO(save_npz(view, recording)))
    np.testing.assert_array_equal(stored["map"], recording.map("distance", power=2.0))
    assert "heads" not in stored and View.from_json(str(stored["settings"])) == view
    assert title(view, recording) == "tiny: distance from the centre"
    assert GifImageFile(io.BytesIO(layers_gif(view, recording))).n_frames == 3


def test_in_a_video():
    clip = record_clip(tiny_model(), Clip([photo(seed=seed) for seed in range(2)], 8.0), view_of(**VIEW_SETTINGS))
    assert clip.maps.shape == (2, 8, 8) and clip.maps[0, 0, 0] == pytest.approx(2 * 3.5**2)


def test_in_a_script(tmp_path, monkeypatch):
    save_tiny(tmp_path / "model")
    view = view_of(str(tmp_path / "model"), "sample:cat", **VIEW_SETTINGS)
    monkeypatch.chdir(tmp_path)
    exec(compile(python_script(view), "view.py", "exec"), {"__file__": str(tmp_path / "view.py")})
    recording = explorer.record(explorer.load_model(tmp_path / "model"), "view.png")
    stored = np.load(tmp_path / "view.npz")["map"]
    np.testing.assert_array_equal(stored, shown_map(view, recording))


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_in_a_link_the_share_tab_and_its_script():
    app = open_app("attention", tab="Share", map="distance", power="2.5")
    assert not app.exception and not sentences(app)
    assert app.segmented_control(key="map").value == "distance" and app.slider(key="power").value == 2.5
    assert "MapChoice('distance', layer=2, power=2.5)" in app.code[0].value
    app.slider(key="power").set_value(3.0).run()
    assert app.query_params["power"] == "3.0" and "power=3.0" in app.code[0].value


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_a_setting_that_a_link_asks_for_out_of_range_is_named():
    app = open_app("attention", tab="Share", map="distance", power="9")
    assert any("power “9”" in said and "from 0.5 to 4" in said for said in sentences(app))


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_in_the_evidence_tab():
    app = open_app("attention", tab="Evidence", map="distance", power="2.0")
    app.select_slider(key="evidence_steps").set_value(5).run()
    app.button(key="evidence_run").click().run()
    assert not app.exception and not sentences(app)
    kept = app.session_state["evidence_kept"]
    ((_, found),) = kept.found.items()
    assert kept.asked[1].map.kind == "distance" and kept.asked[1].map["power"] == 2.0
    recording = app.session_state["last_good"].recording
    expected = evidence(recording, recording.map("distance", power=2.0), steps=5).curve("map", "deletion")
    np.testing.assert_allclose(found.curve("distance", "deletion").probabilities, expected.probabilities, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("checkpoints")
def test_on_the_video_page():
    app = open_app("video", video_map="distance", fps="2", layer="1")
    assert not app.exception and not sentences(app)
    next(button for button in app.button if button.label.startswith("Look at")).click().run()
    assert not app.exception
    assert app.session_state["video_kept"].asked[1].map["layer"] == 1
    assert any("Distance from the centre, layer 1;" in caption.value for caption in app.caption)
