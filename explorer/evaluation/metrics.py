"""How good predictions are: accuracy, F1, their intervals, per class, confusion, and the worst mistakes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped

from explorer.data.report import Item
from explorer.models.formats.labels import Outputs

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RESAMPLES, DRAWN_AT_ONCE = 2000, 100
NEIGHBOURS = 5
ABSENT: dict[str, Any] = {"zero_division": 0.0}  # a class never predicted has precision 0, without a warning


def scores(labels: Int[np.ndarray, " image"], predicted: Int[np.ndarray, " image"], classes: int) -> dict[str, float]:
    """accuracy, f1_macro and f1_weighted of predicted class indices against the true ones.

    Macro is the mean over the classes that occur in the labels or the predictions, as scikit-learn's default.
    """
    from sklearn.metrics import confusion_matrix  # slow to import, and many pages never need it

    return scores_of_confusion(confusion_matrix(labels, predicted, labels=range(classes)))


def scores_of_confusion(confusion: Shaped[np.ndarray, "true predicted"]) -> dict[str, Any]:
    """The same from confusion counts."""
    counts = np.asarray(confusion, dtype=np.float64)
    return scores_of_counts(np.diagonal(counts), counts.sum(1), counts.sum(0))


def scores_of_counts(
    right: Float[np.ndarray, "*draws class"],
    true: Float[np.ndarray, "*draws class"],
    predicted: Float[np.ndarray, "*draws class"],
) -> dict[str, Any]:
    """The same from each class's images: predicted correctly, in truth and as predicted."""
    f1 = 2 * right / np.maximum(true + predicted, 1)
    occurs, total = (true + predicted) > 0, true.sum(-1)
    return {
        "accuracy": right.sum(-1) / total,
        "f1_macro": f1.sum(-1) / occurs.sum(-1),
        "f1_weighted": (f1 * true).sum(-1) / total,
    }


def report(
    logits: Float[np.ndarray, "image class"],
    labels: Int[np.ndarray, " image"],
    class_names: Sequence[str],
    seed: int = 0,
    outputs: Outputs = "classes",
) -> dict[str, Any]:
    """Everything metrics.json says about one model on one set, as plain values.

    outputs: what the logits mean, as Model.outputs. `intervals` are 95 %: Wilson's for accuracy, a bootstrap
    over images for F1, from Wilson's where all images are right or none is.
    """
    return report_of(logits.argmax(1), labels, losses(logits, labels, outputs), class_names, seed)


