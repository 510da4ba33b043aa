"""Every family of transformers becomes a timm model of the same arithmetic, is trained behind a cut, opens again."""

from typing import Any

import numpy as np
import pytest
import timm
import torch

import explorer
from explorer.errors import ExplorerError, PlanError
from explorer.models.backbone import Model
from explorer.models.onnx import export_onnx
from explorer.models.source import TrainedFrom
from explorer.models.timm_models import create_timm, wrap_timm
from explorer.models.trainable import trainable_copy
from explorer.models.transformers_models import FAMILIES, create_transformers, wrap_transformers
from explorer.training.checkpoints import save_model
from explorer.training.finetune import finetune
from explorer.training.plan import Plan
from explorer.training.split import split_model
from tests.models.test_families import small_size, small_timm
from tests.training_help import make_dataset

pytestmark = pytest.mark.slow

SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
NAMES = ["blue", "green", "red"]
OTHER = [  # settings under which a family computes something else
    ("clip_vision_model", {"hidden_act": "gelu"}),
    ("siglip_vision_model", {"vision_use_head": False}),
    ("beit", {"use_relative_position_bias": True, "use_mean_pooling": False}),
    ("beit", {"use_shared_relative_position_bias": True, "use_absolute_position_embeddings": True}),
    ("data2vec-vision", {"use_relative_position_bias": True, "layer_scale_init_value": 0.0}),
    ("dinov3_vit", {"use_gated_mlp": True, "hidden_act": "silu", "query_bias": False, "value_bias": False}),
]


def base_of(kind: str, **settings) -> Model:
    """Random weights, large enough that an epsilon beside them is nothing."""
    shape = {**SIZE, "intermediate_size": 64, "mlp_ratio": 2, **settings}
    torch.manual_seed(0)
    module = create_transformers(kind, **({"vision_config": shape} if kind in ("clip", "siglip") else shape))
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return wrap_transformers(module, f"hf:{kind}")


