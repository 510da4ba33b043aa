"""The prefix cache holds what the frozen blocks make of each view, and training on it equals the plain loop."""

import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from explorer.errors import PlanError
from explorer.training.cache import CHUNK, PrefixCache, build_cache, finish_cache, plan_layout
from explorer.training.plan import Plan
from explorer.training.split import split_model
from tests.training_help import make_dataset, make_model

NAMES = ["blue", "green", "red"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> list[Path]:
    return sorted(make_dataset(tmp_path_factory.mktemp("data"), per_class=14).rglob("*.png"))


def build(path, split, plan, model, images):
    layout = plan_layout(split, plan, len(images), plan.views)
    done = list(build_cache(path, layout, split, model, images))
    finish_cache(path, layout)
    return PrefixCache(path, layout), done


@pytest.mark.parametrize("train", ["head", "last-1", "last-2", "last-3"])
def test_rows_are_the_prefix_of_each_image_and_its_mirror(tmp_path, images, model, train):
    plan = Plan(train=train).resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    cache, done = build(tmp_path / "train.bin", split, plan, model, images)
    assert done == [CHUNK, len(images)]
    for index, view in ((0, 0), (5, 1), (40, 0), (41, 1)):
        pixels = model.preprocess(images[index], fit="crop")
        expected = split.whole(pixels.flip(-1) if view else pixels)
        row = cache.rows(np.array([index]), np.array([view]))
        torch.testing.assert_close(split(row), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_for_large_token_caches_only(images, model):
    tokens = split_model(model, Plan(train="last-1").resolved(), NAMES, 32, CPU)
    head = split_model(model, Plan().resolved(), NAMES, 32, CPU)
    auto, half = Plan(train="last-1"), Plan(train="last-1", cache_precision="float16")
    assert plan_layout(tokens, auto, 100, 2).dtype == "float32"
    assert plan_layout(tokens, auto, 400_000, 2).dtype == "float16"
    assert plan_layout(tokens, half, 100, 2).dtype == "float16"
    assert plan_layout(head, half, 10**9, 2).dtype == "float32"
    assert plan_layout(tokens, half, 100, 2).bytes == 100 * 2 * 17 * 32 * 2


def test_pixel_cache_normalises_as_the_model_does(tmp_path, images, model):
    plan = Plan(train="all").resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    cache, _ = build(tmp_path / "val.bin", split, plan, model, images)
    assert cache.layout.dtype == "uint8"
    assert torch.equal(model.normalise(cache.rows(np.array([3]))), model.preprocess(images[3], fit="crop"))


def test_a_whole_cache_is_kept_and_another_layout_made_anew(tmp_path, images, model):
    plan = Plan().resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    path = tmp_path / "train.bin"
    build(path, split, plan, model, images)
    written = path.stat().st_mtime_ns
    _, done = build(path, split, plan, model, images)
    assert done == [len(images)] and path.stat().st_mtime_ns == written
    _, done = build(path, split, Plan(augmentation="none").resolved(), model, images)
    assert len(done) == 2


def test_processes_fill_disjoint_rows_of_one_file(tmp_path, images, model):
    plan = Plan(train="last-1").resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    alone, _ = build(tmp_path / "alone.bin", split, plan, model, images)
    layout, path = alone.layout, tmp_path / "shared.bin"
    for rank in (1, 0, 2):
        list(build_cache(path, layout, split, model, images, rank, 3))
    finish_cache(path, layout)
    everything = np.arange(len(images))
    shared = PrefixCache(path, layout).rows(everything, 1)
    torch.testing.assert_close(shared, alone.rows(everything, 1), rtol=1e-5, atol=1e-5)


def resident(path: Path) -> int:
    """Bytes of a mapped file that count as this process's memory."""
    return sum(part.rss for part in psutil.Process().memory_maps() if part.path == str(path))


@pytest.mark.skipif(sys.platform != "linux", reason="reads which pages of a file are in memory as Linux tells it")
def test_read_pages_are_handed_back(tmp_path, images, model, monkeypatch):
    plan = Plan(train="last-1").resolved()
    split = split_model(model, plan, NAMES, 32, CPU)
    cache, _ = build(tmp_path / "train.bin", split, plan, model, images)
    expected = cache.rows(np.arange(10))
    assert resident(tmp_path / "train.bin") >= expected.nbytes
    monkeypatch.setattr("explorer.training.cache.RESIDENT", 0)
    assert torch.equal(cache.rows(np.arange(10)), expected)
    assert resident(tmp_path / "train.bin") == 0
    assert torch.equal(cache.rows(np.arange(10)), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"global_pool": "avg"},
        {"global_pool": "avg", "class_token": False},
        {"reg_tokens": 4, "no_embed_class": True, "init_values": 0.1, "qk_norm": True},
        {"global_pool": "map", "qkv_bias": False},
    ],
)
def test_other_poolings_and_blocks_are_cut_truly(tmp_path, settings):
    other = make_model(tmp_path, **settings)
    pixels = torch.randn(3, 3, 32, 32)
    for train in ("head", "last-1", "last-2"):
        split = split_model(other, Plan(train=train).resolved(), NAMES, 32, CPU)
        torch.testing.assert_close(split(split.prefix(pixels)), split.whole(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["eva02_tiny_patch14_224", "beit_base_patch16_224", "deit_tiny_distilled_patch16_224", "vit_small_patch16_dinov3"],
)
def test_families_with_rotary_positions_shared_biases_and_two_heads(name):
    import timm

    from explorer.models.timm_models import wrap_timm

    size = 28 if "14" in name else 32
    module = timm.create_model(name, depth=2, embed_dim=48, num_heads=3, img_size=size, num_classes=0)
    other = wrap_timm(module, "timm:" + name)
    pixels = torch.randn(2, 3, size, size)
    for train in ("head", "last-1"):
        split = split_model(other, Plan(train=train).resolved(), NAMES, size, CPU)
        split.whole.eval()
        torch.testing.assert_close(split(split.prefix(pixels)), split.whole(pixels), rtol=1e-4, atol=1e-5)


def test_more_blocks_than_the_model_has(model):
    with pytest.raises(PlanError, match="3 blocks"):
        split_model(model, Plan(train="last-4").resolved(), NAMES, 32, CPU)


def test_only_the_wanted_part_is_trained_and_the_model_left_alone(model):
    before = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    split = split_model(model, Plan(train="last-1").resolved(), NAMES, 32, CPU)
    trained = {
        name.split(".")[0] + "." + name.split(".")[1] for name, p in split.whole.named_parameters() if p.requires_grad
    }
    assert trained == {"blocks.2", "norm.weight", "norm.bias", "head.weight", "head.bias"}
    split.train()
    assert split.whole.blocks[2].training and not split.whole.blocks[1].training
    split(split.prefix(torch.randn(2, 3, 32, 32))).sum().backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.module.state_dict().items())


def test_a_head_for_the_same_classes_is_kept(tmp_path):
    from dataclasses import replace

    base = make_model(tmp_path, num_classes=3)
    same = split_model(replace(base, class_names=NAMES), Plan().resolved(), NAMES, 32, CPU)
    other = split_model(replace(base, class_names=["a", "b", "c"]), Plan().resolved(), NAMES, 32, CPU)
    weight = base.module.state_dict()["head.weight"]
    assert torch.equal(same.whole.head.weight, weight)
    assert not torch.equal(other.whole.head.weight, weight)
