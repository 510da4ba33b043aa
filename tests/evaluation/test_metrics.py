import csv
import shutil
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from timm.data.imagenet_info import ImageNetInfo

import explorer
from explorer.data.datasets import read_images
from explorer.data.report import Item
from explorer.errors import ModelError
from explorer.evaluation.metrics import bootstrap, losses, neighbours_vote, predictions, report, scores, wilson
from explorer.evaluation.predict import Predictions, class_names_of, evaluate, predict, write_predictions
from explorer.models.loading import load_model
from explorer.training.estimate import estimate
from explorer.training.plan import Plan
from tests.tiny import photo, tiny_model
from tests.training_help import make_dataset, make_model
from tests.zips import write_zip

NAMES = ["ant", "bee", "cat"]


def random_case(seed: int, count: int = 60, classes: int = 3):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, classes)).astype(np.float32), draw.integers(classes, size=count)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    logits, labels = random_case(seed)
    predicted = logits.argmax(1)
    got = scores(labels, predicted, 3)
    assert got["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert got["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert got["f1_weighted"] == pytest.approx(f1_score(labels, predicted, average="weighted"))


def test_a_class_that_never_occurs_does_not_lower_macro_f1():
    labels = np.array([0, 0, 1, 1])
    assert scores(labels, labels, 5) == {"accuracy": 1.0, "f1_macro": 1.0, "f1_weighted": 1.0}
    assert scores(labels, np.zeros(4, int), 5)["f1_macro"] == pytest.approx(
        f1_score(labels, np.zeros(4, int), average="macro")
    )


def test_report_counts_rows_as_true_classes():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]] * 4
    made = report(logits, np.array([0, 0, 1, 2]), NAMES)
    assert made["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert made["accuracy"] == 0.75 and made["class_names"] == NAMES
    assert made["per_class"][0] == {
        "class": "ant",
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    right, wrong = -np.log(np.exp(4) / (np.exp(4) + 2)), -np.log(1 / (np.exp(4) + 2))
    assert made["loss"] == pytest.approx((3 * right + wrong) / 4, rel=1e-5)


def test_wilson_interval():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-3)
    low, high = wilson(20, 20)
    assert high == 1.0 and 0.8 < low < 0.9


def test_bootstrap_interval_holds_the_score_and_narrows_with_more_images():
    logits, labels = random_case(0, 100)
    labels = np.where(np.arange(100) < 80, logits.argmax(1), labels)
    few, many = report(logits, labels, NAMES), report(np.tile(logits, (20, 1)), np.tile(labels, 20), NAMES)
    for key in ("f1_macro", "f1_weighted"):
        low, high = few["intervals"][key]
        assert low < few[key] < high
        assert np.ptp(many["intervals"][key]) < 0.4 * (high - low)
    assert bootstrap(np.array(few["confusion_matrix"]), 1) == bootstrap(np.array(few["confusion_matrix"]), 1)


@pytest.mark.parametrize("counts", [[3, 3], [6], [1, 2, 4], [50, 30, 20]])
def test_intervals_without_a_mistake_have_a_width(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    made = report(np.eye(3)[labels] * 9, labels, NAMES)
    low = made["intervals"]["accuracy"][0]
    assert low == pytest.approx(1 / (1 + 1.96**2 / len(labels)))  # Wilson's lower end at 100 %, solved by hand
    # The same in a plain loop: every class loses its share of images to the others, in proportion to their sizes.
    confusion = np.zeros((3, 3))
    for i, own in enumerate(counts):
        confusion[i, i] = low * own
        for j, other in enumerate(counts):
            if i != j:
                confusion[i, j] = (1 - low) * own * other / (sum(counts) - own)
    f1 = [2 * confusion[i, i] / (own + confusion[:, i].sum()) for i, own in enumerate(counts)]
    assert made["intervals"]["f1_macro"] == pytest.approx([np.mean(f1), 1])
    assert made["intervals"]["f1_weighted"] == pytest.approx([np.average(f1, weights=counts), 1])


def test_intervals_without_a_right_answer_have_a_width():
    labels = np.array([0, 1, 2, 0])
    made = report(np.eye(3)[(labels + 1) % 3], labels, NAMES)
    for key in ("accuracy", "f1_macro", "f1_weighted"):
        low, high = made["intervals"][key]
        assert low == 0 and 0.2 < high < 0.6


@pytest.mark.slow
def test_bootstrap_matches_drawing_images_again():
    logits, labels = random_case(3, 50)
    predicted, draw = logits.argmax(1), np.random.default_rng(1)
    drawn = [draw.integers(50, size=50) for _ in range(2000)]
    values = [scores(labels[index], predicted[index], 3)["f1_macro"] for index in drawn]
    got = report(logits, labels, NAMES)["intervals"]["f1_macro"]
    assert got == pytest.approx(np.quantile(values, (0.025, 0.975)).tolist(), abs=0.02)


def test_worst_mistakes_come_first():
    logits, labels = random_case(1, 20)
    items = [Item(f"/{i}.jpg", f"{i}.jpg", int(label), "val", "", "", 1, 1) for i, label in enumerate(labels)]
    rows = predictions(logits, labels, items, NAMES)
    assert [row["loss"] for row in rows] == sorted(losses(logits, labels).tolist(), reverse=True)
    index = int(rows[0]["name"].split(".")[0])
    assert rows[0]["image"] == f"/{index}.jpg" and rows[0]["actual"] == NAMES[labels[index]]
    assert rows[0]["predicted"] == NAMES[logits[index].argmax()] and 0 < rows[0]["probability"] <= 1


def test_neighbours_find_clusters():
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(3, 8)) * 5
    labels = draw.integers(3, size=90)
    features = centres[labels] + draw.normal(size=(90, 8))
    vote = neighbours_vote(features[:60], labels[:60], features[60:])
    assert (vote == labels[60:]).mean() > 0.95
    few = neighbours_vote(features[:2], labels[:2], features[60:])
    assert set(few) <= set(labels[:2]), "with fewer images than neighbours all of them vote"


def test_predict_lists_broken_images_and_goes_on(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=2)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    images = [data / "red" / "0.png", tmp_path / "broken.jpg", data / "blue" / "1.png"]
    found = predict(tiny_model(size=32), images)
    assert found.images == [str(images[0]), str(images[2])] and list(found.rejected) == [str(images[1])]
    assert found.probabilities.sum(1) == pytest.approx(1.0)
    assert found.top(0)[0][1] == found.probabilities[0].max()
    write_predictions(tmp_path / "out.csv", found, {str(image): "red" for image in images})
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert rows[0]["actual"] == "red" and rows[0]["predicted"] == found.top(0)[0][0] and "shoe" in rows[0]


def copied(data, folders):
    """A folder of class folders made of others': {new name: (old name, number of images)}."""
    out = data.with_name("copied")
    for name, (old, count) in folders.items():
        shutil.copytree(data / old, out / name)
        for file in sorted((out / name).iterdir())[count:]:
            file.unlink()
    return out


def test_evaluate_scores_the_folders_it_knows_and_predicts_the_others(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=4)
    model = tiny_model(size=32)  # ant, bee, German shepherd, shoe, boot
    given = copied(data, {"Bee": ("red", 3), "german_shepherd": ("blue", 1), "zebra": ("green", 2)})
    made = evaluate(model, read_images(given))
    assert made.metrics and np.sum(made.metrics["confusion_matrix"], axis=1).tolist() == [0, 3, 1, 0, 0]
    means = {"Bee": "bee", "german_shepherd": "German shepherd", "zebra": ""}
    assert all(row["actual"] == means[row["name"].split("/")[0]] for row in made.rows) and len(made.rows) == 6
    alone = predict(model, [given / row["name"] for row in made.rows])
    assert [alone.top(i, 1)[0][0] for i in range(6)] == [row["predicted"] for row in made.rows]
    right = [row["predicted"] == row["actual"] for row in made.rows if row["actual"]]
    assert made.metrics["accuracy"] == sum(right) / 4
    assert [bool(row["actual"]) for row in made.rows] == [True] * 4 + [False] * 2, "unscored rows come last"
    (note,) = made.notes
    assert "the folder 'zebra' (2), so its images are predicted but not scored; the model knows ant, bee" in note
    write_predictions(tmp_path / "out.csv", made.found, made.actual)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert {row["image"].split("/")[0]: row["actual"] for row in rows} == means
    with pytest.raises(ModelError, match="no classifier"):
        evaluate(tiny_model(num_classes=0, size=32), read_images(given))


def test_two_classes_of_one_name_stay_apart(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=3)
    model = replace(tiny_model(size=32), class_names=["crane", "bee", "crane", "shoe", "boot"])
    made = evaluate(model, read_images(copied(data, {"bee": ("red", 3)})))
    names = ["crane (0)", "bee", "crane (2)", "shoe", "boot"]
    assert made.metrics and made.metrics["class_names"] == names == class_names_of(model)
    best = [int(np.argmax(row)) for row in made.found.probabilities]
    predicted = {row["name"]: row["predicted"] for row in made.rows}
    assert [predicted[name] for name in made.found.images] == [names[index] for index in best]


@pytest.mark.parametrize("count", [1, 3])
def test_one_class_folder_is_enough(tmp_path, count):
    data = make_dataset(tmp_path / "data", per_class=3)
    made = evaluate(tiny_model(size=32), read_images(copied(data, {"shoe": ("red", count)})))
    assert made.metrics and not made.notes
    assert made.metrics["accuracy"] == np.mean([row["predicted"] == "shoe" for row in made.rows])
    assert made.metrics["per_class"][3]["support"] == len(made.rows) == count


def test_images_without_class_folders_are_predicted_only(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=3)
    made = evaluate(tiny_model(size=32), read_images(data / "red"))
    assert made.metrics is None and len(made.rows) == 3 and not made.actual
    assert made.notes == ["The images lie in no class folders, so they are predicted but not scored."]


def test_only_the_validation_side_counts_even_where_its_classes_are_others(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=2)
    given = copied(data, {"train/bee": ("red", 2), "val/bee": ("blue", 1), "val/boot": ("green", 2)})
    made = evaluate(tiny_model(size=32), read_images(given))
    assert sorted(row["name"].rsplit("/", 1)[0] for row in made.rows) == ["val/bee", "val/boot", "val/boot"]


@pytest.mark.slow
def test_the_bundled_model_is_scored_on_folders_named_by_wordnet_id(tmp_path, shared_data):
    with zipfile.ZipFile(shared_data / "datasets" / "imagenet_samples_800.zip") as archive:
        some = archive.namelist()[::20]
        write_zip(tmp_path / "some.zip", {name: archive.read(name) for name in some})
    model = load_model("bundled", device="cpu")
    made = evaluate(model, read_images(tmp_path / "some.zip", tmp_path / "some"))
    ids = ImageNetInfo().label_names()
    assert model.class_names
    by_hand = [model.class_names.index(row["predicted"]) == ids.index(row["name"].split("/")[0]) for row in made.rows]
    assert made.metrics and not made.notes and len(made.rows) == len(some) == 40
    assert made.metrics["accuracy"] == sum(by_hand) / 40 >= 0.6


def test_intervals_of_a_thousand_classes_stay_small_in_memory():
    draw = np.random.default_rng(0)
    confusion = np.zeros((1000, 1000), int)
    np.add.at(confusion, (draw.integers(1000, size=3000), draw.integers(1000, size=3000)), 1)
    tracemalloc.start()
    found = bootstrap(confusion)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 <= found["f1_macro"][0] < found["f1_macro"][1] < 0.05
    assert peak < 100e6


@pytest.mark.parametrize("train", ["head", "last-1", "all"])
def test_estimate_counts_disk_exactly(tmp_path, train):
    data = make_dataset(tmp_path / "data", per_class=4)
    model, images = make_model(tmp_path / "base"), sorted(data.rglob("*.png"))
    made = estimate(model, Plan(train=train, epochs=7), NAMES, images, val=5)
    row = {"head": 32 * 4 * 2, "last-1": 17 * 32 * 4 * 2, "all": 32 * 32 * 3}[train]
    assert made.cache_bytes == 12 * row + 5 * (row if train == "all" else row // 2)
    assert made.seconds == made.before_seconds + 7 * made.epoch_seconds > 0
    full = estimate(model, Plan(train=train, augmentation="full"), NAMES, images, val=5)
    assert full.cache_bytes == 5 * 32 * 32 * 3
    assert made.uncached_seconds > made.epoch_seconds
    without = estimate(model, Plan(train=train, cache="none"), NAMES, images, val=5)
    assert without.cache_bytes == 0 and without.epoch_seconds == without.uncached_seconds


def test_names_that_a_spreadsheet_would_run_are_text_in_the_csv(tmp_path):
    names = ['=HYPERLINK("http://x")', "-1", "+cmd", "@sum", "plain"]
    found = Predictions(["\t=1+1.png", "-a.png", "b.png"], np.eye(5)[[0, 1, 2]], names, {})
    write_predictions(tmp_path / "out.csv", found, {"\t=1+1.png": "=1", "b.png": "plain"})
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    safe = ["'" + names[0], "-1", "'+cmd", "'@sum", "plain"]
    assert rows[0] == ["image", "actual", "predicted", "probability", *safe]
    assert [row[:3] for row in rows[1:]] == [
        ["'\t=1+1.png", "'=1", safe[0]], ["'-a.png", "", "-1"], ["b.png", "plain", "'+cmd"],
    ]  # fmt: skip
    assert rows[1][3:] == ["1.000000", "1.000000", *["0.000000"] * 4]


def outputs_model(outputs, classes=4):
    return replace(tiny_model(num_classes=classes), outputs=outputs, class_names=None)


@pytest.mark.parametrize("outputs", ["classes", "labels"])
def test_losses_and_probabilities_follow_what_the_outputs_mean(outputs):
    logits = np.random.default_rng(3).normal(0, 3, (6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    shares = 1 / (1 + np.exp(-logits)) if outputs == "labels" else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(shares[np.arange(6), labels])
    np.testing.assert_allclose(losses(logits, labels, outputs), expected, rtol=1e-5, atol=1e-6)
    items = [Item(f"/{i}.jpg", f"{i}.jpg", int(label), "val", "", "", 1, 1) for i, label in enumerate(labels)]
    rows = {row["name"]: row for row in predictions(logits, labels, items, NAMES, outputs)}
    assert [rows[f"{i}.jpg"]["probability"] for i in range(6)] == pytest.approx(shares.max(1).tolist(), rel=1e-5)
    assert report(logits, labels, NAMES, outputs=outputs)["loss"] == pytest.approx(expected.mean(), rel=1e-5)


def test_a_number_is_printed_and_written_as_it_is(tmp_path):
    model = outputs_model("number", classes=1)
    found = predict(model, [photo()], ["a.png"])
    recording = explorer.record(model, photo())
    assert recording.logits is not None
    value = float(recording.logits[0])
    assert found.words(0) == f"{value:.4f}" and found.outputs == "number"
    write_predictions(tmp_path / "out.csv", found)
    assert (tmp_path / "out.csv").read_text().split() == ["image,class", "0", f"a.png,{value:.6f}"]
    assert recording.probabilities == pytest.approx([value])


def test_labels_are_each_by_itself_in_recordings_and_predictions():
    model = outputs_model("labels")
    recording = explorer.record(model, photo())
    assert recording.logits is not None and recording.probabilities is not None
    expected = 1 / (1 + np.exp(-recording.logits.astype(np.float64)))
    np.testing.assert_allclose(recording.probabilities, expected)
    np.testing.assert_allclose(predict(model, [photo()]).probabilities[0], expected, atol=1e-5)
