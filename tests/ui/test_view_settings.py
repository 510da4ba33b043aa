"""What the Attention page says first, and how its files are called."""

import re
from dataclasses import replace

import pytest

import explorer
from explorer.ui.view_settings import download_name, heads_and_query
from tests.tiny import photo, tiny_model
from tests.views import changed, view_of

VIEW = view_of(image="sample:cat", layer=2)


@pytest.fixture(scope="module")
def recording():
    return explorer.record(tiny_model(), photo())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "cat-tiny-layer2-mean-cls"),
        ({"head": 3, "query": (4, 5)}, "cat-tiny-layer2-head3-patch4-5"),
        ({"kind": "rollout"}, "cat-tiny-rollout-cls"),
        ({"kind": "relevance", "image": "IMG_1.jpg"}, "IMG_1-tiny-relevance"),
        ({"image": "../my photo: 1?.jpeg"}, "my-photo-1-tiny-layer2-mean-cls"),
        ({"image": "\u732b.png"}, "photo-tiny-layer2-mean-cls"),
    ],
)
def test_files_are_named_by_photo_model_and_view(recording, changes, expected):
    assert download_name(recording, changed(VIEW, **changes)) == expected


def test_a_model_name_of_any_letters_is_safe_in_a_file_name():
    recording = explorer.record(replace(tiny_model(), name="my runs/Bundled ViT, epoch 3"), photo())
    assert re.fullmatch(r"[A-Za-z0-9._-]+", download_name(recording, VIEW))


def test_the_lead_names_the_token_that_asks(recording):
    assert "[[cls]] (class token), or the patch you click" in heads_and_query(recording)
    without = explorer.record(tiny_model(class_token=False, global_pool="avg"), photo())
    assert "the mean of all patches, or the patch" in heads_and_query(without)
