"""Data sets to try fine-tuning with: scikit-learn's digits (no download) and a part of CIFAR-10 (downloaded once)."""

import random
import shutil
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from explorer.errors import DataError

BUILTIN: dict[str, str] = {
    "digits": "Handwritten digits: 1,797 images of 10 classes, no download",
    "cifar10": "CIFAR-10: up to 50,000 small photos of 10 classes, a download of 170 MB",
}
_writing = Lock()
_DIGIT_SIDE = 64  # the scans are 8 x 8; enlarged smoothly they look like digits on a page and to a model

_Images = Callable[[int], Image.Image]


def write_builtin(name: str, out: str | PathLike[str], size: int | None = None, seed: int = 0) -> Path:
    """Write a built-in data set as class folders of PNG files, for `read_dataset`, and return the folder.

    size: images in all, the same number of each class drawn with `seed`; None for every image. A folder that exists is
    taken as written before. DataError names the choices, or says that the download failed.
    """
    out = Path(out)
    with _writing:  # two windows of the app may ask for the same at once
        if out.is_dir():
            return out
        if name == "digits":
            _write_classes(*_digits(), out, size, seed)
        elif name == "cifar10":
            _write_classes(*_cifar10(), out, size, seed)
        else:
            raise DataError(f"There is no built-in data set '{name}'; choose one of {', '.join(BUILTIN)}.")
    return out


def _digits() -> tuple[_Images, Sequence[int], Sequence[str]]:
    from sklearn.datasets import load_digits  # seconds to import, and rarely needed

    scans, labels = load_digits(return_X_y=True)
    grey = np.round(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)

    def image(index: int) -> Image.Image:
        return Image.fromarray(grey[index]).resize((_DIGIT_SIDE, _DIGIT_SIDE), Image.Resampling.BICUBIC)

    return image, labels.tolist(), [str(digit) for digit in range(10)]


def _cifar10() -> tuple[_Images, Sequence[int], Sequence[str]]:
    from torch.hub import get_dir
    from torchvision.datasets import CIFAR10

    try:
        dataset = CIFAR10(Path(get_dir()) / "cifar10", train=True, download=True)
    except (OSError, RuntimeError) as error:  # no network; a download that broke off fails its checksum
        reason = getattr(error, "reason", error)  # urllib wraps what went wrong
        why = getattr(reason, "strerror", None) or reason
        raise DataError(
            f"CIFAR-10 can't be downloaded ({why}); connect to the internet, or use the digits or a zip of your own."
        ) from error
    return lambda index: Image.fromarray(dataset.data[index]), dataset.targets, dataset.classes


def _write_classes(
    image: _Images, labels: Sequence[int], class_names: Sequence[str], out: Path, size: int | None, seed: int
) -> None:
    """Write into a folder beside `out` and rename it at the end, so that `out` is never half written."""
    per_class = _per_class(labels, len(class_names), size)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for label, class_name in enumerate(class_names):
            folder = unfinished / class_name
            folder.mkdir(parents=True)
            mine = [index for index, other in enumerate(labels) if other == label]
            for index in sorted(random.Random(seed).sample(mine, min(per_class, len(mine)))):
                image(index).save(folder / f"{index:05d}.png")
        unfinished.rename(out)
    except OSError as error:
        raise DataError(f"The images can't be written to '{out}' ({error.strerror}); free space there.") from error


def _per_class(labels: Sequence[int], classes: int, size: int | None) -> int:
    if size is None:
        return len(labels)
    smallest = min(np.bincount(labels, minlength=classes))
    if not 2 * classes <= size <= smallest * classes:
        raise DataError(
            f"A subset of {size} images can't be drawn; choose between {2 * classes} and {smallest * classes:,}, "
            f"so that each of the {classes} classes gets the same number."
        )
    return size // classes
