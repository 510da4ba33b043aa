"""What a bench measures of a map on a photo: the table of all measures, and the numbers themselves.

Patches are taken away by the map's order, its most important first (MIF) or its least important first (LIF), and the
class that the model predicted is followed: accuracy is the share of pictures that still get that class, averaged over
the shares of patches removed. MIF is 1 - accuracy, LIF is accuracy, and SRG = LIF accuracy - MIF accuracy (symmetric
relevance gain, Blücher et al. 2024). By probability: the same of the class's probability. An area is that under the
probability's curve (trapezoids, Petsiuk et al. 2018): what is left with the least important gone is what is revealed
with the most important first, so the pictures of MIF and LIF serve deletion and insertion, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.nn.functional import interpolate

from explorer.attention.evidence import descending_order
from explorer.attention.localization import IGNORE, OBJECT, patch_mask, score_map
from explorer.attention.recording import Recording
from explorer.attention.removal import Gone, batch_size, in_batches
from explorer.errors import QueryError
from explorer.evaluation.bench.ways import WAYS, Way, masks_of_shares

Done = Callable[[int], None]  # called with how many more pictures are done
MAIN = "srg_grey"  # what the table is sorted by and verdicts are about


@dataclass(frozen=True)
class Measure:
    """A column: name in files, title and one sentence for people, and whether more is better."""

    name: str
    title: str
    help: str
    high: bool = True
    needs_mask: bool = False


def _of_way(way: Way) -> tuple[Measure, ...]:
    return (
        Measure(f"srg_{way.name}", f"SRG, {way.title}", f"LIF accuracy - MIF accuracy. {way.help}"),
        Measure(f"srg_p_{way.name}", f"SRG of probability, {way.title}", "The same of the class's probability."),
        Measure(f"mif_{way.name}", f"MIF, {way.title}", "Most important first: how often the class is lost."),
        Measure(f"lif_{way.name}", f"LIF, {way.title}", "Least important first: how often the class stays."),
    )


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        *(measure for way in WAYS.values() for measure in _of_way(way)),
        Measure("deletion", "Deletion", "Area under the probability as grey patches take over.", high=False),
        Measure("insertion", "Insertion", "Area under the probability as patches come out of a blur."),
        Measure("auc", "Mask AUC", "How often a pixel of the object is higher than one outside.", needs_mask=True),
        Measure("iou", "Mask IoU", "Overlap with the object at the best threshold.", needs_mask=True),
        Measure("pointing", "Pointing", "Whether the highest patch lies on the object.", needs_mask=True),
        Measure("seg_accuracy", "Segmentation, pixels", "Pixels that are right, cut at the map's mean (Chefer et al. "
                "2021).", needs_mask=True),
        Measure("seg_iou", "Segmentation, IoU", "Mean IoU of object and background, cut there.", needs_mask=True),
        Measure("seg_ap", "Segmentation, AP", "Average precision of object and background together.", needs_mask=True),
        Measure("sanity", "Sanity", "Likeness (Spearman) to the map of a model whose layers are random from the top: "
                "a map of what the model learnt has about 0 (Adebayo et al. 2018).", high=False),
    )
}  # fmt: skip


def nothing(done: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Followed:
    """The predicted class over some pictures: whether it stays the likeliest, and its probability, "step"."""

    kept: Float[np.ndarray, " step"]
    probability: Float[np.ndarray, " step"]


class Removal:
    """One photo and one way to remove patches of it; the whole photo and the empty one are looked at once."""

    def __init__(self, recording: Recording, way: Way, target: int, seed: int):
        self.recording, self.way, self.target, self._seed = recording, way, target, seed
        self._without = way.start(recording, target, seed)
        assert recording.probabilities is not None
        self.whole = float(recording.probabilities[target])
        self.can_lose = len(recording.probabilities) > 1  # a single label is the likeliest whatever is gone

    def follow(self, gone: Gone, did: Done = nothing) -> Followed:
        """The class in pictures that lack those patches; did: called with how many more have been looked at."""
        parts = []
        for some in in_batches(gone, batch_size(self.recording)):
            parts.append(self._without(some))
            did(len(some))
        logits = torch.cat(parts).cpu().double()  # Apple's MPS has no float64
        probability = self.recording.model.probabilities(logits)[:, self.target]
        return Followed((logits.argmax(1) == self.target).double().numpy(), probability.numpy())

    def both(
        self, heatmaps: Iterable[Float[np.ndarray, "row col"]], did: Done = nothing
    ) -> list[tuple[Followed, Followed]]:
        """MIF and LIF of each map; the pictures of all maps go through the model together."""
        falling = [descending_order(heatmap, self._seed) for heatmap in heatmaps]
        orders, count = [one for order in falling for one in (order, order[::-1])], len(self.way.shares)
        found = self.follow(
            np.concatenate([masks_of_shares(order, self.way.shares, self.recording.grid) for order in orders]), did
        )
        starts = range(0, count * len(orders), count)
        each = [Followed(found.kept[at : at + count], found.probability[at : at + count]) for at in starts]
        return list(zip(each[::2], each[1::2], strict=True))

    def empty(self) -> float:
        """The probability where every patch is gone."""
        return float(self.follow(np.ones((1, *self.recording.grid), bool)).probability[0])


AREAS: Mapping[str, tuple[str, Callable[[Followed, Followed], np.ndarray]]] = {
    "deletion": ("grey", lambda mif, lif: mif.probability),
    "insertion": ("blur", lambda mif, lif: lif.probability),
}


class Faithfulness:
    """All measures of removal on one photo."""

    def __init__(self, recording: Recording, ways: tuple[str, ...], target: int, seed: int):
        self.removals: list[Removal] = []
        self.failed: dict[str, str] = {}  # why a way of removal can't be used with this model
        for name in ways:
            try:
                self.removals.append(Removal(recording, WAYS[name], target, seed))
            except QueryError as error:
                self.failed[name] = str(error)
        areas = {way for way, _ in AREAS.values()}
        self._empty = {each.way.name: each.empty() for each in self.removals if each.way.name in areas}

    def scores(
        self, heatmaps: Mapping[str, Float[np.ndarray, "row col"]], did: Done = nothing
    ) -> dict[str, dict[str, float]]:
        """Of each map, by the names of MEASURES; did: called with how many more pictures have been looked at."""
        scores: dict[str, dict[str, float]] = {name: {} for name in heatmaps}
        for removal in self.removals if heatmaps else ():
            found = removal.both(heatmaps.values(), did)
            for of_map, (mif, lif) in zip(scores.values(), found, strict=True):
                of_map |= self._scores(removal, mif, lif)
        return scores

    def _scores(self, removal: Removal, mif: Followed, lif: Followed) -> dict[str, float]:
        name = removal.way.name
        scores = {f"srg_p_{name}": float((lif.probability - mif.probability).mean())}
        if removal.can_lose:
            scores |= {
                f"srg_{name}": float((lif.kept - mif.kept).mean()),
                f"mif_{name}": float(1 - mif.kept.mean()),
                f"lif_{name}": float(lif.kept.mean()),
            }
        areas = {area: pick(mif, lif) for area, (way, pick) in AREAS.items() if way == name}
        return scores | {area: self._area(removal, values) for area, values in areas.items()}

    def _area(self, removal: Removal, probabilities: np.ndarray) -> float:
        """Under the curve over the shares from 0 to 1; it is the same read backwards."""
        curve = [removal.whole, *probabilities, self._empty[removal.way.name]]
        return float(np.trapezoid(curve, [0.0, *removal.way.shares, 1.0]))


def mask_scores(heatmap: Float[np.ndarray, "row col"], mask: UInt8[np.ndarray, "height width"]) -> dict[str, float]:
    """How well a map lies on a mask of 255, 128 (left out) and 0."""
    score = score_map(heatmap, patch_mask(mask, heatmap.shape))  # pyright: ignore[reportArgumentType]
    return {"auc": score.auc, "iou": score.iou, "pointing": score.pointing, **segmentation_scores(heatmap, mask)}


def segmentation_scores(
    heatmap: Float[np.ndarray, "row col"], mask: UInt8[np.ndarray, "height width"]
) -> dict[str, float]:
    """Chefer et al.'s protocol: enlarged bilinearly, scaled to 0..1, cut at its mean; pixels marked 128 don't count.

    Their code adds intersections and unions up over all photos before it divides; here each photo has its own numbers.
    """
    from sklearn.metrics import average_precision_score  # slow to import

    large = interpolate(torch.from_numpy(heatmap)[None, None].double(), mask.shape, mode="bilinear")[0, 0].numpy()
    large = (large - large.min()) / max(float(np.ptp(large)), 1e-12)
    counts, truth = np.abs(mask.astype(int) - IGNORE) > OBJECT // 4, mask > IGNORE
    found = (large > large.mean())[counts]
    truth, values = truth[counts], large[counts]
    overlaps = [((found == side) & (truth == side)).sum() / ((found == side) | (truth == side)).sum()
                for side in (True, False)]  # fmt: skip
    return {
        "seg_accuracy": float((found == truth).mean()),
        "seg_iou": float(np.mean(overlaps)),
        "seg_ap": float(average_precision_score(np.append(truth, ~truth), np.append(values, 1 - values))),
    }
