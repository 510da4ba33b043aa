"""Weights from the model hub into the libraries' own cache: progress in bytes, quick and plain failure."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants, errors
from tqdm.std import tqdm

from explorer.errors import ModelError
from explorer.models.hub_cache import WEIGHTS, cached_weights

Progress = Callable[[int, int], None]  # (bytes done, bytes in all) of the file under way; may come from another thread
SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")
CONNECT_SECONDS = 10.0
# The hub client's own 10 MB would hold the bar still for long on a slow line, and be lost where the line breaks.
constants.DOWNLOAD_CHUNK_SIZE = 2**20
REFUSALS = (401, 403)  # without the code that tells a gated or unknown repository: a bad token, a disabled repository
# The base exception of the HTTP library that the installed hub client stands on.
NetworkError: type[Exception] = errors.HfHubHTTPError.__mro__[1]


def fetch(repo_id: str, progress: Progress | None = None, names: Sequence[str] = WEIGHTS) -> Path:
    """The weights file of a repository, from the cache or downloaded into it, with its settings files beside it.

    progress is called with (bytes done, bytes in all). Raises ModelError with one sentence when offline, for an
    unknown or gated repository, for one without weights, and where the connection breaks off.
    """
    weights = cached_weights(repo_id, names)
    if weights is None:
        with _hub_errors(repo_id, _offline(repo_id)):
            _reach(repo_id, names)
        with _hub_errors(repo_id, f"The download of {repo_id} broke off: check the connection and try again."):
            for name in SETTINGS:
                _download(repo_id, name, None)
            found = (_download(repo_id, name, progress) for name in names)
            weights = next((path for path in found if path), None)
            if weights is None:
                raise ModelError(f"{repo_id} holds no weights that PyTorch reads ({', '.join(names)}): pick another.")
            if weights.name.endswith(".index.json"):
                for shard in sorted(set(json.loads(weights.read_text())["weight_map"].values())):
                    _download(repo_id, shard, progress)
    return weights


def _reach(repo_id: str, names: Sequence[str]) -> None:
    """Fail at once when the hub can't be reached: the download itself would retry for half a minute."""
    url = huggingface_hub.hf_hub_url(repo_id, names[0])
    with suppress(errors.EntryNotFoundError):  # the repository is there; its weights have another of the names
        huggingface_hub.get_hf_file_metadata(url, timeout=CONNECT_SECONDS)


def _download(repo_id: str, name: str, progress: Progress | None) -> Path | None:
    try:
        return Path(huggingface_hub.hf_hub_download(repo_id, name, tqdm_class=_bar(progress)))
    except errors.RemoteEntryNotFoundError:
        return None


def _bar(progress: Progress | None) -> type[tqdm]:
    """A progress bar class that reports to `progress` and draws nothing itself."""

    class Bar(tqdm):
        monitor_interval = 0  # no watching thread

        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **{**kwargs, "disable": False})
            self._report()

        def display(self, *args: Any, **kwargs: Any) -> None:
            return None

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            self._report()
            return shown

        def _report(self) -> None:
            # Chunked transfers show a second bar for bytes on the wire; the first counts bytes of the file.
            if progress and self.total and "downloading bytes" not in (self.desc or ""):
                progress(int(self.n), int(self.total))

    return Bar


@contextmanager
def _hub_errors(repo_id: str, unreachable: str) -> Iterator[None]:
    """The hub's exceptions as one ModelError each, saying what failed and what to do; unreachable: without network."""
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo_id} is gated: accept its licence on its page, log in with `hf auth login`, then try again."
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"The hub has no public model named {repo_id}: check the spelling, or log in with `hf auth login` if it is "
            "private."
        ) from error
    except errors.HFValidationError as error:
        raise ModelError(f"{repo_id!r} isn't a model id: expected organisation/name.") from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise ModelError(unreachable) from error
    except errors.HfHubHTTPError as error:
        raise ModelError(_answer(repo_id, getattr(error.response, "status_code", None))) from error
    except NetworkError as error:  # no connection, or it broke off
        raise ModelError(unreachable) from error
    except OSError as error:
        if error.errno is None:  # the client's own: fewer bytes came than were announced
            raise ModelError(unreachable) from error
        raise ModelError(f"{repo_id} couldn't be stored ({error}): free some disk space and try again.") from error


def _answer(repo_id: str, status: int | None) -> str:
    if status in REFUSALS:
        return f"The hub refused {repo_id} (error {status}): log in again with `hf auth login`, then try again."
    if status == 404:
        return f"The hub has no public model named {repo_id}: check the spelling."
    return f"The hub answered with error {status or 'unknown'} for {repo_id}: try again later."


def _offline(repo_id: str) -> str:
    return (
        f"{repo_id} isn't on this computer yet and the hub can't be reached: connect to the internet and try again, or "
        "pick a model that is already here."
    )
