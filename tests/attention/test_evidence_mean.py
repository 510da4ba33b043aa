"""Several maps in one evidence, several photos in one chart, and their files."""

import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import explorer
from explorer.attention.evidence import evidence
from explorer.attention.evidence_mean import COLUMNS, mean_bands, to_csv
from explorer.cli import main
from explorer.errors import QueryError
from explorer.rendering.evidence_drawing import HEIGHT, SIDE, TOP, evidence_drawing
from explorer.rendering.vector import Drawing, Line
from tests.tiny import photo, save_tiny, tiny_model


@pytest.fixture(scope="module")
def found():
    """Evidence of two maps on three photos."""
    model = tiny_model()
    recordings = [explorer.record(model, photo(seed=seed)) for seed in range(3)]
    maps = [{"attention": one.attention(1), "rollout": one.rollout()} for one in recordings]
    return recordings, [evidence(one, each, steps=4) for one, each in zip(recordings, maps, strict=True)]


def test_several_maps_at_once_give_what_each_gives_alone(found):
    (recording, *_), (both, *_) = found
    for name, heatmap in (("attention", recording.attention(1)), ("rollout", recording.rollout())):
        alone = evidence(recording, heatmap, steps=4)
        for game in ("deletion", "insertion"):
            np.testing.assert_allclose(both.curve(name, game).probabilities, alone.curve("map", game).probabilities)
            np.testing.assert_allclose(
                both.curve("random", game).probabilities, alone.curve("random", game).probabilities
            )
    assert both.orders == ("attention", "rollout", "random", "centre")


def test_bands_are_mean_and_standard_deviation(found):
    _, several = found
    bands = {(band.order, band.game): band for band in mean_bands(several)}
    band = bands["rollout", "insertion"]
    rows = [one.curve("rollout", "insertion").probabilities for one in several]
    np.testing.assert_allclose(band.mean, sum(rows) / 3)
    np.testing.assert_allclose(band.spread, np.sqrt(sum((row - band.mean) ** 2 for row in rows) / 2))
    assert not mean_bands(several[:1])[0].spread.any()


def test_photos_of_other_steps_are_refused(found):
    recordings, several = found
    with pytest.raises(QueryError, match="all the same"):
        mean_bands([several[0], evidence(recordings[0], recordings[0].attention(1), steps=4)])
    with pytest.raises(QueryError, match="name of a control"):
        evidence(recordings[0], {"random": recordings[0].attention(1)}, steps=4)


def test_the_csv_holds_every_step(found):
    _, several = found
    rows = list(csv.DictReader(io.StringIO(to_csv(dict(zip("abc", several, strict=True))))))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 3 * 2 * 4 * 5
    mine = [row for row in rows if (row["photo"], row["order"], row["game"]) == ("b", "centre", "deletion")]
    values = [float(row["probability"]) for row in mine]
    np.testing.assert_allclose(values, several[1].curve("centre", "deletion").probabilities, rtol=1e-6)


def test_the_figure_draws_the_means_where_they_belong(found):
    _, several = found
    bands = mean_bands(several)
    drawing = evidence_drawing(bands, "two maps")
    curve = next(item for item in drawing.items if isinstance(item, Line) and item.width == 1.6 and not item.filled)
    shares, heights = np.array(curve.points).T
    np.testing.assert_allclose((shares - shares[0]) / SIDE, bands[0].shares, atol=1e-4)
    top = max((band.mean + band.spread).max() for band in bands)
    scale = 1.0 if top > 0.5 else top
    np.testing.assert_allclose(1 - (heights - TOP) / HEIGHT, bands[0].mean / scale, atol=1e-4)
    root = ElementTree.fromstring(drawing.svg())
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(word and word.startswith("rollout: area") and "±" in word for word in words)
    assert drawing.pdf().startswith(b"%PDF")


def test_a_line_lies_where_it_was_put_and_an_area_is_filled():
    line = Line(((10, 5), (20, 30)), (255, 0, 0), 2, (4, 1))
    area = Line(((0, 0), (10, 0), (10, 10)), filled=True)
    drawing = Drawing(100, 50, (line, area), "t", "{}")
    svg = drawing.svg().decode()
    assert 'points="10,5 20,30" fill="none" stroke="rgb(255,0,0)" stroke-width="2" stroke-dasharray="4 1"' in svg
    assert '<polygon points="0,0 10,0 10,10" fill="rgb(0,0,0)"/>' in svg
    import zlib

    streams = [zlib.decompress(data) for data in re.findall(rb"stream\n(.*?)\nendstream", drawing.pdf(), re.DOTALL)]
    content = next(data for data in streams if b" RG " in data)
    assert b"1.000 0.000 0.000 RG 2 w 1 j [4 1] 0 d\n10.000 45.000 m 20.000 20.000 l\nS" in content
    assert b"0.000 0.000 0.000 rg\n0.000 50.000 m 10.000 50.000 l 10.000 40.000 l h\nf" in content


def test_the_command_writes_table_csv_and_figure(tmp_path, capsys):
    model = save_tiny(tmp_path / "model")
    photos = [str(tmp_path / name) for name in ("=1+1.png", "b.png")]
    for seed, path in enumerate(photos):
        photo(seed=seed).save(path)
    files = [str(tmp_path / name) for name in ("curves.csv", "curves.pdf")]
    options = ["--model", model, "--maps", "attention", "rollout", "--layer", "1", "--removals", "4"]
    assert main(["evidence", *photos, *options, "--csv", files[0], "--out", files[1]]) == 0
    recordings = [explorer.record(explorer.load_model(model), path) for path in photos]
    areas = [evidence(one, one.attention(1), steps=4).curve("map", "deletion").area for one in recordings]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("attention"))
    assert f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}" in line
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")
    rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2 * 4 * 5 and rows[1].startswith("'=1+1,")  # a spreadsheet would run it as a formula
