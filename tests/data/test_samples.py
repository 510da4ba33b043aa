"""The sample photos open, differ, and need no network."""

import socket

import numpy as np
import pytest

from explorer.data.samples import SAMPLES, sample_photo
from explorer.errors import ImageError


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sample photo asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_a_real_photo(name, no_network):
    photo = sample_photo(name)
    assert photo.mode == "RGB" and min(photo.size) >= 300
    assert np.array(photo).std() > 30, "a photo has contrast"


def test_samples_are_the_ones_named():
    assert np.array(sample_photo("cat")).mean(axis=(0, 1)).argmax() == 0, "the cat is orange"
    assert sample_photo("astronaut").size == (512, 512)
    assert len({sample_photo(name).tobytes() for name in SAMPLES}) == len(SAMPLES)
    assert all(title and title[0].isupper() for title in SAMPLES.values())


def test_unknown_name_lists_the_choices():
    with pytest.raises(ImageError, match=r"'dog'.*cat, astronaut"):
        sample_photo("dog")
