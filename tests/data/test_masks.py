"""Masks as people make them: each must come out as the object that its maker meant, or be refused with the reason."""

import io

import numpy as np
import pytest
from PIL import Image

from explorer.data.masks import check_shape, open_mask
from explorer.errors import ImageError
from tests.tiny import photo

SIZE = (96, 64)
INSIDE = np.zeros((64, 96), bool)
INSIDE[16:48, 20:60] = True
RING = np.zeros((64, 96), bool)
RING[14:50, 18:62] = True
RING[18:46, 22:58] = False  # the border of two pixels on each side of the edge
SECOND = np.zeros((64, 96), bool)
SECOND[52:62, 70:90] = True
NOISE = np.random.default_rng(0).integers(0, 4, (64, 96, 3))
SCENE = np.where(INSIDE, 24, np.where(SECOND, 26, np.where(np.indices((64, 96))[0] < 30, 23, 7)))  # a label everywhere
SCENE[-2:] = 0
RIGHT = np.where(INSIDE, 255, 0)
RIGHT_BUT_RING = np.where(RING, 128, RIGHT)
RIGHT_BOTH = np.where(SECOND, 255, RIGHT)


def voc_palette():
    """PASCAL VOC's own: the index's bits, three at a time, fill the channels from the highest bit down."""
    palette = []
    for index in range(256):
        r = g = b = 0
        for bit in range(8):
            r |= (index >> 0 & 1) << 7 - bit
            g |= (index >> 1 & 1) << 7 - bit
            b |= (index >> 2 & 1) << 7 - bit
            index >>= 3
        palette += [r, g, b]
    return palette


def indexed(indexes, palette):
    image = Image.fromarray(indexes.astype(np.uint8), "P")
    image.putpalette(palette)
    return image


def voc(index, ring=True):
    labels = np.where(INSIDE, index, 0)
    return indexed(np.where(RING, 255, labels) if ring else labels, voc_palette())


def coloured(*areas):
    pixels = np.zeros((64, 96, 3), np.uint8)
    for area, colour in areas:
        pixels[area] = colour
    return Image.fromarray(pixels)


def grey(values):
    return Image.fromarray(values.astype(np.uint8))


def deep(values, kind: type = np.uint16):
    return Image.fromarray(values.astype(kind))


def numbered(ids):
    """Ids as colours, R + 256 G + 65536 B, as COCO's panoptic files hold them."""
    return Image.fromarray(np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8))


def with_alpha(image, alpha=None):
    image = image.copy()
    image.putalpha(Image.fromarray((INSIDE if alpha is None else alpha).astype(np.uint8) * 255))
    return image


MASKS = {
    "grey, as documented": (grey(RIGHT_BUT_RING), RIGHT_BUT_RING),
    "grey in RGB": (grey(RIGHT_BUT_RING).convert("RGB"), RIGHT_BUT_RING),
    "one bit": (grey(RIGHT).convert("1"), RIGHT),
    "0 and 1": (grey(INSIDE * 1), RIGHT),
    "labels in grey with 255 left out": (grey(np.where(RING, 255, INSIDE * 15)), RIGHT_BUT_RING),
    "trimap of Oxford Pets": (grey(np.where(RING, 3, np.where(INSIDE, 1, 2))), RIGHT_BUT_RING),
    "labels in 16 bit": (Image.fromarray((INSIDE * 3 + SECOND * 20).astype(np.uint16)), RIGHT_BOTH),
    "ids in 16 bit": (deep(INSIDE * 3 + SECOND * 1200), RIGHT_BOTH),
    "ids of Cityscapes' things": (deep(INSIDE * 26001 + SECOND * 24000), RIGHT_BOTH),
    "white in 16 bit, 32768 left out": (deep(np.where(RING, 32768, INSIDE * 65535)), RIGHT_BUT_RING),
    "labels in 32 bit": (deep(INSIDE * 300 + SECOND * 2, np.int32), RIGHT_BOTH),
    "ids as colours, small ones": (numbered(INSIDE * 12 + SECOND * 3226956), RIGHT_BOTH),
    "noise in the black": (Image.fromarray(np.where(INSIDE[..., None], (0, 200, 0), NOISE).astype(np.uint8)), RIGHT),
    "labels with no colours": (Image.fromarray((INSIDE * 1 + SECOND * 2).astype(np.uint8), "P"), RIGHT_BOTH),
    "VOC, cat": (voc(8), RIGHT_BUT_RING),
    "VOC, bicycle": (voc(2), RIGHT_BUT_RING),
    "VOC, car in middle grey": (voc(7), RIGHT_BUT_RING),
    "VOC, car without a border": (voc(7, ring=False), RIGHT),
    "VOC in RGB, cat": (voc(8).convert("RGB"), RIGHT_BUT_RING),
    "VOC in RGB, car": (voc(7).convert("RGB"), RIGHT_BUT_RING),
    "labels with a white border": (
        indexed(np.where(RING, 255, INSIDE * 1), [0, 0, 0, 255, 0, 0] + [9, 9, 9] * 253 + [255] * 3), RIGHT_BUT_RING
    ),
    "a palette in another order": (indexed(np.where(INSIDE, 0, 1), [250, 20, 20, 0, 0, 0]), RIGHT),
    "a grey palette": (grey(RIGHT).convert("P"), RIGHT),
    "two objects": (coloured((INSIDE, (0, 0, 255)), (SECOND, (255, 0, 0))), RIGHT_BOTH),
    "one green object, grey left out": (
        coloured((INSIDE, (0, 200, 0)), (SECOND, (128, 128, 128))), np.where(SECOND, 128, RIGHT)
    ),
    "cut-out of a photo": (with_alpha(photo(*SIZE)), RIGHT),
    "black on transparent": (with_alpha(Image.new("RGB", SIZE)), RIGHT),
    "white on transparent grey": (with_alpha(Image.new("L", SIZE, 255)), RIGHT),
    "opaque RGBA": (with_alpha(coloured((INSIDE, (90, 0, 0))), np.ones((64, 96), bool)), RIGHT),
    "transparent colour of a GIF": (indexed(np.where(INSIDE, 1, 0), [0, 0, 0, 30, 30, 30]), RIGHT),
}  # fmt: skip
MASKS["transparent colour of a GIF"][0].info["transparency"] = 0


