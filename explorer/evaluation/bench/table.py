"""What a bench found: each map's means with their intervals, a verdict for each pair, and files of both."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from explorer import __version__
from explorer.errors import DataError
from explorer.evaluation.bench.bootstrap import Mean, Resampled, Verdict
from explorer.evaluation.bench.measures import MAIN, MEASURES, Measure
from explorer.evaluation.bench.run import Line, Plan
from explorer.words import text_cell


@dataclass(frozen=True)
class Table:
    """maps: best first by `main`; means: of each map, by measure; verdicts: by `main`, the surest gain first.

    sanity: each map's mean likeness to itself, stage by stage. refused: photos and masks that can't be read, and why;
    failed: maps and ways that couldn't be had on some photo, and why.
    """

    photos: int
    main: Measure
    maps: list[str]
    means: dict[str, dict[str, Mean]]
    verdicts: list[Verdict]
    sanity: dict[str, dict[str, float]]
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def measures(self) -> list[Measure]:
        """Those that some map has, in the order of the table of measures."""
        return [each for each in MEASURES.values() if any(each.name in row for row in self.means.values())]

    def verdict(self, one: str, other: str) -> Verdict:
        """Of a pair, in whichever order."""
        return next(each for each in self.verdicts if {each.first, each.second} == {one, other})

    def against_the_best(self) -> list[Verdict]:
        """The best map beside each of the others."""
        return [self.verdict(self.maps[0], other) for other in self.maps[1:]]


def table(lines: Iterable[Line], plan: Plan) -> Table:
    """The table of all lines; DataError where they hold no score."""
    ordered = sorted(lines, key=lambda line: line["photo"])
    scored = [line for line in ordered if line.get("scores")]
    refused = {
        f"{what}{line['name']}": line[kind]
        for line in ordered
        for kind, what in (("refused", ""), ("mask refused", "the mask of "))
        if kind in line
    }
    failed = {name: why for line in reversed(scored) for name, why in line["failed"].items()}
    sanity = [line["sanity"] for line in ordered if line.get("sanity")]  # none of a refused photo
    columns = {name: _column([line["scores"] for line in scored], plan, name) for name in MEASURES}
    columns["sanity"] = _sanity_column(sanity, plan)
    columns = {name: column for name, column in columns.items() if column}
    if not columns.keys() - {"sanity"}:
        why = next(iter([*refused.values(), *failed.values()]), "the model has no classes and there are no masks")
        raise DataError(f"There is nothing to compare maps by: {why}")
    main = MEASURES[MAIN if MAIN in columns else next(iter(columns))]
    means: dict[str, dict[str, Mean]] = {}
    for name, column in columns.items():
        resampled = Resampled(len(next(iter(column.values()))), plan.seed)
        for entrant, values in column.items():
            means.setdefault(entrant, {})[name] = resampled.mean(values)
    compared = columns[main.name]
    sign = 1 if main.high else -1
    maps = sorted(compared, key=lambda entrant: -sign * means[entrant][main.name].value)
    return Table(len(scored), main, maps, {entrant: means[entrant] for entrant in maps},
                 _verdicts(compared, sign, plan.seed), _stages(sanity, maps), refused, failed)  # fmt: skip


def _column(scores: Sequence[dict[str, dict[str, float]]], plan: Plan, measure: str) -> dict[str, np.ndarray]:
    """Map -> its numbers over the photos that have that measure; maps that lack one of them are left out."""
    rows = [photo for photo in scores if any(measure in each for each in photo.values())]
    names = [entrant.name for entrant in plan.entrants]
    complete = [name for name in names if rows and all(measure in row.get(name, {}) for row in rows)]
    return {name: np.array([row[name][measure] for row in rows]) for name in complete}


def _sanity_column(sanity: Sequence[dict[str, dict[str, float]]], plan: Plan) -> dict[str, np.ndarray]:
    """Map -> its likeness to itself on each photo, averaged over the stages."""
    names = [entrant.name for entrant in plan.entrants]
    there = [name for name in names if sanity and all(name in stage for photo in sanity for stage in photo.values())]
    return {name: np.array([np.mean([stage[name] for stage in photo.values()]) for photo in sanity]) for name in there}


def _stages(sanity: Sequence[dict[str, dict[str, float]]], maps: Sequence[str]) -> dict[str, dict[str, float]]:
    names = list(sanity[0]) if sanity else []
    return {
        stage: {name: float(np.mean([photo[stage][name] for photo in sanity])) for name in maps
                if all(name in photo[stage] for photo in sanity)}
        for stage in names
    }  # fmt: skip


def _verdicts(column: dict[str, np.ndarray], sign: int, seed: int) -> list[Verdict]:
    resampled = Resampled(len(next(iter(column.values()))), seed)
    pairs = combinations(column, 2)
    found = [resampled.verdict(one, other, sign * column[one], sign * column[other]) for one, other in pairs]
    return sorted(found, key=lambda verdict: -verdict.surely)


def as_json(found: Table, **about: Any) -> dict[str, Any]:
    """The whole table as plain values; about: what it is of."""
    return {
        "explorer": __version__,
        **about,
        "photos": found.photos,
        "main": found.main.name,
        "measures": {each.name: {"title": each.title, "high": each.high} for each in found.measures},
        "maps": {name: {measure: asdict(mean) for measure, mean in row.items()} for name, row in found.means.items()},
        "verdicts": [{**asdict(each), "beats": each.beats, "words": each.words()} for each in found.verdicts],
        "sanity": found.sanity,
        "refused": found.refused,
        "failed": found.failed,
    }


def write_files(found: Table, lines: Iterable[Line], folder: Path, **about: Any) -> None:
    """table.csv (a row for each map), photos.csv (a row for each photo and map) and table.json."""
    names = [each.name for each in found.measures]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(["map", *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))])
        for entrant, row in found.means.items():
            cells = [_cells(row.get(name)) for name in names]
            writer.writerow([text_cell(entrant), *(number for three in cells for number in three)])
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        single = [name for name in MEASURES if name in names and name != "sanity"]
        writer.writerow(["photo", "map", *single])
        for line in sorted((line for line in lines if "scores" in line), key=lambda line: line["photo"]):
            for entrant, row in line["scores"].items():
                numbers = [f"{row[name]:.6f}" if name in row else "" for name in single]
                writer.writerow([text_cell(line["name"]), text_cell(entrant), *numbers])
    text = json.dumps(as_json(found, **about), indent=1, ensure_ascii=False)
    (folder / "table.json").write_text(text, encoding="utf-8", errors="backslashreplace")


def _cells(mean: Mean | None) -> tuple[str, ...]:
    numbers = (mean.value, mean.low, mean.high) if mean else (None, None, None)
    return tuple("" if number is None else f"{number:.4f}" for number in numbers)


def markdown(found: Table, names: Sequence[str] | None = None) -> str:
    """The means as a Markdown table; names: of the measures that it shows, all without."""
    shown = [each for each in found.measures if names is None or each.name in names]
    rows = [["map", *(each.title for each in shown)], ["---"] * (len(shown) + 1)]
    for entrant, row in found.means.items():
        rows.append([entrant, *(f"{row[each.name].value:.3f}" if each.name in row else "" for each in shown)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
