"""Copies are found through resizing and recompression; different pictures of one kind are not called copies."""

import io

import numpy as np
import pytest
from PIL import Image

from explorer.data import duplicates
from explorer.data.datasets import read_dataset
from explorer.data.duplicates import MAX_BITS, MAX_CELL_DIFFERENCE, Fingerprint, fingerprint, linked_groups, near_groups
from explorer.data.images import open_image
from explorer.data.samples import SAMPLES, sample_photo
from tests.zips import picture, write_folder


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return open_image(buffer.getvalue())


CHANGES = {
    "recompressed": recompressed,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS),
    "1 % cut off": lambda image: image.crop((image.width // 100, image.height // 100, image.width, image.height)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_near_copies_of_photos_are_found(change):
    photos = [sample_photo(name) for name in SAMPLES]
    copies = [CHANGES[change](photo) for photo in photos]
    groups = near_groups([fingerprint(image) for image in photos + copies])
    assert groups == [[index, index + len(photos)] for index in range(len(photos))]


def test_different_pictures_of_one_layout_are_no_copies():
    """Colour is in the fingerprint, so that plain fields of other colours, which all have the empty hash, differ."""
    fields = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "white", "black")]
    assert near_groups([fingerprint(image) for image in fields]) == []
    assert len(near_groups([fingerprint(image) for image in [*fields, fields[1]]])) == 1


@pytest.mark.parametrize("rows,pairs", [(256, 50_000), (7, 5)])
def test_against_a_plain_double_loop(rows, pairs, monkeypatch):
    monkeypatch.setattr(duplicates, "_ROWS_AT_ONCE", rows)
    monkeypatch.setattr(duplicates, "_PAIRS_AT_ONCE", pairs)
    rng = np.random.default_rng(0)
    base = rng.integers(0, 230, (4, 192))
    prints = []
    for _ in range(120):
        pick = rng.integers(4)
        flips = rng.integers(0, 64, rng.integers(0, 5))
        dhash = int(np.bitwise_xor.reduce(np.uint64(1) << flips.astype(np.uint64), initial=np.uint64(pick * 12345)))
        prints.append(Fingerprint(dhash, (base[pick] + rng.integers(0, 23, 192)).astype(np.uint8)))
    group = list(range(len(prints)))
    for i, first in enumerate(prints):
        for j, second in enumerate(prints[:i]):
            bits = bin(first.dhash ^ second.dhash).count("1")
            worst = max(abs(int(a) - int(b)) for a, b in zip(first.thumbnail, second.thumbnail, strict=True))
            if bits <= MAX_BITS and worst <= MAX_CELL_DIFFERENCE:
                old, new = group[i], group[j]
                group = [new if number == old else number for number in group]
    expected = [[i for i, number in enumerate(group) if number == which] for which in dict.fromkeys(group)]
    assert sorted(near_groups(prints)) == sorted(members for members in expected if len(members) > 1)
    sizes = sorted(map(len, expected))
    assert sizes[-1] > 5 and sizes[0] == 1, "some are linked through others, some are alone"


def test_linked_groups_join_through_a_shared_member():
    assert linked_groups([(0, 1), (3, 4), (1, 3)], 6) == [[0, 1, 3, 4]]
    assert linked_groups([(4, 5), (1, 2, 3)], 6) == [[1, 2, 3], [4, 5]]
    assert linked_groups([], 3) == []


def test_groups_in_a_report(tmp_path):
    photo = sample_photo("cat")
    small = io.BytesIO()
    CHANGES["half the size"](photo).save(small, "PNG")
    whole = io.BytesIO()
    photo.save(whole, "PNG")
    files = {
        "train/cats/a.png": whole.getvalue(),
        "train/cats/b.png": whole.getvalue(),
        "train/dogs/c.png": picture(1),
        "val/dogs/d.png": small.getvalue(),
        "val/cats/e.png": picture(2),
    }
    report = read_dataset(write_folder(tmp_path / "pets", files))
    exact, near = report.duplicates
    names = [[report.items[index].name for index in group.items] for group in (exact, near)]
    assert names == [
        ["train/cats/a.png", "train/cats/b.png"],
        ["train/cats/a.png", "train/cats/b.png", "val/dogs/d.png"],
    ]
    assert (exact.kind, exact.across_classes, exact.across_splits) == ("exact", False, False)
    assert (near.kind, near.across_classes, near.across_splits) == ("near", True, True)


@pytest.mark.slow
def test_real_data_sets_hold_few_copies(shared_data):
    """Shoes on a white page look alike to a plain hash; of 1,500, two photos of one boot are all that is left."""
    shoes = read_dataset(shared_data / "datasets" / "shoe_sandal_boot.zip")
    assert [[shoes.items[index].name for index in group.items] for group in shoes.duplicates] == [
        ["shoe_sandal_boot/Boot/boot (4808).jpg", "shoe_sandal_boot/Boot/boot (4811).jpg"]
    ]
    assert read_dataset(shared_data / "datasets" / "hymenoptera.zip").duplicates == ()
