"""What commands on many files share: work divided among processes and kept until done, errors named on stderr."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from explorer.commands._progress import Display
from explorer.errors import ExplorerError, ModelError, QueryError
from explorer.evaluation.sharing import Journal, Shared, about
from explorer.launch import Processes

if TYPE_CHECKING:
    from explorer.models.backbone import Model

Item = TypeVar("Item")
KEPT_FROM = 100  # files from which on the work is kept without --work
NOT_ASKED = ("run", "command", "work", "report", "markdown", "images")  # options that change no result, and the files


def add_work_option(parser: argparse.ArgumentParser) -> None:
    """--work DIR."""
    parser.add_argument(
        "--work", type=Path, metavar="DIR",
        help="keep what is done here, so that the same command goes on after a stop (default: beside the output, from "
        f"{KEPT_FROM} files on, until it is done)",
    )  # fmt: skip


def stamps(files: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """Each file's path, size and time: what tells it from another of that name."""
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            yield f"{os.fspath(file)} -"
        else:
            yield f"{os.fspath(file)} {state.st_size} {state.st_mtime_ns}"


class Work:
    """A command's work on items, whose files are `files`; all_: the processes that share it."""

    def __init__(
        self,
        args: argparse.Namespace,
        files: Sequence[str | os.PathLike[str]],
        output: Path | None,
        model: "Callable[[], Model]",
        all_: Processes,
    ):
        self.args, self.files, self.model, self.all = args, files, model, all_
        self.failed, self._named = 0, getattr(args, "work", None)
        folder = self._named or self._folder_beside(output)
        self._journal = Journal(folder, all_.index) if folder else None

    def values(self, items: Sequence[Item], work: Callable[[Item], Any], images: int | None = None) -> Iterator[Any]:
        """What the work gives for every item, in their order; in processes other than the main one nothing.

        images: how many all items are together; by default as many as there are files.
        """
        shared = Shared(len(items), self.all, self._journal, self._about)
        count = len(self.files) if images is None else images
        show = Display(f"{count:,} image{'' if count == 1 else 's'}") if self.all.is_main else None
        for value in shared.values(lambda index: work(items[index]), show):
            if show:
                show.clear()
            yield value

    def each(
        self, items: Sequence[Item], work: Callable[[Item], Any], name: Callable[[Item], str] = str
    ) -> Iterator[Any]:
        """The same for items of one image each; one that fails is named on stderr and passed over.

        Raises the QueryError or ModelError of a first item: a wrong option or model is wrong for all.
        """
        done = 0

        def attempt(item: Item) -> dict[str, Any]:
            nonlocal done
            try:
                value = work(item)
            except ExplorerError as error:
                if isinstance(error, (QueryError, ModelError)) and not done:
                    raise
                return {"error": error_line(error, name(item))}
            done += 1
            return {"value": value}

        for made in self.values(items, attempt, images=len(items)):
            if "error" in made:
                self.fail(made["error"])
            else:
                yield made["value"]

    def finish(self) -> int:
        """Drop what was kept, once all outputs are written; the command's exit code, 2 where an item failed."""
        if self._journal and self.all.is_main and not self._named:
            self._journal.remove()
        return 2 if self.failed else 0

    def fail(self, message: str) -> None:
        """Name what failed."""
        self.failed += 1
        print(f"error: {message}", file=sys.stderr)

    def _about(self) -> Mapping[str, Any]:
        settings = {key: value for key, value in vars(self.args).items() if key not in NOT_ASKED}
        return about(self.model(), stamps(self.files), settings | {"csv": bool(getattr(self.args, "csv", None))})

    def _folder_beside(self, output: Path | None) -> Path | None:
        """Where work is kept if --work isn't given; None where it is short and for one process alone."""
        if output is None and self.all.count > 1:
            raise QueryError("A launch of several processes needs --work DIR, a folder that all of them can write to.")
        if output is None or (self.all.count == 1 and len(self.files) < KEPT_FROM):
            return None
        return output / ".work" if output.is_dir() else output.with_name(f"{output.name}.work")


def error_line(error: ExplorerError, name: str) -> str:
    """The error in one line, which names what it is about."""
    message = " ".join(str(error).split())
    return message if name in message else f"{name}: {message}"
