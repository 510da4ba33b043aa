"""The work of a bench, photo by photo: what is measured of each is a line, so that a stopped bench can go on."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.attention.localization import fit_mask, patch_mask
from explorer.attention.recording import Recording, record
from explorer.errors import DataError, ExplorerError, ModelError
from explorer.evaluation.bench.contenders import Entrant
from explorer.evaluation.bench.measures import Faithfulness, mask_scores
from explorer.evaluation.bench.photos import BenchPhoto
from explorer.evaluation.bench.sanity import similarity, stage_count, stages
from explorer.evaluation.bench.ways import WAYS
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit

SANITY_PHOTOS = 4
Line = dict[str, Any]
Progress = Callable[[float, float], None]  # passes done, and in all


@dataclass(frozen=True)
class Plan:
    """What is compared and how; size and fit: of photos, as record() takes them."""

    entrants: tuple[Entrant, ...]
    ways: tuple[str, ...] = tuple(WAYS)
    size: int | None = None
    fit: Fit = "own"
    sanity_photos: int = SANITY_PHOTOS  # on how many of the photos the sanity check runs: it takes long
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [way for way in self.ways if way not in WAYS]
        if unknown:
            raise DataError(f"Patches are removed by {', '.join(WAYS)}, not {', '.join(unknown)}.")

    def passes(self, recording: Recording) -> tuple[float, float]:
        """About how many forward passes a photo takes, and its sanity check."""
        drawn = sum(entrant.passes(recording) for entrant in self.entrants)
        steps = sum(2 * len(WAYS[way].shares) for way in self.ways) if recording.logits is not None else 0
        return drawn + steps * len(self.entrants), drawn * (stage_count(recording.model) + 1)

    def in_words(self) -> dict[str, Any]:
        """As JSON, to tell one bench from another."""
        return {
            "maps": [entrant.name for entrant in self.entrants],
            "ways": list(self.ways),
            "size": self.size,
            "fit": self.fit,
            "sanity_photos": self.sanity_photos,
            "seed": self.seed,
        }


def lines(
    model: Model,
    photos: Sequence[BenchPhoto],
    plan: Plan,
    known: Iterable[Line] = (),
    share: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> Iterator[Line]:
    """A line for each photo that `known` lacks, then one for each stage of its sanity check.

    share: (which, of how many) processes this one is, of which each takes its part of the photos that are left. A photo
    that can't be read gets a line that says why. Raises ModelError for a model whose output is a number.
    """
    if model.outputs == "number":
        raise ModelError(f"{model.name} predicts a number: a bench follows a class, so give it a classifier.")
    done = {line["photo"] for line in known if "sanity" not in line}
    checked = {line["photo"] for line in known if "sanity" in line}
    refused = {line["photo"] for line in known if "refused" in line}
    left = [index for index in range(len(photos)) if index not in done][share[0] :: share[1]]
    to_check = [i for i in range(min(plan.sanity_photos, len(photos))) if i not in checked | refused]
    to_check = to_check[share[0] :: share[1]]
    meter = _Meter(plan, len(left), len(to_check), progress)
    for index in left:
        yield _photo_line(model, photos[index], index, plan, meter)
    yield from _sanity_lines(model, photos, to_check, plan, meter)


class _Meter:
    """Counts passes; how many a photo takes is known from the first that is recorded."""

    def __init__(self, plan: Plan, photos: int, checks: int, progress: Progress | None):
        self.plan, self.photos, self.checks, self.progress = plan, photos, checks, progress
        self.done, self.each = 0.0, (1.0, 0.0)

    def saw(self, recording: Recording) -> None:
        self.each = self.plan.passes(recording)

    def did(self, passes: float) -> None:
        self.done += passes
        if self.progress:
            total = self.photos * self.each[0] + self.checks * self.each[1]
            self.progress(min(self.done, total), total)


def _photo_line(model: Model, photo: BenchPhoto, index: int, plan: Plan, meter: _Meter) -> Line:
    """All scores of one photo."""
    line: Line = {"photo": index, "name": photo.name}
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError as error:
        meter.did(meter.each[0])
        return {**line, "refused": str(error)}
    meter.saw(recording)
    mask, failed = _mask(photo, recording)
    target = None if recording.logits is None else recording.class_index(None)
    seed = plan.seed + index
    faithful = None if target is None else Faithfulness(recording, plan.ways, target, seed)
    scores: dict[str, dict[str, float]] = {}
    failed |= faithful.failed if faithful else {}
    for entrant in plan.entrants:
        try:
            heatmap = entrant.draw(recording, target, seed)
        except ExplorerError as error:
            failed[entrant.name] = str(error)
        else:
            scores[entrant.name] = faithful.scores(heatmap) if faithful else {}
            scores[entrant.name] |= {} if mask is None else mask_scores(heatmap, mask)
        meter.did(meter.each[0] / len(plan.entrants))
    return {**line, "scores": scores, "failed": failed}


def _mask(photo: BenchPhoto, recording: Recording) -> tuple[np.ndarray | None, dict[str, str]]:
    """The photo's mask as the model sees the photo, None without one, and why it can't be used."""
    if photo.read_mask is None:
        return None, {}
    try:
        mask = fit_mask(photo.read_mask(), recording.part.geometry, photo_size=recording.part.photo_size)
        patch_mask(mask, recording.grid)  # raises where there's nothing to tell apart
    except ExplorerError as error:
        return None, {"mask": str(error)}
    return mask, {}


def _sanity_lines(
    model: Model, photos: Sequence[BenchPhoto], indices: Sequence[int], plan: Plan, meter: _Meter
) -> Iterator[Line]:
    """How much each map is still like itself as the model's layers become random, a line for each photo.

    A stage is made once for all photos, so that one copy of the model is enough.
    """
    part = meter.each[1] / (stage_count(model) + 1)
    whole = {}
    for index in indices:
        whole[index] = _maps(model, photos[index], index, plan, {})
        meter.did(part)
    targets = {index: target for index, (_, target) in whole.items()}
    found: dict[int, dict[str, dict[str, float]]] = {index: {} for index in indices}
    for stage in stages(model, plan.seed) if indices else ():
        for index in indices:
            maps, _ = _maps(stage.model, photos[index], index, plan, targets)
            before = whole[index][0]
            found[index][stage.name] = {name: similarity(maps[name], before[name]) for name in maps.keys() & before}
            meter.did(part)
    for index, similar in found.items():
        yield {"photo": index, "name": photos[index].name, "sanity": similar}


def _maps(
    model: Model, photo: BenchPhoto, index: int, plan: Plan, targets: Mapping[int, int | None]
) -> tuple[dict[str, np.ndarray], int | None]:
    """Every map that can be drawn, of the class in `targets` or else the predicted one, and that class."""
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError:
        return {}, None
    predicted = None if recording.logits is None else recording.class_index(None)
    target, maps = targets.get(index, predicted), {}
    for entrant in plan.entrants:
        try:
            maps[entrant.name] = entrant.draw(recording, target, plan.seed + index)
        except ExplorerError:  # said where its photo is measured
            continue
    return maps, target
