"""Any image becomes whole patches: crop, squash and keep, the thinnest pictures too."""

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from explorer.data.images import open_image
from explorer.errors import ImageError
from explorer.models.preprocess import MAX_TOKENS, target_sides, to_pixels, usual_geometry
from tests.tiny import photo, tiny_model


def fit_image(image, size, patch_size, fit: Any = "crop", interpolation="bicubic"):
    photo = open_image(image)
    return usual_geometry(photo.size, size, patch_size, fit).apply(photo, interpolation)


def test_squash_is_one_bicubic_resize():
    image = photo(150, 97)
    fitted = fit_image(image, 64, 16, "squash")
    np.testing.assert_array_equal(np.array(fitted), np.array(image.resize((64, 64), Image.Resampling.BICUBIC)))


def noise(width, height):
    """A picture that half a pixel of shift changes everywhere."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest", "lanczos"])
@pytest.mark.parametrize("size", [(150, 97), (97, 150), (64, 64), (65, 64), (500, 375), (20, 31), (48, 7), (3000, 4)])
def test_crop_is_torchvisions_resize_and_centre_crop(size, mode):
    image = noise(*size)
    reference = CenterCrop(48)(Resize(48, InterpolationMode(mode))(image))
    off = np.abs(np.array(fit_image(image, 48, 16, "crop", mode)).astype(int) - np.array(reference).astype(int))
    if mode == "nearest":  # a pixel's middle that falls on the line between two may go either way
        assert (off > 0).mean() < 0.02
    else:  # Pillow rounds and clips to 8 bit between rows and columns, whichever it does first
        assert off.mean() < 0.3 and (off > 1).mean() < 0.01


@pytest.mark.parametrize(
    "image, size, patch, sides",
    [
        ((200, 100), 32, 16, (64, 32)),
        ((100, 200), 32, 16, (32, 64)),
        ((120, 100), 32, 16, (32, 32)),  # 38.4 is nearer to two patches than to three
        ((150, 100), 32, 16, (48, 32)),
        ((100, 100), 42, 14, (42, 42)),
    ],
)
def test_keep_rounds_both_sides_to_whole_patches(image, size, patch, sides):
    assert target_sides(image[0], image[1], size, patch, "keep") == sides
    expected = noise(*image).resize(sides, Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.array(fit_image(noise(*image), size, patch, "keep")), np.array(expected))


@pytest.mark.parametrize("fit", ["crop", "squash", "keep"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3000, 4), (4, 3000)])
def test_the_thinnest_pictures(size, fit):
    image = photo(*size)
    if fit == "keep" and max(size) / min(size) > 200:
        with pytest.raises(ImageError, match=r"patches.* use fit crop or squash"):
            fit_image(image, 224, 16, fit)
        return
    fitted = fit_image(image, 64, 16, fit)
    assert fitted.width % 16 == fitted.height % 16 == 0 and fitted.width * fitted.height <= MAX_TOKENS * 256


@pytest.mark.parametrize(
    "size,words",
    [
        (100, "100 isn't a multiple of the patch size 16: try 96"),
        (3, "3 isn't a multiple of the patch size 16: try 16"),
        (0, "must be above 0, not 0: try 224"),
        (-16, "must be above 0, not -16: try 224"),
        (64.0, "whole number of pixels, not 64.0: try 224"),
        (math.nan, "whole number of pixels, not nan"),
        ("64", "whole number of pixels, not '64'"),
        (10_000_000, "limit is 10,000"),
    ],
)
def test_a_size_that_can_not_be_had_says_what_could(size, words):
    with pytest.raises(ImageError, match=words):
        fit_image(photo(), size, 16)
    with pytest.raises(ImageError):
        tiny_model(patch_size=16).fit(photo(), size)


def test_a_fit_that_is_not_known_says_which_are():
    with pytest.raises(ImageError, match="crop, squash or keep, not 'stretch'"):
        fit_image(photo(), 64, 16, "stretch")  # type: ignore[arg-type]


@pytest.mark.parametrize("fit", ["crop", "squash", "keep"])
def test_orientation_is_applied_before_fitting(fit, tmp_path):
    upright, exif = photo(120, 80), Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter to see it upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    fitted = fit_image(tmp_path / "phone.png", 64, 16, fit)
    np.testing.assert_array_equal(np.array(fitted), np.array(fit_image(upright, 64, 16, fit)))


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_too_many_patches_are_refused(fit):
    with pytest.raises(ImageError, match="limit is 10,000"):
        fit_image(photo(), 16_000, 16, fit)


def test_pixels_are_normalised_per_channel():
    image = Image.new("RGB", (2, 1), (255, 0, 51))
    pixels = to_pixels(image, (0.5, 0.5, 0.1), (0.5, 0.25, 0.1))
    assert pixels.shape == (1, 3, 1, 2)
    np.testing.assert_allclose(pixels[0, :, 0, 0], [1.0, -2.0, 1.0], atol=1e-6)


def test_a_model_preprocesses_with_its_own_settings():
    model = tiny_model(patch_size=8, size=64)
    assert model.preprocess(photo(90, 70)).shape == (1, 3, 64, 64)
    assert model.preprocess(photo(200, 100), 32, "keep").shape == (1, 3, 32, 64)
    assert model.grid(32, 64) == (4, 8)
    np.testing.assert_array_equal(np.array(model.fit(photo(64, 64))), np.array(photo(64, 64)))
