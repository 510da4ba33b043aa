"""scikit-learn's digits as files: a small real data set for tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.zips import write_zip

NAMES = ("zero", "one", "two")


def digit_files(per_class: int, names: tuple[str, ...] = NAMES, first: int = 0) -> dict[str, bytes]:
    """PNG files of 64 px in class folders; `first` skips so many of each class."""
    scans, labels = load_digits(return_X_y=True)
    files = {}
    for digit, name in enumerate(names):
        for number in np.flatnonzero(labels == digit)[first : first + per_class]:
            pixels = (scans[number].reshape(8, 8) * (255 / 16)).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "PNG")
            files[f"{name}/{number}.png"] = buffer.getvalue()
    return files


def digits_zip(path: Path, per_class: int = 16, names: tuple[str, ...] = NAMES) -> Path:
    """A zip of class folders of digits."""
    return write_zip(path, digit_files(per_class, names))
