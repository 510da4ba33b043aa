"""The work of a bench, photo by photo: what is measured of each is a line, so that a stopped bench can go on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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


class Bench:
    """The items of a bench: the scores of each photo, then what its sanity check finds on the first of them.

    progress hears passes that are done, and all that are expected.
    """

    def __init__(self, model: Model, photos: Sequence[BenchPhoto], plan: Plan, progress: Progress | None = None):
        """Raises ModelError for a model whose output is a number."""
        if model.outputs == "number":
            raise ModelError(f"{model.name} predicts a number: a bench follows a class, so give it a classifier.")
        self.model, self.photos, self.plan, self._progress = model, photos, plan, progress
        self._expected, self._done, self._each = (0, 0), 0.0, (1.0, 0.0)

    def __len__(self) -> int:
        return len(self.photos) + min(self.plan.sanity_photos, len(self.photos))

    def expect(self, items: Iterable[int]) -> None:
        """Which items this process will measure, for the progress."""
        checks = [item >= len(self.photos) for item in items]
        self._expected = (len(checks) - sum(checks), sum(checks))

    def measure(self, item: int) -> Line:
        """One item's line; a photo that can't be read gets one that says why."""
        if item < len(self.photos):
            return _photo_line(self.model, self.photos[item], item, self.plan, self)
        index = item - len(self.photos)
        return _sanity_line(self.model, self.photos[index], index, self.plan, self)

    def item_of(self, line: Line) -> int:
        return line["photo"] + ("sanity" in line) * len(self.photos)

    def note_cost(self, recording: Recording) -> None:
        """How many passes a photo takes is known from the first that is recorded."""
        self._each = self.plan.passes(recording)

    def count_done(self, photo: float = 0.0, check: float = 0.0) -> None:
        """Count shares of a photo's passes and of a check's."""
        self._done += photo * self._each[0] + check * self._each[1]
        if self._progress:
            total = sum(count * each for count, each in zip(self._expected, self._each, strict=True))
            self._progress(min(self._done, total), total)


def lines(
    model: Model, photos: Sequence[BenchPhoto], plan: Plan, known: Iterable[Line] = (), progress: Progress | None = None
) -> Iterator[Line]:
    """The line of each item that `known` lacks, in this process alone."""
    bench = Bench(model, photos, plan, progress)
    done = set(map(bench.item_of, known))
    left = [item for item in range(len(bench)) if item not in done]
    bench.expect(left)
    yield from map(bench.measure, left)


def _photo_line(model: Model, photo: BenchPhoto, index: int, plan: Plan, bench: Bench) -> Line:
    """All scores of one photo."""
    line: Line = {"photo": index, "name": photo.name}
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError as error:
        bench.count_done(photo=1)
        return {**line, "refused": str(error)}
    bench.note_cost(recording)
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
        bench.count_done(photo=1 / len(plan.entrants))
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


def _sanity_line(model: Model, photo: BenchPhoto, index: int, plan: Plan, bench: Bench) -> Line:
    """How much each map of a photo is still like itself as the model's layers become random."""
    share = 1 / (stage_count(model) + 1)
    whole, target = _maps(model, photo, index, plan)
    bench.count_done(check=share)
    similar: dict[str, dict[str, float]] = {}
    for stage in stages(model, plan.seed) if whole else ():
        maps, _ = _maps(stage.model, photo, index, plan, target)
        similar[stage.name] = {name: similarity(maps[name], whole[name]) for name in maps.keys() & whole.keys()}
        bench.count_done(check=share)
    return {"photo": index, "name": photo.name, "sanity": similar}


def _maps(
    model: Model, photo: BenchPhoto, index: int, plan: Plan, target: int | None = None
) -> tuple[dict[str, np.ndarray], int | None]:
    """Every map that can be drawn, of class `target` or else the predicted one, and that class; none of a bad photo."""
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError:
        return {}, None
    if target is None and recording.logits is not None:
        target = recording.class_index(None)
    maps = {}
    for entrant in plan.entrants:
        try:
            maps[entrant.name] = entrant.draw(recording, target, plan.seed + index)
        except ExplorerError:  # said where its photo is measured
            continue
    return maps, target
