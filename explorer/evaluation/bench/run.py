"""The work of a bench, photo by photo: what is measured of each is a line, so that a stopped bench can go on."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from explorer.attention.localization import fit_mask, patch_mask
from explorer.attention.recording import Recording, record
from explorer.attention.removal import batch_size
from explorer.errors import DataError, ExplorerError, ModelError
from explorer.evaluation.bench.contenders import Control, Entrant
from explorer.evaluation.bench.measures import Faithfulness, mask_scores
from explorer.evaluation.bench.photos import BenchPhoto
from explorer.evaluation.bench.sanity import similarity, stage_count, stages
from explorer.evaluation.bench.ways import WAYS
from explorer.models.backbone import Model
from explorer.models.preprocess import Fit

SANITY_PHOTOS = 4
LIGHT_WAYS = ("grey",)  # of removing patches, for a first look
TIMED = 8  # pictures of the pass that is timed for an estimate
Line = dict[str, Any]
Progress = Callable[[float, float, float], None]  # passes done, in all, and of those done the ones of an earlier run


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

    def light(self) -> "Plan":
        """The same for a first look: grey alone, no sanity check, and where there are others no map that takes long."""
        quick = tuple(each for each in self.entrants if not each.takes_long)
        entrants = self.entrants if all(isinstance(each, Control) for each in quick) else quick
        return replace(self, entrants=entrants, ways=LIGHT_WAYS if self.ways else (), sanity_photos=0)

    def seconds(self, recording: Recording, photos: int, checks: int, each: float) -> float:
        """About how long so many photos and sanity checks take; each: seconds of a pass of one picture."""
        photo, check = self.passes(recording)
        return (photos * photo + checks * check) * each

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


@dataclass(frozen=True)
class Estimate:
    """About how many seconds a bench takes: all of it, of that the sanity check, and for a first look instead."""

    seconds: float
    checks: float
    light: float


class Bench:
    """The items of a bench: the scores of each photo, then what its sanity check finds on the first of them.

    progress hears passes that are done, and all that are expected.
    """

    def __init__(self, model: Model, photos: Sequence[BenchPhoto], plan: Plan, progress: Progress | None = None):
        """Raises ModelError for a model whose output is a number."""
        if model.outputs == "number":
            raise ModelError(f"{model.name} predicts a number: a bench follows a class, so give it a classifier.")
        self.model, self.photos, self.plan, self._progress = model, photos, plan, progress
        self._left, self._before, self._finished = [0, 0], [0, 0], [0, 0]  # photos, sanity checks
        self._each, self._told = (1.0, 0.0), 0.0  # passes of one; reported
        self._kind, self._part = 0, 0.0  # of the item at work, and how many of its passes are done

    def __len__(self) -> int:
        return len(self.photos) + min(self.plan.sanity_photos, len(self.photos))

    def expect(self, left: Iterable[int], before: Iterable[int] = ()) -> None:
        """Which items this process will measure, and which were measured before: the progress begins with those."""
        self._left, self._before = self._counts(left), self._counts(before)

    def _counts(self, items: Iterable[int]) -> list[int]:
        """How many of the items are photos, and how many are sanity checks."""
        checks = [item >= len(self.photos) for item in items]
        return [len(checks) - sum(checks), sum(checks)]

    def estimate(self) -> "Estimate | None":
        """About how long what is left takes, by the first photo that can be read; None where none can."""
        for photo in self.photos:
            try:
                recording = record(self.model, photo.read(), self.plan.size, self.plan.fit)
            except ExplorerError:
                continue
            self.note_cost(recording)
            each, (photos, checks) = seconds_per_picture(recording), self._left
            return Estimate(
                self.plan.seconds(recording, photos, checks, each),
                self.plan.seconds(recording, 0, checks, each),
                self.plan.light().seconds(recording, photos, 0, each),
            )
        return None

    def measure(self, item: int) -> Line:
        """One item's line; a photo that can't be read gets one that says why."""
        self._kind, index = divmod(item, len(self.photos))
        self._part = 0.0
        work = _sanity_line if self._kind else _photo_line
        line = work(self.model, self.photos[index], index, self.plan, self)
        self._finished[self._kind] += 1
        self._tell(0.0)
        return line

    def item_of(self, line: Line) -> int:
        return line["photo"] + ("sanity" in line) * len(self.photos)

    def note_cost(self, recording: Recording) -> None:
        """How many passes a photo takes is known from the first that is recorded."""
        self._each = self.plan.passes(recording)

    def count_done(self, passes: float) -> None:
        """Count passes of the present photo or check."""
        self._part += passes
        self._tell(min(self._part, self._each[self._kind]))

    def _tell(self, part: float) -> None:
        """Report what is done, where that is more than before."""
        left, before, finished = (
            sum(count * each for count, each in zip(counts, self._each, strict=True))
            for counts in (self._left, self._before, self._finished)
        )
        done = before + min(finished + part, left)
        if self._progress and done > max(before, self._told):
            self._told = done
            self._progress(done, before + left, before)


def lines(
    model: Model, photos: Sequence[BenchPhoto], plan: Plan, known: Iterable[Line] = (), progress: Progress | None = None
) -> Iterator[Line]:
    """The line of each item that `known` lacks, in this process alone."""
    bench = Bench(model, photos, plan, progress)
    done = set(map(bench.item_of, known))
    left = [item for item in range(len(bench)) if item not in done]
    bench.expect(left, done)
    yield from map(bench.measure, left)


@torch.no_grad()
def seconds_per_picture(recording: Recording) -> float:
    """What one picture of a batch takes in a forward pass, measured now."""
    model = recording.model
    pixels = model.pixels(recording.image).expand(min(TIMED, batch_size(recording)), -1, -1, -1)
    model.forward(pixels[:1])  # the first pass of a size prepares what the next one finds there
    began = time.perf_counter()
    model.forward(pixels)[0].sum().item()  # a number that has come: a GPU is done
    return (time.perf_counter() - began) / len(pixels)


def _photo_line(model: Model, photo: BenchPhoto, index: int, plan: Plan, bench: Bench) -> Line:
    """All scores of one photo."""
    line: Line = {"photo": index, "name": photo.name}
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError as error:
        return {**line, "refused": str(error)}
    bench.note_cost(recording)
    mask, refused = _mask(photo, recording)
    if refused:
        line["mask refused"] = refused
    target = None if recording.logits is None else recording.class_index(None)
    seed = plan.seed + index
    faithful = None if target is None else Faithfulness(recording, plan.ways, target, seed)
    maps, not_drawn = _draw(recording, target, seed, plan, bench)
    failed = (faithful.failed if faithful else {}) | not_drawn
    scores = faithful.scores(maps, bench.count_done) if faithful else {name: {} for name in maps}
    if mask is not None:
        for name, heatmap in maps.items():
            scores[name] |= mask_scores(heatmap, mask)
    return {**line, "scores": scores, "failed": failed}


def _draw(
    recording: Recording, target: int | None, seed: int, plan: Plan, bench: Bench
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every map that can be drawn, and why the others can't."""
    maps, failed = {}, {}
    for entrant in plan.entrants:
        try:
            maps[entrant.name] = entrant.draw(recording, target, seed)
        except ExplorerError as error:
            failed[entrant.name] = str(error)
        bench.count_done(entrant.passes(recording))
    return maps, failed


