"""Folder names are matched to a model's classes by all that people call them, and never by guess."""

import pytest
from timm.data.imagenet_info import ImageNetInfo

from explorer.evaluation.class_match import match_classes
from explorer.models.timm_models import imagenet_names

NAMES = ["ant", "German shepherd", "crane", "crane", "tench, Tinca tinca", "Ant "]
IMAGENET = imagenet_names("imagenet-1k", 1000)


@pytest.mark.parametrize(
    "folder, index",
    [
        ("ant", 0),
        ("Ant ", 5),
        ("German shepherd", 1),
        ("german_shepherd", 1),
        ("GERMAN-Shepherd", 1),
        ("Tinca tinca", 4),
        ("tench", 4),
        ("ANT", None),  # classes 0 and 5 alike
        ("crane", None),  # two classes share the name
        ("shepherd", None),
        ("4", None),
        ("n01440764", None),  # the model is none of ImageNet's
    ],
)
def test_names(folder, index):
    assert match_classes([folder], NAMES, len(NAMES)).get(folder) == index


def test_composed_and_decomposed_accents_are_the_same_name():
    assert match_classes(["cafe\u0301"], ["caf\u00e9", "tea"], 2) == {"cafe\u0301": 0}


def test_nameless_classes_go_by_their_numbers():
    assert match_classes(["2", "02", "class 1"], None, 3) == {"2": 2}


@pytest.mark.parametrize("names", [IMAGENET, None])
def test_every_wordnet_id_is_found_in_a_model_of_imagenet(names):
    ids = ImageNetInfo().label_names()
    assert match_classes(ids, names, 1000) == {name: index for index, name in enumerate(ids)}


def test_wordnet_ids_with_a_name_behind_and_synonyms():
    assert IMAGENET
    found = match_classes(["n02099601-golden_retriever", "n0209960", "Carassius auratus"], IMAGENET, 1000)
    assert {folder: IMAGENET[index] for folder, index in found.items()} == {
        "n02099601-golden_retriever": "golden retriever",
        "Carassius auratus": "goldfish",
    }


def test_a_thousand_other_classes_are_not_taken_for_imagenet():
    assert match_classes(["n01440764"], [f"part {index}" for index in range(1000)], 1000) == {}
