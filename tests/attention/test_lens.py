"""The lens: the model's own norm and classifier, called by hand on tokens that are all alike."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import explorer
from explorer.attention.lens import Readout
from explorer.attention.trace import look_inside
from explorer.errors import QueryError
from explorer.models.backbone import Model
from explorer.models.timm_models import wrap_timm
from explorer.models.transformers_models import wrap_transformers
from tests.attention.test_ledger import CLASSIFIERS
from tests.explicit import with_biases
from tests.models.test_families import ACCOUNTABLE, SMALL, sharpen, small_size, small_timm
from tests.tiny import photo, tiny_model


def streams(model: Model) -> list[torch.Tensor]:
    """ "1 token width" entering layer 0 and after each block of a timm model."""
    module: Any = model.module
    x = module.norm_pre(module._pos_embed(module.patch_embed(model.preprocess(photo()))))
    return [x, *(x := block(x) for block in module.blocks)]


@pytest.mark.parametrize("settings", [{}, {"global_pool": "avg", "reg_tokens": 2}, {"global_pool": "map"}], ids=str)
def test_every_token_is_read_as_if_all_were_it(settings):
    model = with_biases(tiny_model(**settings))
    recording = explorer.record(model, photo())
    got = recording.lens("bee", top=2)
    module: Any = model.module
    with torch.no_grad():
        for place, x in enumerate(streams(model)):
            alike = x[0][:, None].expand(-1, x.shape[1], -1)  # one image for each token
            expected = module.forward_head(module.norm(alike)).softmax(-1)
            best = expected.topk(2)
            np.testing.assert_allclose(got.probabilities[place], best.values, atol=1e-5)
            np.testing.assert_array_equal(got.classes[place, :, 0], best.indices[:, 0])
            np.testing.assert_allclose(got.followed[place], expected[:, 1], atol=1e-5)
            image = module.forward_head(module.norm(x)).softmax(-1)[0]
            np.testing.assert_allclose(got.image[place], image, atol=1e-5)
    assert got.target == 1
    np.testing.assert_allclose(got.image[-1], np.array(recording.probabilities), atol=1e-5)


def test_a_cls_token_says_what_its_image_says():
    got = explorer.record(tiny_model(), photo()).lens()
    best = got.image.argmax(axis=1)
    np.testing.assert_array_equal(got.classes[:, 0, 0], best)
    np.testing.assert_allclose(got.probabilities[:, 0, 0], got.image.max(axis=1), atol=1e-6)


def test_labels_have_a_probability_each():
    model = replace(tiny_model(), outputs="labels")
    recording = explorer.record(model, photo())
    got = recording.lens(2)
    np.testing.assert_allclose(got.image[-1], np.array(recording.probabilities), atol=1e-5)
    assert got.image.sum(axis=1) != pytest.approx(1)


def test_a_model_without_classes_is_refused():
    recording = explorer.record(tiny_model(num_classes=0), photo())
    with pytest.raises(QueryError, match="no classes"):
        recording.lens()


def check(model: Model, size: int | None) -> None:
    """The last stream gives the model's own logits; each token's, those of an image that is all that token."""
    recording = explorer.record(with_biases(model), photo(), size)
    made = look_inside(recording)
    readout = Readout(made)
    np.testing.assert_allclose(readout.image(made.stream[-1]), np.array(recording.logits), rtol=1e-4, atol=1e-4)
    tokens = made.stream[-1][0, -3:]
    for token, logits in zip(tokens, readout(tokens), strict=True):
        alike = readout.image(token.expand_as(made.stream[-1]))
        np.testing.assert_allclose(logits, alike, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", ACCOUNTABLE)
def test_families_of_timm(family):
    name = ACCOUNTABLE[family][0]
    module = small_timm(name)
    if not getattr(module, "num_classes", 0):
        module.reset_classifier(5)  # pyright: ignore
    model = wrap_timm(module, name)
    sharpen(module)
    check(model, small_size(model))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_transformers(name):
    import transformers

    torch.manual_seed(0)
    model_type: Any = CLASSIFIERS[name]
    settings: Any = {"vision_config": SMALL} if model_type in ("clip", "siglip") else SMALL
    config = transformers.CONFIG_MAPPING[model_type](**{**settings, "num_labels": 5})
    module = getattr(transformers, name)._from_config(config, attn_implementation="sdpa")
    check(wrap_transformers(module, model_type), 64)
