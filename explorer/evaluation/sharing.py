"""Long work on numbered items: shared by the processes of a launch, each done once and kept, so that it goes on."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.errors import DataError
from explorer.launch import Processes

if TYPE_CHECKING:  # torch, which takes seconds to import
    from explorer.models.backbone import Model

ABOUT = "about.json"
BATCH = 32  # images that are one item, where a model takes several at once
Place = tuple[str, int]  # a line: its file, and where it begins in it
Progress = Callable[[int, int], None]  # items of this process that are done, and all of them


def about(model: "Model", names: Iterable[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What work is of: what was done with another model, other files or other settings doesn't belong to it."""
    weights = sum(float(parameter.cpu().double().sum()) for parameter in model.module.parameters())
    source = {name: value for name, value in asdict(model.source).items() if value}
    files = hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()
    known = {"model": model.name, "source": source, "weights": f"{weights:.8g}", **settings, "files": files}
    return json.loads(json.dumps(known, default=str))  # as it is read again


class Journal:
    """Values of items as lines in a folder that all processes write to, each of `processes` into its own file."""

    def __init__(self, folder: Path, process: int = 0):
        self.folder = folder
        self._file = folder / f"lines-{process}.jsonl"

    def open(self, about: Mapping[str, Any]) -> None:
        """Begin, or go on with what the folder holds; DataError where that is other work."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / ABOUT
        if not path.exists():
            path.write_text(json.dumps(about, indent=1), encoding="utf-8")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} can't be read ({error}): delete {self.folder}, or name another folder.") from error
        other = [key for key in about if not isinstance(before, dict) or before.get(key) != about[key]]
        if other:
            raise DataError(
                f"{self.folder} holds unfinished work with other {', '.join(other)}: give the same options to go on, "
                "name another folder, or delete this one."
            )

    def places(self) -> dict[int, Place]:
        """Where each item's line is; one that was cut short is left out, so that its item is done again."""
        found: dict[int, Place] = {}
        for path in sorted(self.folder.glob("lines-*.jsonl")):
            with path.open("rb") as file:
                begin = 0
                for text in file:
                    with suppress(ValueError):
                        found[json.loads(text)["item"]] = (path.name, begin)
                    begin += len(text)
        return found

    def read(self, place: Place) -> Any:
        """The value of the line there."""
        with (self.folder / place[0]).open("rb") as file:
            file.seek(place[1])
            return json.loads(file.readline())["value"]

    def add(self, item: int, value: Any) -> None:
        """Write a line, after a line's end: what was cut short before stays a line of its own."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(("\n" if file.tell() else "") + json.dumps({"item": item, "value": value}))

    def remove(self) -> None:
        """Delete the lines, and the folder where nothing else is in it."""
        for path in (*self.folder.glob("lines-*.jsonl"), self.folder / ABOUT):
            path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


class Shared:
    """Does items 0 to count - 1: those of them that fall to this process and that the journal lacks.

    about: what the journal is of; asked when it is opened, as a model may be needed for it. Without a journal, which
    one process alone may lack, nothing is kept.
    """

    def __init__(
        self,
        count: int,
        processes: Processes,
        journal: Journal | None = None,
        about: Callable[[], Mapping[str, Any]] = dict,
    ):
        assert journal or processes.count == 1, "processes share their work through a journal"
        self.count, self.processes, self.journal, self._about = count, processes, journal, about
        self._done: dict[int, Place] | None = None

    def left(self) -> list[int]:
        """The items that this process has to do."""
        done = self._known()
        return self._mine([item for item in range(self.count) if item not in done])

    def done(self) -> list[int]:
        """This process's share of the items that the journal held when it was opened."""
        return self._mine([item for item in range(self.count) if item in self._known()])

    def _mine(self, items: list[int]) -> list[int]:
        return items[self.processes.index :: self.processes.count]

    def _known(self) -> Mapping[int, Place]:
        if self._done is None:
            self._done = self._open()
        return self._done

    def values(self, work: Callable[[int], Any], progress: Progress | None = None) -> Generator[Any, None, None]:
        """What the work gives for every item, in their order, in the main process; in the others nothing.

        Of one process each comes as soon as it is there, of several all after the last; values are plain, as JSON has
        them. progress: called after each item of this process. Raises DataError where another process's are missing.
        """
        left = self.left()
        made = self._make(left, work, progress)
        done: Mapping[int, Place] = self._done or {}
        if self.processes.count > 1:
            for _ in made:
                pass
            self.processes.wait()
            done = self._gathered() if self.processes.is_main else {}
        if self.processes.is_main:
            for item in range(self.count):
                yield self.journal.read(done[item]) if self.journal and item in done else next(made)

    def _open(self) -> dict[int, Place]:
        if self.journal is None:
            return {}
        if self.processes.is_main:
            self.journal.open(self._about())
        self.processes.wait()
        self.journal.open(self._about())
        done = self.journal.places()
        self.processes.wait()  # all have read it before the first writes
        return done

    def _make(self, items: list[int], work: Callable[[int], Any], progress: Progress | None) -> Iterator[Any]:
        for number, item in enumerate(items, 1):
            value = work(item)
            if self.journal:
                self.journal.add(item, value)
            if progress:
                progress(number, len(items))
            yield value

    def _gathered(self) -> dict[int, Place]:
        assert self.journal
        done = self.journal.places()
        missing = sum(item not in done for item in range(self.count))
        if missing:
            raise DataError(
                f"What other processes did is not in {self.journal.folder} ({missing} of {self.count} parts): name a "
                "folder that all machines of the launch share."
            )
        return done
