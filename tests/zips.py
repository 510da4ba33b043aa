"""Zips for the tests: good ones, and ones that no honest program writes."""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (24, 16), **options) -> bytes:
    """The file of a small picture that looks like no other seed's: 4 x 4 random colour fields, enlarged."""
    fields = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(fields).resize(size, Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def pictures(classes: Mapping[str, int], root: str = "", first_seed: int = 0) -> dict[str, bytes]:
    """So many different pictures in each class folder, by name."""
    names = [f"{root}{name}/{number}.png" for name, count in classes.items() for number in range(count)]
    return {name: picture(first_seed + seed) for seed, name in enumerate(names)}


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def patch_headers(path: Path, name: str, field: str, value: int) -> Path:
    """Overwrite one field of an entry's two headers: "flags", "packed" (compressed size) or "size"."""
    data = bytearray(path.read_bytes())
    offsets = {"flags": (6, 8, "<H"), "packed": (18, 20, "<I"), "size": (22, 24, "<I")}
    in_local, in_central, form = offsets[field]
    for magic, offset, name_at in ((LOCAL, in_local, 30), (CENTRAL, in_central, 46)):
        start = data.find(magic)
        while not data.startswith(name.encode(), start + name_at):
            start = data.index(magic, start + 1)
        struct.pack_into(form, data, start + offset, value)
    path.write_bytes(data)
    return path
