"""The lines of a bench on disk, written as they come, so that a stopped bench goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from explorer.errors import DataError
from explorer.evaluation.bench.run import Line
from explorer.models.backbone import Model

ABOUT = "bench.json"


def about(model: Model, photos: list[str], plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a bench is of: lines of another model, other photos or another plan don't belong to it."""
    weights = sum(float(parameter.double().sum()) for parameter in model.module.parameters())
    source = {name: value for name, value in asdict(model.source).items() if value}
    known = {"model": model.name, "source": source, "weights": f"{weights:.8g}", **plan, "photos": photos}
    return json.loads(json.dumps(known))  # as it is read again


class Journal:
    """Of one process of `processes`, in the folder that all of them write to."""

    def __init__(self, folder: Path, process: int = 0):
        self.folder = folder
        self._file = folder / f"lines-{process}.jsonl"

    def open(self, about: Mapping[str, Any]) -> None:
        """Begin, or go on with what the folder holds; DataError where that is another bench."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ABOUT
        if not path.exists():
            path.write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is no file of a bench ({error}): give another --out.") from error
        other = [key for key in about if not isinstance(before, dict) or before.get(key) != about[key]]
        if other:
            raise DataError(
                f"{self.folder} holds a bench with other {', '.join(other)}: give another --out, or the same options."
            )

    def lines(self) -> list[Line]:
        """All lines of all processes; one that was cut short is left out, so that its photo is measured again."""
        found: list[Line] = []
        for path in sorted(self.folder.glob("lines-*.jsonl")):
            for text in path.read_text(encoding="utf-8").splitlines():
                try:
                    found.append(json.loads(text))
                except ValueError:
                    continue
        return found

    def add(self, line: Line) -> None:
        """Write the line, after a line's end: what was cut short before stays a line of its own."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(("\n" if file.tell() else "") + json.dumps(line))
