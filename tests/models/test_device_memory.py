"""What happens where a GPU's memory runs out: torch's own error is raised at a chosen place, as no GPU is needed."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

import explorer
from explorer.data.samples import sample_photo
from explorer.errors import DeviceMemoryError
from explorer.evaluation.predict import predict
from explorer.models.backbone import Model
from explorer.models.device_memory import enough_memory, in_fitting_batches
from tests.tiny import tiny_model


class Limited:
    """An adapter of a device that holds so many images at a time."""

    def __init__(self, model: Model, images: int):
        self.inner, self.images, self.batches = model.adapter, images, []

    def forward(self, module, pixels):
        if len(pixels) > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        self.batches.append(len(pixels))
        return self.inner.forward(module, pixels)

    def check_size(self, module, height, width):
        self.inner.check_size(module, height, width)


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def limited(model: Model, images: int) -> tuple[Model, Limited]:
    adapter = Limited(model, images)
    return replace(model, adapter=adapter), adapter


def test_predictions_go_on_in_smaller_batches(model):
    photos = [np.asarray(sample_photo(name)) for name in ("cat", "coffee", "rocket", "flower", "china")]
    small, adapter = limited(model, 2)
    found = predict(small, photos)
    np.testing.assert_allclose(found.probabilities, predict(model, photos).probabilities, atol=1e-6)
    assert max(adapter.batches) == 2


def test_one_image_too_many_is_one_sentence(model):
    small, _ = limited(model, 1)
    explorer.record(small, sample_photo("cat"))  # one image is enough memory here
    none, _ = limited(model, 0)
    with pytest.raises(DeviceMemoryError, match="record tiny on 64x64 pixels: record the image at a smaller size"):
        explorer.record(none, sample_photo("cat"))


def test_a_map_that_takes_too_much_is_one_sentence(model, monkeypatch):
    recording = explorer.record(model, sample_photo("cat"))

    def lacks(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "bmm", lacks)
    monkeypatch.setattr(torch.Tensor, "__matmul__", lacks)
    with pytest.raises(DeviceMemoryError, match="compute Rollout for tiny"):
        recording.map("rollout")


def test_every_item_comes_once_whatever_fits():
    def work(items):
        if len(items) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return list(items)

    for count in (0, 1, 3, 4, 10):
        assert list(chain.from_iterable(in_fitting_batches(range(count), work))) == list(range(count))


def test_not_even_one_fits():
    def work(items):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with (
        pytest.raises(DeviceMemoryError, match="GPU has too little free memory to draw: rest"),
        enough_memory("draw", "rest"),
    ):
        list(in_fitting_batches(range(4), work))
