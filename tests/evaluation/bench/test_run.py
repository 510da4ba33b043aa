"""The work of a bench: every photo once, what was done before not again, what fails said and passed over."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import explorer
from explorer.errors import DataError, ModelError
from explorer.evaluation.bench.contenders import entrants
from explorer.evaluation.bench.measures import MEASURES
from explorer.evaluation.bench.photos import BenchPhoto, open_photos
from explorer.evaluation.bench.report import html_report
from explorer.evaluation.bench.run import Bench, Plan, lines
from explorer.evaluation.bench.table import as_json, markdown, table, write_files
from tests.tiny import photo, tiny_model

MAPS = ("attention", "gradient")
PLAN = Plan(entrants(MAPS), ("grey",), sanity_photos=1)


def white_square() -> np.ndarray:
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    return mask


def bench_photos(count: int = 3) -> list[BenchPhoto]:
    return [
        BenchPhoto(f"{i}.png", lambda i=i: photo(seed=i), white_square if i else None) for i in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> explorer.Model:
    return tiny_model()


@pytest.fixture(scope="module")
def found(model) -> list[dict]:
    return list(lines(model, bench_photos(), PLAN))


def test_each_photo_has_every_measure_that_it_can_have(found):
    assert [line["photo"] for line in found] == [0, 1, 2, 0]
    for line in found[:3]:
        assert line["scores"].keys() == {"attention", "gradient", "centre", "random"} and not line["failed"]
        for scores in line["scores"].values():
            assert ("auc" in scores) == (line["photo"] > 0)
            assert {"srg_grey", "srg_p_grey", "mif_grey", "lif_grey", "deletion"} <= scores.keys() <= MEASURES.keys()


def test_maps_of_random_models_are_less_alike_the_more_layers_are_random(found):
    similar = found[3]["sanity"]
    assert similar["head"]["attention"] == pytest.approx(1)  # it doesn't ask the head
    assert similar["everything"]["attention"] < 0.5 and similar["head"]["gradient"] < 0.9
    assert [stage[name] for stage in similar.values() for name in ("random", "centre")] == pytest.approx([1] * 10)


def test_what_was_done_before_is_not_done_again(model, found):
    again = list(lines(model, bench_photos(), PLAN, [found[0], found[2]]))
    assert again == [found[1], found[3]]
    assert not list(lines(model, bench_photos(), PLAN, found))


def test_progress_goes_up_to_all(model):
    seen = []
    list(lines(model, bench_photos(), PLAN, progress=lambda *numbers: seen.append(numbers)))
    assert all(a[0] < b[0] for a, b in pairwise(seen)) and seen[-1][0] == pytest.approx(seen[-1][1])
    assert {before for _, _, before in seen} == {0}


def test_progress_of_what_goes_on_begins_with_what_lies_there(model, found):
    seen = []
    list(lines(model, bench_photos(), PLAN, found[:2], progress=lambda *numbers: seen.append(numbers)))
    photo_passes, check_passes = PLAN.passes(explorer.record(model, photo()))
    assert {numbers[1:] for numbers in seen} == {(3 * photo_passes + check_passes, 2 * photo_passes)}
    assert seen[0][0] > 2 * photo_passes and seen[-1][0] == seen[-1][1]


def test_a_first_look_is_grey_alone_without_what_takes_long():
    plan = Plan(entrants(["all"]))
    light = plan.light()
    assert (light.ways, light.sanity_photos) == (("grey",), 0)
    gone = {each.name for each in plan.entrants} - {each.name for each in light.entrants}
    assert gone == {"occlusion", "integrated_gradients"}
    assert Plan(entrants(["occlusion"])).light().entrants == entrants(["occlusion"])
    assert Plan(entrants(MAPS), ways=()).light().ways == ()


def test_the_estimate_is_of_what_is_left_by_the_first_photo_that_can_be_read(model, monkeypatch):
    from explorer.evaluation.bench import run

    monkeypatch.setattr(run, "seconds_per_picture", lambda recording: 0.5)
    bench = Bench(model, [BenchPhoto("broken.png", lambda: b"no picture"), *bench_photos()], PLAN)
    bench.expect([2, 3, 4], [0, 1])
    photo_passes, check_passes = PLAN.passes(explorer.record(model, photo()))
    about = bench.estimate()
    assert about is not None
    assert about.checks == 0.5 * check_passes and about.seconds == 0.5 * (2 * photo_passes + check_passes)
    assert about.light == 0.5 * 2 * photo_passes  # which is grey alone already
    assert Bench(model, [BenchPhoto("broken.png", lambda: b"no picture")], PLAN).estimate() is None


def test_a_photo_that_can_not_be_read_and_a_mask_that_says_nothing_are_named(model):
    broken = BenchPhoto("broken.png", lambda: b"no picture")
    empty = BenchPhoto("empty.png", lambda: photo(), lambda: np.zeros((64, 64), np.uint8))
    made = list(lines(model, [broken, empty, *bench_photos(1)], PLAN))
    assert "isn't an image" in made[0]["refused"] and "no object" in made[1]["mask refused"]
    result = table(made, PLAN)
    assert result.photos == 2 and result.refused.keys() == {"broken.png", "the mask of empty.png"}
    assert "broken.png" in html_report(result, "tiny", {})


def test_a_model_without_classes_is_compared_with_masks_alone():
    plan = Plan(entrants(["attention", "rollout"]), sanity_photos=0)
    made = list(lines(tiny_model(num_classes=0), bench_photos(), plan))
    result = table(made, plan)
    assert result.main.name == "auc" and set(result.maps) == {"attention", "rollout", "centre", "random"}
    with pytest.raises(DataError, match="nothing to compare"):
        table(list(lines(tiny_model(num_classes=0), bench_photos(1), plan)), plan)


def test_a_regression_has_no_class_to_follow(model):
    with pytest.raises(ModelError, match="predicts a number"):
        list(lines(replace(model, outputs="number"), bench_photos(1), PLAN))


def test_the_table_holds_means_best_first(found):
    result = table(found, PLAN)
    for name in result.maps:
        rows = [line["scores"][name] for line in found[:3]]
        assert result.means[name]["srg_grey"].value == pytest.approx(np.mean([row["srg_grey"] for row in rows]))
        assert result.means[name]["auc"].photos == 2
    values = [result.means[name]["srg_grey"].value for name in result.maps]
    assert values == sorted(values, reverse=True)
    assert len(result.verdicts) == 6 and len(result.against_the_best()) == 3
    data = as_json(result)
    assert data["maps"].keys() == set(result.maps) and data["verdicts"][0]["words"]
    assert markdown(result, ["auc"]).splitlines()[0] == "| map | Mask AUC |"


def test_measures_that_are_alike_on_all_photos_have_no_interval_in_files_and_report(found, tmp_path):
    alike = [{**line, "photo": at} for at, line in enumerate([found[1]] * 3)]
    result = table(alike, PLAN)
    data = as_json(result)
    assert data["maps"]["gradient"]["srg_grey"]["low"] is None and data["verdicts"][0]["words"]
    write_files(result, alike, tmp_path)
    row = (tmp_path / "table.csv").read_text().splitlines()[1].split(",")
    assert row[1] and row[2:4] == ["", ""]
    page = html_report(result, "tiny", {})
    assert "the same on all" in page and "None" not in page and "nan" not in page


def test_names_in_the_report_are_text(found):
    result = table([{**found[0], "name": "<script>"}, {"photo": 9, "name": "<b>x", "refused": "<i>"}], PLAN)
    page = html_report(result, "<script>alert(1)</script>", {"<model>": "<x>"})
    assert "<script" not in page and "&lt;b&gt;x" in page and "&lt;model&gt;" in page
    assert "http://" not in page and "https://" not in page


def test_photos_and_masks_are_paired_by_name(tmp_path):
    for name in ("b.jpg", "a.png", "._a.png", "notes.txt"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(name.encode())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "B.png").write_bytes(b"mask")
    with open_photos(tmp_path / "photos", tmp_path / "masks") as photos:
        assert [(each.name, each.read_mask and each.read_mask()) for each in photos] == [
            ("a.png", None), ("b.jpg", b"mask"),
        ]  # fmt: skip
    with open_photos(tmp_path / "photos", count=1, skip=1) as photos:
        assert [each.read() for each in photos] == [b"b.jpg"]
    with pytest.raises(DataError, match="no photo after the first 2"), open_photos(tmp_path / "photos", skip=2):
        pass
    (tmp_path / "others").mkdir()
    with (
        pytest.raises(DataError, match=r"has no mask for a\.png"),
        open_photos(tmp_path / "photos", tmp_path / "others"),
    ):
        pass