def pixels(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data"), per_class=4)


@pytest.mark.parametrize("kind, settings", [*((kind, {}) for kind in FAMILIES), *OTHER])
@torch.no_grad()
def test_tokens_and_pooled_feature_are_the_models_own(kind, settings):
    base = base_of(kind, **settings)
    whole: Any = trainable_copy(base).eval()
    tokens = whole.forward_features(pixels(1))
    torch.testing.assert_close(tokens, base.forward(pixels(1))[0], rtol=0, atol=1e-3)
    if kind.startswith(("clip", "siglip", "beit", "dinov3")) and settings.get("vision_use_head", True):
        pooled = base.module(pixel_values=pixels(1)).pooler_output
        torch.testing.assert_close(whole.forward_head(tokens, pre_logits=True), pooled, rtol=0, atol=1e-3)


@torch.no_grad()
def logits_of(folder) -> dict[str, torch.Tensor]:
    """Of timm, transformers and the explorer."""
    from transformers import AutoModelForImageClassification

    opened = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert [opened.config.id2label[index] for index in range(3)] == NAMES
    model = explorer.load_model(folder, device="cpu")
    assert model.class_names == NAMES
    rows = [model.forward(row[None])[1] for row in pixels()]
    return {
        "timm": timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(pixels()),
        "transformers": opened(pixels()).logits,
        "explorer": torch.cat([row for row in rows if row is not None]),
    }


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_a_fine_tuned_model_opens_everywhere_with_the_same_logits(tmp_path, data, kind):
    result = finetune(data, base_of(kind), Plan(train="last-1", epochs=1, augmentation="none"), tmp_path / "run")
    assert result.checkpoint is not None
    logits = logits_of(result.checkpoint)
    for library in ("transformers", "explorer"):
        torch.testing.assert_close(logits[library], logits["timm"], rtol=0, atol=1e-4)
    recording = explorer.record(explorer.load_model(result.checkpoint, device="cpu"), data / "red" / "0.png")
    assert recording.grid == (4, 4) and recording.depth == 2


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model", "beit", "dinov3_vit"])
@pytest.mark.parametrize("train, cut", [("head", "feature"), ("last-1", "tokens"), ("all", "pixels")])
@torch.no_grad()
def test_the_frozen_part_runs_once_an_image(kind, train, cut):
    split = split_model(base_of(kind), Plan(train=train, augmentation="none"), NAMES, 32, torch.device("cpu"))
    assert split.kind == cut
    torch.testing.assert_close(split(split.prefix(pixels())), split.whole(pixels()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["siglip_vision_model", "beit", "dinov3_vit"])
def test_another_input_size_is_kept_in_the_checkpoint(tmp_path, data, kind):
    settings = {"use_relative_position_bias": True} if kind == "beit" else {}
    result = finetune(data, base_of(kind, **settings), Plan(epochs=1, image_size=48), tmp_path / "run")
    model = explorer.load_model(result.checkpoint or "", device="cpu")
    assert model.input_size == 48
    assert explorer.record(model, data / "red" / "0.png").grid == (6, 6)


def test_a_trained_classifier_keeps_its_head_where_timm_pools_alike():
    from transformers import BeitConfig, BeitForImageClassification

    torch.manual_seed(0)
    labels = dict(enumerate(NAMES))
    module = BeitForImageClassification._from_config(
        BeitConfig(**SIZE, intermediate_size=64, id2label=labels, label2id={name: i for i, name in labels.items()})
    )
    base = wrap_transformers(module, "hf:beit")
    split = split_model(base, Plan(), NAMES, 32, torch.device("cpu"))
    with torch.no_grad():
        expected = base.forward(pixels(1))[1]
        torch.testing.assert_close(split.whole(pixels(1)), expected, rtol=0, atol=1e-4)


def test_onnx_of_rotary_positions(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    whole = split_model(base_of("dinov3_vit"), Plan(), NAMES, 32, torch.device("cpu")).whole
    session = onnxruntime.InferenceSession(export_onnx(whole, tmp_path / "model.onnx", 32))
    (got,) = session.run(["logits"], {"pixels": pixels().numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, whole(pixels()).numpy(), atol=1e-4)


def test_arithmetic_that_timm_has_not_is_refused_with_the_reason():
    with pytest.raises(PlanError, match="keys have a bias, which timm's form of it has not"):
        trainable_copy(base_of("dinov3_vit", key_bias=True))
    with pytest.raises(PlanError, match="computes something else"):
        trainable_copy(base_of("beit", hidden_act="relu"))


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_resnet26d_224", "deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m", "naflexvit_base_patch16_gap",
        "vitamin_small_224", "vit_relpos_base_patch16_224", "beitv2_base_patch16_224", "eva02_tiny_patch14_224",
    ],
)  # fmt: skip
def test_every_family_of_timm_is_cut_saved_and_opened_again(tmp_path, name):
    base = wrap_timm(small_timm(name), name)
    size = small_size(base) or base.input_size
    for train in ("head", "last-1", "all"):
        split = split_model(base, Plan(train=train, augmentation="none"), NAMES, size, torch.device("cpu"))
        assert split.kind == {"head": "feature", "last-1": "tokens", "all": "pixels"}[train]
    origin = TrainedFrom(base.source, "photos.zip", "saved")
    save_model(tmp_path / "saved", split.whole, base, size, NAMES, origin)
    inputs = torch.randn(1, 3, size, size)
    with torch.no_grad():
        got = explorer.load_model(tmp_path / "saved", device="cpu").forward(inputs)[1]
        torch.testing.assert_close(got, split.whole(inputs), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name, words",
    [("qwen3_vit_88m_enc", "without _enc"), ("deepseek_vit_412m_align", "Pick a variant without pooling")],
)
def test_encoders_without_a_classifier_and_merged_tokens_are_refused(name, words):
    base = wrap_timm(small_timm(name), name)
    with pytest.raises(ExplorerError, match=words):
        split_model(base, Plan(train="last-1"), NAMES, 6 * base.patch_size, torch.device("cpu"))


def test_mae_of_timm_has_no_head_and_trains(tmp_path, data):
    torch.manual_seed(0)
    shape: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    base = wrap_timm(create_timm("vit_base_patch16_224.mae", **shape), "timm:vit_base_patch16_224.mae")
    assert base.class_names is None and base.forward(pixels(1))[1] is None
    result = finetune(data, base, Plan(train="last-1", epochs=1), tmp_path / "run")
    logits = logits_of(result.checkpoint)
    torch.testing.assert_close(logits["transformers"], logits["timm"], rtol=0, atol=1e-4)