def _mask(photo: BenchPhoto, recording: Recording) -> tuple[np.ndarray | None, str]:
    """The photo's mask as the model sees the photo, None without one, and why it can't be used."""
    if photo.read_mask is None:
        return None, ""
    try:
        mask = fit_mask(photo.read_mask(), recording.part.geometry, photo_size=recording.part.photo_size)
        patch_mask(mask, recording.grid)  # raises where there's nothing to tell apart
    except ExplorerError as error:
        return None, str(error)
    return mask, ""


def _sanity_line(model: Model, photo: BenchPhoto, index: int, plan: Plan, bench: Bench) -> Line:
    """How much each map of a photo is still like itself as the model's layers become random."""
    whole, target = _maps(model, photo, index, plan, bench)
    similar: dict[str, dict[str, float]] = {}
    for stage in stages(model, plan.seed) if whole else ():
        maps, _ = _maps(stage.model, photo, index, plan, bench, target)
        similar[stage.name] = {name: similarity(maps[name], whole[name]) for name in maps.keys() & whole.keys()}
    return {"photo": index, "name": photo.name, "sanity": similar}


def _maps(
    model: Model, photo: BenchPhoto, index: int, plan: Plan, bench: Bench, target: int | None = None
) -> tuple[dict[str, np.ndarray], int | None]:
    """Every map that can be drawn, of class `target` or else the predicted one, and that class; none of a bad photo."""
    try:
        recording = record(model, photo.read(), plan.size, plan.fit)
    except ExplorerError:
        return {}, None
    bench.note_cost(recording)
    if target is None and recording.logits is not None:
        target = recording.class_index(None)
    return _draw(recording, target, plan.seed + index, plan, bench)[0], target  # why not is said with its photo
