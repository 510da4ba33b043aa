import csv

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from explorer.data.datasets import read_dataset
from explorer.data.report import Item
from explorer.errors import DataError, ModelError
from explorer.training.classify import evaluate, predict, write_predictions
from explorer.training.estimate import estimate
from explorer.training.evaluation import bootstrap, knn_accuracy, losses, predictions, report, scores, wilson
from explorer.training.plan import Plan
from tests.tiny import tiny_model
from tests.training_help import make_dataset, make_model

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
    assert knn_accuracy(features[:60], labels[:60], features[60:], labels[60:]) > 0.95
    assert knn_accuracy(features[:2], labels[:2], features[60:], labels[60:]) <= 1.0


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


def test_evaluate_matches_classes_by_name(tmp_path):
    data = make_dataset(tmp_path / "data", per_class=4, classes=("green", "red"))
    model = tiny_model(size=32)
    with pytest.raises(DataError, match="no class 'green'; it knows ant"):
        evaluate(model, read_dataset(data))
    (data / "green").rename(data / "shoe")
    (data / "red").rename(data / "bee")
    metrics, rows, found = evaluate(model, read_dataset(data))
    assert len(rows) == len(found.images) == 8 and metrics["class_names"] == model.class_names
    assert np.sum(metrics["confusion_matrix"], axis=1).tolist() == [0, 4, 0, 4, 0]
    with pytest.raises(ModelError, match="no classifier"):
        evaluate(tiny_model(num_classes=0, size=32), read_dataset(data))


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
