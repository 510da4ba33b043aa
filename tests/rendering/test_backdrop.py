"""The photo under a map: the part that the model saw, in the photo's own pixels."""

import numpy as np
import pytest
from PIL import Image

from explorer.models.preprocess import usual_geometry
from explorer.rendering.backdrop import backdrop
from tests.tiny import photo

SQUASH = usual_geometry((64, 64), 64, 16, "squash")


@pytest.mark.parametrize("size", [(301, 200), (200, 301), (64, 64), (777, 100), (3000, 4)])
def test_a_crops_part_is_what_the_model_saw_of_the_photo(size):
    image = photo(*size)
    geometry = usual_geometry(size, 64, 16, "crop")
    part = geometry.part(image)
    assert part.size == (min(size), min(size))
    again = np.array(part.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(again - np.array(geometry.apply(image, "bicubic"))).mean() < 4


@pytest.mark.parametrize("fit", ["squash", "keep"])
def test_the_other_fits_keep_the_whole_photo(fit):
    image = photo(120, 80)
    np.testing.assert_array_equal(np.array(usual_geometry(image.size, 64, 16, fit).part(image)), np.array(image))


@pytest.mark.parametrize(
    ("photo_size", "settings", "size"),
    [
        ((500, 300), {}, (500, 300)),
        ((5000, 3000), {}, (2048, 1229)),
        ((5000, 3000), {"largest": 1080}, (1080, 648)),
        ((40, 30), {}, (64, 48)),  # no smaller than what the model saw
        ((40, 30), {"zoom": 4}, (256, 192)),
        ((500, 300), {"width": 4000}, (4000, 2400)),
        ((3000, 4), {}, (2048, 3)),
        ((3000, 4), {"width": 100}, (100, 2)),
    ],
)
def test_sizes(photo_size, settings, size):
    seen = photo(64, 64)
    assert backdrop(seen, photo(*photo_size), SQUASH, **settings).size == size


def test_without_the_photo_it_is_what_the_model_saw():
    seen = photo(64, 48)
    assert backdrop(seen, None, SQUASH) is seen
    assert backdrop(seen, None, SQUASH, zoom=3).size == (192, 144)
