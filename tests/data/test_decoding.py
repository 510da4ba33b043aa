"""Large pictures are halved, and decoding keeps to its share of memory."""

import io
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from explorer.data import decoding
from explorer.data.images import open_image


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_large_picture_is_halved_and_its_size_kept(monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (301, 400)).astype(np.uint16)
    rgb = np.random.default_rng(1).integers(0, 256, (301, 400, 3)).astype(np.uint8)
    rgba = np.dstack([rgb, rgb[..., 0]])
    for picture in (values, rgb, rgba):
        monkeypatch.setattr(decoding, "LARGE_PIXELS", 10**9)
        whole = open_image(encode(Image.fromarray(picture), "PNG"))
        monkeypatch.setattr(decoding, "LARGE_PIXELS", 40_000)
        half = open_image(encode(Image.fromarray(picture), "PNG"))
        assert half.size == (200, 151) and half.info["full_size"] == (400, 301)
        assert np.array_equal(np.array(half), np.array(whole.reduce(2)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_picture_is_upright_like_a_small_one(monkeypatch, kind, orientation):
    stored = np.zeros((200, 300, 3), np.uint8)
    stored[:100, :150], stored[100:, :150] = (255, 0, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(stored), kind, exif=exif)
    whole = open_image(data)
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 40_000)
    half = open_image(data)
    assert half.info["full_size"] == whole.size and half.size == (whole.width // 2, whole.height // 2)
    difference = np.abs(np.array(half, np.int16) - np.array(whole.reduce(2), np.int16))
    assert np.median(difference) == 0 and difference.mean() < 2


def test_pictures_wait_for_memory_in_turn():
    budget, held, most = decoding.Budget(100), [0], [0]

    def work(wanted: int) -> None:
        with budget.spend(wanted):
            held[0] += min(wanted, 100)
            most[0] = max(most[0], held[0])
            time.sleep(0.005)
            held[0] -= min(wanted, 100)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 500, 60, 40, 100, 10] * 4))
    assert 0 < most[0] <= 100 and held[0] == 0


PEAK = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
from explorer.data.images import open_image
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(4) as pool:
    pictures = list(pool.map(open_image, [data] * 4))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes on Linux")
def test_four_small_files_of_100_megapixels_take_no_more_than_they_may(tmp_path):
    path = tmp_path / "zeros.png"
    Image.fromarray(np.zeros((10_000, 10_000), np.uint16)).save(path)
    assert path.stat().st_size < 1_000_000
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", PEAK, path], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1_500_000