def report_of(
    predicted: Int[np.ndarray, " image"],
    labels: Int[np.ndarray, " image"],
    loss: Float[np.ndarray, " image"],
    class_names: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """The same from what was predicted for each image, and what it cost."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support  # slow to import

    classes = len(class_names)
    confusion = confusion_matrix(labels, predicted, labels=range(classes))
    table: Any = precision_recall_fscore_support(labels, predicted, labels=range(classes), **ABSENT)
    values = {key: float(value) for key, value in scores_of_confusion(confusion).items()}
    return {
        **values,
        "loss": float(loss.mean()),
        "class_names": list(class_names),
        "confusion_matrix": confusion.tolist(),
        "per_class": [
            {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in zip(class_names, *table, strict=True)
        ],
        "intervals": {
            "accuracy": list(wilson(int(np.trace(confusion)), len(labels))),
            **bootstrap(confusion, seed),
        },
    }


def log_probabilities(
    logits: Float[np.ndarray, "image class"], outputs: Outputs = "classes"
) -> Float[np.ndarray, "image class"]:
    """The logarithm of Model.probabilities, without its rounding to 0: of shares of one, or of each label by itself."""
    values = torch.from_numpy(logits)
    return (F.logsigmoid(values) if outputs == "labels" else F.log_softmax(values, 1)).numpy()


def losses(
    logits: Float[np.ndarray, "image class"], labels: Int[np.ndarray, " image"], outputs: Outputs = "classes"
) -> Float[np.ndarray, " image"]:
    """What the true class costs each image in nats: minus the logarithm of its probability."""
    return -log_probabilities(logits, outputs)[np.arange(len(labels)), labels]


def wilson(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); unlike right +- z sd it stays inside 0 to 1 and works at 100 %."""
    share, z = right / total, 1.96
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def bootstrap(confusion: Shaped[np.ndarray, "true predicted"], seed: int = 0) -> dict[str, list[float]]:
    """95 % intervals of both F1 scores: images drawn again with replacement, which is a multinomial over the cells.

    Where all images are right, or none is, no draw differs from another: then f1_at_ends.
    """
    counts = np.asarray(confusion)
    if np.trace(counts) in (0, counts.sum()):
        return f1_at_ends(counts)
    true, predicted = np.nonzero(counts)  # only these cells can be drawn: of 1,000 classes all would fill gigabytes
    share, draw = counts[true, predicted] / counts.sum(), np.random.default_rng(seed)
    parts = []
    for _ in range(RESAMPLES // DRAWN_AT_ONCE):
        drawn = draw.multinomial(counts.sum(), share, DRAWN_AT_ONCE).astype(np.float64)
        by_class = [drawn @ _members(index, len(counts)) for index in (true, predicted)]
        right = (drawn * (true == predicted)) @ _members(true, len(counts))
        parts.append(scores_of_counts(right, *by_class))
    values = {key: np.concatenate([part[key] for part in parts]) for key in ("f1_macro", "f1_weighted")}
    return {key: np.quantile(found, (0.025, 0.975)).tolist() for key, found in values.items()}


def f1_at_ends(confusion: Shaped[np.ndarray, "true predicted"]) -> dict[str, list[float]]:
    """Both F1 scores at the ends of accuracy's Wilson interval, mistakes spread over the classes as the images are."""
    true = np.asarray(confusion).sum(1).astype(np.float64)
    total = true.sum()
    share = np.array(wilson(int(np.trace(confusion)), int(total)))[:, None]  # "end 1"
    right, others = share * true, total - true
    # A wrong image of class j is predicted as class i with the share of i among the classes other than j.
    leaving = np.divide(true, others, out=np.zeros_like(true), where=others > 0)
    predicted = right + (1 - share) * true * (leaving.sum() - leaving)
    found = scores_of_counts(right, np.broadcast_to(true, right.shape), predicted)
    return {key: found[key].tolist() for key in ("f1_macro", "f1_weighted")}


def _members(index: np.ndarray, classes: int) -> "csr_array":
    """(cell, class): 1 where the cell belongs to the class."""
    from scipy.sparse import csr_array  # slow to import

    return csr_array((np.ones(len(index)), (np.arange(len(index)), index)), shape=(len(index), classes))


def neighbours_vote(
    train: Float[np.ndarray, "image width"], labels: Int[np.ndarray, " image"], val: Float[np.ndarray, "other width"]
) -> Int[np.ndarray, " other"]:
    """Classes by the nearest neighbours, by cosine of frozen features: what a model knows before any training."""
    from sklearn.neighbors import KNeighborsClassifier  # slow to import

    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(train)), metric="cosine", weights="distance")
    return neighbours.fit(train, labels).predict(val)


def predictions(
    logits: Float[np.ndarray, "image class"],
    labels: Int[np.ndarray, " image"],
    items: Sequence[Item],
    class_names: Sequence[str],
    outputs: Outputs = "classes",
) -> list[dict[str, Any]]:
    """One row per image, the worst mistakes (highest loss) first.

    Each has image, name, sha, actual, predicted, probability (of that) and loss.
    """
    probability = np.exp(log_probabilities(logits, outputs))
    loss, predicted = losses(logits, labels, outputs), logits.argmax(1)
    rows = [
        {
            "image": items[i].path,
            "name": items[i].name,
            "sha": items[i].sha,
            "actual": class_names[int(labels[i])],
            "predicted": class_names[int(predicted[i])],
            "probability": float(probability[i, predicted[i]]),
            "loss": float(loss[i]),
        }
        for i in range(len(labels))
    ]
    return worst_first(rows)


def worst_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a loss, the highest first."""
    return sorted(rows, key=lambda row: -row["loss"])