@pytest.mark.parametrize("name", MASKS)
def test_masks_come_out_as_they_were_meant(name):
    image, right = MASKS[name]
    file = io.BytesIO()
    image.save(file, "TIFF" if image.mode == "I" else "PNG")
    np.testing.assert_array_equal(np.array(open_mask(file)), right)
    np.testing.assert_array_equal(np.array(open_mask(image)), right)


def test_arrays_of_two_dimensions_are_masks():
    np.testing.assert_array_equal(np.array(open_mask(INSIDE)), RIGHT)
    np.testing.assert_array_equal(np.array(open_mask(RIGHT_BUT_RING.astype(np.uint8))), RIGHT_BUT_RING)
    for labels in (INSIDE * 1, INSIDE * 1.0, INSIDE * np.uint16(300), INSIDE.astype(np.int8)):
        np.testing.assert_array_equal(np.array(open_mask(labels)), RIGHT)


@pytest.mark.parametrize("mask", [grey(RIGHT), coloured((INSIDE, (200, 30, 30)), (SECOND, (20, 30, 220)))])
def test_a_lossy_file_gives_the_same_but_for_its_edges(mask):
    file = io.BytesIO()
    mask.save(file, "JPEG", quality=85)
    right = RIGHT_BOTH if mask.mode == "RGB" else RIGHT
    assert (np.array(open_mask(file)) != right).mean() < 0.05


def test_soft_edges_are_left_out():
    small = grey(RIGHT).resize((31, 21), Image.Resampling.BOX)
    got = np.array(open_mask(small))
    assert got[10, 13] == 255 and got[0, 0] == 0 and set(np.unique(got)) == {0, 128, 255}


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (photo(*SIZE), "as a photo does"),
        (photo(*SIZE).convert("L"), "as a photo does"),
        (grey(np.where(INSIDE, 2, 5)), "no 0, so its background can't be told"),
        (voc(2, ring=True).convert("L"), "grey values 75"),  # the colours' luminance is no class any more
        (with_alpha(grey(np.where(SECOND, 0, 255)), INSIDE | SECOND), "could mean either"),
        (grey(SCENE), "has 4 labels and hardly any background"),
        (deep(SCENE * 1000), "has 4 labels and hardly any background"),
        (numbered(SCENE * 54321), "has 4 labels and hardly any background"),
        (
            voc(1, ring=False).convert("RGB").point(lambda shade: shade + 40),
            "no black, so its background can't be told",
        ),
        (grey(RIGHT + SECOND * 80), "grey values 80"),
        (deep(INSIDE * 1 - SECOND * 1, np.int32), "numbers below 0"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_reason(mask, said):
    with pytest.raises(ImageError, match=f"{said}.*255 for the object, 0 for the background"):
        open_mask(mask)


def test_the_mask_has_the_photos_shape_and_any_size(tmp_path):
    grey(RIGHT).save(tmp_path / "bear.png")
    assert open_mask(tmp_path / "bear.png", photo_size=(961, 640)).size == SIZE
    with pytest.raises(ImageError, match=r"'bear.png' has 96 × 64 pixels and the photo 64 × 96"):
        open_mask(tmp_path / "bear.png", photo_size=(64, 96))
    check_shape((320, 240), (640, 481))
    with pytest.raises(ImageError, match="481 × 640 pixels and the photo 640 × 481"):
        check_shape((481, 640), (640, 481))


@pytest.mark.parametrize("name", MASKS)
def test_a_huge_mask_keeps_its_classes_at_fewer_pixels(name, tmp_path, monkeypatch):
    mask, _ = MASKS[name]
    whole = np.array(open_mask(mask))
    monkeypatch.setattr("explorer.data.masks.LARGE_PIXELS", 96 * 64 // 4)
    thin = np.array(open_mask(mask, SIZE))
    assert thin.shape == (32, 48) and set(np.unique(thin)) <= set(np.unique(whole))
    np.testing.assert_array_equal(thin[4:-4, 4:-4], np.array(Image.fromarray(whole).resize((48, 32), 0))[4:-4, 4:-4])


def test_a_file_that_is_none_is_said():
    with pytest.raises(ImageError, match="isn't an image"):
        open_mask(b"no picture at all")


def test_ids_beyond_32_bits_stay_objects():
    ids = np.zeros((8, 8), np.int64)
    ids[2:6, 2:6] = 2**32
    assert (np.array(open_mask(ids)) == np.where(ids > 0, 255, 0)).all()
