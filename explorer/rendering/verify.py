"""Does a file still match its settings? A picture or NPZ is made again and compared."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image, UnidentifiedImageError

from explorer.data.images import ImageSource, open_image
from explorer.errors import ExplorerError, ImageError, QueryError
from explorer.rendering.provenance import LIBRARIES, provenance, read_provenance
from explorer.rendering.view import View, photo_of, png, save_npz, second_recording

TOLERANCE = 1e-4  # of an array's largest number: what float32 on another machine may differ by
COLOURS = 3  # of 255: what a pixel may differ by for the same reason
LARGEST = 2**30  # bytes of a file


@dataclass(frozen=True)
class Stored:
    """What a file holds: its settings as JSON, and arrays by name; of a PNG its pixels."""

    settings: str
    arrays: Mapping[str, np.ndarray]

    @property
    def is_picture(self) -> bool:
        return "pixels" in self.arrays


@dataclass(frozen=True)
class Finding:
    """One thing that was compared; agrees None: it can differ without harm, or can't be told."""

    what: str
    agrees: bool | None
    words: str


def read_stored(path: Path) -> Stored:
    """A PNG or NPZ that this software wrote; QueryError for any other file."""
    if path.stat().st_size > LARGEST:
        raise QueryError(f"{path.name} is larger than {LARGEST / 2**30:.0f} GB: no file of this software is.")
    data = path.read_bytes()
    try:
        return _read_npz(data) if data[:2] == b"PK" else _read_png(data)
    except (KeyError, ValueError, OSError, BadZipFile, UnidentifiedImageError, EOFError) as error:
        raise QueryError(
            f"{path.name} isn't an NPZ or PNG with settings inside, as the explorer writes them: give one of these."
        ) from error


def _read_npz(data: bytes) -> Stored:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("map", "heads", "mask", "artefacts", "logits", "image") if name in file}
        return Stored(str(file["settings"]), arrays)


def _read_png(data: bytes) -> Stored:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
        settings = picture.info["explorer"]
        return Stored(settings, {"pixels": np.array(picture.convert("RGB"))})


def verify(path: Path, photo: ImageSource | None = None) -> list[Finding]:
    """Make the file again from its settings, and compare what it holds and where it comes from.

    photo: what it was made of, where it no longer lies at the path in the settings; an NPZ can do without, since it
    holds what the model saw. Raises ExplorerError where the file, the photo or the model can't be had.
    """
    stored = read_stored(path)
    view = View.from_json(stored.settings)
    source = _photo(stored, view, path.parent, photo)
    from explorer.attention.recording import record  # torch: after what the files alone can tell
    from explorer.models.loading import load_model

    model = load_model(view.source)
    if source is None:  # what the model saw: kept as it is
        seen = Image.fromarray(stored.arrays["image"])
        recording = record(model, seen, min(seen.size), "keep")
    else:
        recording = record(model, source, view.photo.size, view.photo.fit)
    second = second_recording(view, model)
    if stored.is_picture:
        again = _read_png(png(view, recording, second=second, photo=source))
    else:
        again = _read_npz(save_npz(view, recording, second))
    return [*compare_origins(read_provenance(stored.settings), provenance(recording)), *_compared(stored, again)]


def _photo(stored: Stored, view: View, folder: Path, photo: ImageSource | None) -> ImageSource | None:
    """The photo: as given, where the settings say, or beside the file; None where an NPZ has to do without."""
    if photo is not None:
        return open_image(photo)
    named = view.photo.image
    try:
        return photo_of(named) if named.startswith("sample:") else open_image(_found(Path(named), folder))
    except (ExplorerError, OSError):
        if "image" in stored.arrays:
            return None
        raise ImageError(f"The photo {named} isn't there: name it with --photo.") from None


def _found(path: Path, folder: Path) -> Path:
    return path if path.is_file() else folder / path.name


def compare_origins(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[Finding]:
    """Weights and image by their SHA-256, versions by name."""
    if before is None:
        return [Finding("origin", None, "not recorded: the file is of an earlier release")]
    findings = []
    for what, key in (("weights", "weights_sha256"), ("image", "image_sha256")):
        same = before.get(key) == now[key]
        words = (
            f"SHA-256 {now[key][:12]}…" if same else f"SHA-256 was {str(before.get(key))[:12]}…, is {now[key][:12]}…"
        )
        findings.append(Finding(what, same, words))
    versions = {"explorer": (before.get("explorer"), now["explorer"])}
    for name in LIBRARIES:
        versions[name] = ((before.get("libraries") or {}).get(name), now["libraries"].get(name))
    changed = [f"{name} {old} then, {new} now" for name, (old, new) in versions.items() if old != new]
    return [*findings, Finding("versions", None if changed else True, "; ".join(changed) or "the same")]


def _compared(stored: Stored, again: Stored) -> list[Finding]:
    return [_array(name, array, again.arrays.get(name)) for name, array in stored.arrays.items()]


def _array(name: str, before: np.ndarray, now: np.ndarray | None) -> Finding:
    if now is None or now.shape != before.shape:
        return Finding(name, False, f"was {before.shape}, is {None if now is None else now.shape}")
    if before.dtype == bool:
        count = int((before != now).sum())
        return Finding(name, count == 0, f"{count} of {before.size} differ")
    gap = float(np.abs(before.astype(np.float64) - now.astype(np.float64)).max(initial=0))
    if before.dtype == np.uint8:
        return Finding(name, gap <= COLOURS, f"colours differ by {gap:.0f} of 255 at most")
    largest = float(np.abs(before).max(initial=0))
    return Finding(name, gap <= TOLERANCE * max(largest, 1e-12), f"differs by {gap:.2g} at most, of {largest:.2g}")
