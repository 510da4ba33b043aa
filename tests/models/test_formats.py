"""Checkpoints of many projects give the numbers that their own code gives; what doesn't fit is named."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import explorer
from explorer.errors import CheckpointError
from explorer.models.backbone import Model
from tests.tiny import photo

SIZE, PATCH, WIDTH, DEPTH = 64, 16, 64, 2
Tensors = dict[str, Tensor]


def randomise(module: nn.Module) -> nn.Module:
    """Every tensor random, norms and biases too, so that a mixed-up key shows."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def plain(**settings: Any) -> Any:
    shape = {
        "img_size": SIZE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": 2,
        "num_classes": 5,
    }
    return randomise(VisionTransformer(**{**shape, **settings}))


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def load(content: Any, folder: Path, name: str = "weights.pth", **hints: Any) -> Model:
    hints = {"num_heads": 2, **hints}
    if name.endswith(".safetensors"):
        save_file(content, folder / name)
    else:
        torch.save(content, folder / name)
    return explorer.load_model(folder / name, device="cpu", **hints)


@torch.no_grad()
def assert_equal(model: Model, reference: Any, atol: float = 1e-5) -> None:
    pixels = model.preprocess(photo())
    tokens, logits = model.forward(pixels)
    torch.testing.assert_close(tokens, reference.forward_features(pixels), atol=atol, rtol=0)
    if reference.num_classes:
        torch.testing.assert_close(logits, reference(pixels), atol=atol, rtol=0)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no classes": {"num_classes": 0},
    "no qkv bias": {"qkv_bias": False},
    "q and k norm": {"qk_norm": True},
    "layer scale": {"init_values": 0.5},
    "registers": {"reg_tokens": 3},
    "registers without positions": {"reg_tokens": 3, "no_embed_class": True},
    "no cls token": {"class_token": False, "global_pool": "avg"},
    "mean of patches": {"global_pool": "avg"},
    "attention pooling": {"class_token": False, "global_pool": "map", "num_classes": 0},
    "narrow MLP": {"mlp_ratio": 2.0},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_state_dicts_of_timm(variant, tmp_path):
    reference = plain(**VARIANTS[variant])
    assert_equal(load(reference.state_dict(), tmp_path), reference)


def test_safetensors_and_half_precision(tmp_path):
    reference = plain()
    assert_equal(load(reference.state_dict(), tmp_path, "weights.safetensors"), reference)
    half = {key: tensor.half() for key, tensor in reference.state_dict().items()}
    assert_equal(load(half, tmp_path, "half.safetensors"), reference, atol=5e-2)


def test_mae_leaves_its_decoder_out(tmp_path):
    reference = plain(num_classes=0)
    decoder = {"decoder_embed.weight": torch.zeros(8, WIDTH), "decoder_blocks.0.norm1.weight": torch.zeros(8)}
    model = load({"model": {**reference.state_dict(), "mask_token": torch.zeros(1, 1, WIDTH), **decoder}}, tmp_path)
    assert_equal(model, reference)
    note = next(note for note in model.notes if note.startswith("Left out"))
    assert "decoder_embed.weight" in note and "mask_token" in note


def test_deit_with_its_distillation_token(tmp_path):
    reference = randomise(
        VisionTransformerDistilled(
            img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=5
        )
    )
    model = load({"model": reference.state_dict(), "epoch": 3, "args": argparse.Namespace(lr=1e-3)}, tmp_path)
    assert model.prefix_tokens == ("cls", "dist")
    assert_equal(model, reference)


@pytest.mark.parametrize("prefix", ["model.", "net.", "module.", "backbone.", "model.backbone.", "_orig_mod."])
def test_lightning_and_other_wrappers(prefix, tmp_path):
    reference = plain()
    content = {
        "state_dict": {**prefixed(prefix, reference.state_dict()), "loss.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.5",
        "optimizer_states": [{"state": {}}],
        "hyper_parameters": {"num_heads": 2},
    }
    model = load(content, tmp_path, num_heads=None)
    assert_equal(model, reference)
    assert model.num_heads == 2, "the file's own hyper_parameters say how many heads"
    assert not any("heads" in note for note in model.notes)


def test_a_classifier_beside_the_backbone_is_used(tmp_path):
    reference = plain()
    inside = {key: t for key, t in reference.state_dict().items() if not key.startswith("head.")}
    head = {"classifier.weight": reference.head.weight.data, "classifier.bias": reference.head.bias.data}
    assert_equal(load({**prefixed("backbone.", inside), **head}, tmp_path), reference)


def test_the_teacher_goes_before_the_student(tmp_path):
    teacher, student = (
        plain(num_classes=0),
        VisionTransformer(img_size=SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=2, num_classes=0),
    )
    content = {
        "student": prefixed("module.backbone.", student.state_dict()),
        "teacher": prefixed("backbone.", teacher.state_dict()),
    }
    assert_equal(load(content, tmp_path), teacher)


def test_dinov2_with_registers_and_chunked_blocks(tmp_path):
    reference = plain(reg_tokens=4, no_embed_class=True, init_values=1.0, num_classes=0)
    tensors = dict(reference.state_dict())
    offset = torch.randn(1, 1, WIDTH)
    tensors["pos_embed"] = torch.cat([offset, tensors["pos_embed"]], dim=1)
    tensors["cls_token"] = tensors["cls_token"] - offset
    tensors["register_tokens"] = tensors.pop("reg_token")
    tensors["mask_token"] = torch.zeros(1, WIDTH)
    chunked = {
        key.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): t for key, t in tensors.items()
    }
    model = load({"model": prefixed("teacher.backbone.", chunked)}, tmp_path)
    assert model.prefix_tokens == ("cls", "reg1", "reg2", "reg3", "reg4")
    assert_equal(model, reference)


def test_torchvision_is_turned_into_timm(tmp_path):
    from torchvision.models import VisionTransformer as TorchvisionViT

    reference: Any = randomise(
        TorchvisionViT(
            image_size=SIZE,
            patch_size=PATCH,
            num_layers=DEPTH,
            num_heads=2,
            hidden_dim=WIDTH,
            mlp_dim=128,
            num_classes=5,
        )
    )
    model = load(reference.state_dict(), tmp_path)
    pixels = model.preprocess(photo())
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=1e-4, rtol=0)
    assert explorer.record(model, photo()).depth == DEPTH


def transformers_model(kind: str) -> Any:
    transformers = pytest.importorskip("transformers")
    shape = {
        "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 2, "intermediate_size": 128,
        "image_size": SIZE, "patch_size": PATCH, "num_labels": 5,
    }  # fmt: skip
    config, cls = {
        "vit": (transformers.ViTConfig, transformers.ViTForImageClassification),
        "deit": (transformers.DeiTConfig, transformers.DeiTForImageClassificationWithTeacher),
        "dinov2": (transformers.Dinov2Config, transformers.Dinov2ForImageClassification),
        "dinov2_with_registers": (
            transformers.Dinov2WithRegistersConfig,
            transformers.Dinov2WithRegistersForImageClassification,
        ),
    }[kind]
    return randomise(cls(config(**shape)))


@pytest.mark.parametrize("spelling", ["in memory", "as saved", "bare"])
@pytest.mark.parametrize("kind", ["vit", "deit", "dinov2", "dinov2_with_registers"])
def test_state_dicts_of_transformers(kind, spelling, tmp_path):
    reference = transformers_model(kind)
    backbone = getattr(reference, kind)
    if spelling == "as saved":  # the names of earlier releases, which files on disk have
        reference.save_pretrained(tmp_path / "saved")
        model = explorer.load_model(tmp_path / "saved" / "model.safetensors", device="cpu", num_heads=2)
    else:
        model = load((reference if spelling == "in memory" else backbone).state_dict(), tmp_path)
    pixels = model.preprocess(photo())
    with torch.no_grad():
        tokens, logits = model.forward(pixels)
        expected = reference(pixel_values=pixels)
        torch.testing.assert_close(tokens, backbone(pixel_values=pixels).last_hidden_state, atol=1e-5, rtol=0)
    if kind in ("vit", "deit") and spelling != "bare":
        assert logits is not None
        torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=0)


def test_an_unknown_family_is_asked_for(tmp_path):
    tensors = plain(num_classes=0).state_dict()
    del tensors["pos_embed"]
    with pytest.raises(CheckpointError, match="name its timm architecture with arch"):
        load({**tensors, "blocks.0.attn.rel_pos.mlp.fc1.weight": torch.ones(4, 2)}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, arch", [("vit_relpos_small_patch16_224", None), ("eva02_tiny_patch14_224", "eva02_tiny_patch14_224")]
)
def test_other_families_of_timm(name, arch, tmp_path):
    reference = randomise(timm.create_model(name, num_classes=0))
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    assert_equal(explorer.load_model(tmp_path / "weights.pth", device="cpu", arch=arch), reference, atol=1e-4)


CASES = ["dino_plain", "dino_training", "dinov2_training", "sovit_best_model"]


@pytest.mark.parametrize("name", CASES)
def test_files_written_by_other_projects(name, shared_data):
    folder = shared_data / "checkpoints"
    expected = np.load(folder / f"{name}.expected.npz")
    model = explorer.load_model(folder / f"{name}.pth", device="cpu", num_heads=int(expected["num_heads"]))
    recording = explorer.record(model, folder / str(expected["input"]))
    if "cls" in expected:
        np.testing.assert_allclose(recording.tokens[0], expected["cls"], atol=1e-4)
    if "patch_tokens" in expected:
        np.testing.assert_allclose(recording.tokens[1:], expected["patch_tokens"], atol=1e-4)
    if "logits" in expected:
        assert recording.logits is not None
        np.testing.assert_allclose(recording.logits, expected["logits"], atol=1e-4)
    if "last_attention" in expected:
        for head, matrix in enumerate(expected["last_attention"]):
            np.testing.assert_allclose(recording.matrix(-1, head), matrix, atol=1e-4)


def test_heads_are_width_over_64_and_the_model_says_so(tmp_path):
    reference = plain(embed_dim=128)
    model = load(reference.state_dict(), tmp_path, num_heads=None)
    assert model.num_heads == 2
    assert any("2 assumed" in note for note in model.notes)
    told = load(reference.state_dict(), tmp_path, num_heads=4)
    assert told.num_heads == 4
    assert not any("heads" in note for note in told.notes)
    with pytest.raises(CheckpointError, match="3 heads don't divide the width 128"):
        load(reference.state_dict(), tmp_path, num_heads=3)


def test_a_missing_or_misshapen_tensor_is_named(tmp_path):
    tensors = plain().state_dict()
    missing = {key: t for key, t in tensors.items() if key != "blocks.1.attn.proj.bias"}
    with pytest.raises(CheckpointError, match=r"blocks\.1\.attn\.proj\.bias is missing"):
        load(missing, tmp_path)
    misshapen = {**tensors, "blocks.0.norm1.weight": torch.ones(WIDTH + 1)}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.norm1\.weight has shape \(65,\), expected \(64,\)"):
        load(misshapen, tmp_path)
    no_norm = {key: t for key, t in tensors.items() if not key.startswith("norm.")}
    with pytest.raises(CheckpointError, match=r"norm\.weight is missing"):
        load(no_norm, tmp_path)
    clip = {"visual.class_embedding": torch.ones(WIDTH), "visual.positional_embedding": torch.ones(17, WIDTH)}
    with pytest.raises(CheckpointError, match="has CLIP's names but not its last norm"):
        load({**clip, "visual.conv1.weight": torch.ones(WIDTH, 3, 8, 8)}, tmp_path)
    no_block = {key: t for key, t in tensors.items() if not key.startswith("blocks.0.")}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.norm1\.weight is missing"):
        load(no_block, tmp_path)


def test_a_tensor_that_changes_the_arithmetic_is_never_left_out(tmp_path):
    tensors = {**plain().state_dict(), "blocks.0.attn.temperature": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"no blocks\.0\.attn\.temperature"):
        load(tensors, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["timm", "dinov2", "transformers"])
def test_no_shape_leads_to_anything_but_a_sentence(kind, tmp_path):
    tensors = plain(reg_tokens=2, init_values=1.0, num_classes=0).state_dict()
    if kind == "dinov2":
        tensors["register_tokens"] = tensors.pop("reg_token")
    if kind == "transformers":
        tensors = transformers_model("vit").vit.state_dict()
    for key in [key for key in tensors if ".1." not in key]:
        for wrong in (torch.tensor(1.0), torch.ones(0, 2, 2), torch.ones(1, 1, 7)):
            with pytest.raises(CheckpointError) as caught:
                load({**tensors, key: wrong}, tmp_path)
            assert "\n" not in str(caught.value)
        with pytest.raises(CheckpointError):
            load({name: tensor for name, tensor in tensors.items() if name != key}, tmp_path)


def test_a_block_with_an_absurd_number(tmp_path):
    with pytest.raises(CheckpointError, match=r"blocks\.2\.norm1\.weight is missing"):
        load({**plain().state_dict(), "blocks.99999999999.norm1.weight": torch.ones(WIDTH)}, tmp_path)


def test_an_oblong_grid_is_asked_for(tmp_path):
    reference = plain(img_size=(32, 96))
    with pytest.raises(CheckpointError, match="with grid, such as 3x4"):
        load(reference.state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match="not 3 x 3"):
        load(reference.state_dict(), tmp_path, grid=(3, 3))
    model = load(reference.state_dict(), tmp_path, grid=(2, 6))
    pixels = torch.randn(1, 3, 32, 96)
    torch.testing.assert_close(model.forward(pixels)[0], reference.forward_features(pixels).detach(), atol=1e-5, rtol=0)


def test_a_thousand_classes_are_named(shared_data):
    model = explorer.load_model(shared_data / "weights" / "deit_tiny_patch16_224.safetensors", device="cpu")
    assert model.class_names is not None and len(model.class_names) == 1000
    assert model.class_names[:2] == ["tench", "goldfish"]
    assert any("ImageNet's" in note for note in model.notes)
    assert (model.num_heads, model.depth, model.patch_size, model.prefix_tokens) == (3, 12, 16, ("cls",))


def test_a_norm_of_each_heads_queries_tells_how_many_there_are(tmp_path):
    reference = plain(qk_norm=True, num_heads=4)
    model = load(reference.state_dict(), tmp_path, num_heads=None)
    assert model.num_heads == 4 and not any("heads" in note for note in model.notes)
    assert_equal(model, reference)


def test_of_i_jepa_and_msn_the_averaged_encoder_is_taken(tmp_path):
    encoder, target = (plain(num_classes=0, class_token=False, global_pool="avg", fc_norm=False) for _ in "12")
    with torch.no_grad():
        target.blocks[0].attn.proj.weight.add_(0.3)
    content = {name: prefixed("module.", kept.state_dict()) for name, kept in
               (("encoder", encoder), ("target_encoder", target))}  # fmt: skip
    model = load(content, tmp_path)
    assert_equal(model, target)
    note = next(note for note in model.notes if "copies of the weights" in note)
    assert "target_encoder.module is taken (the averaged ones, as I-JEPA's and MSN's own" in note


NAMES = ["ant", "bee", "cat", "dog", "St. Bernard"]
NAMED: dict[str, Any] = {
    "list": {"class_names": NAMES},
    "map to indices": {"class_to_idx": {name: index for index, name in enumerate(NAMES)}},
    "map to names": {"hparams": {"idx_to_class": dict(enumerate(NAMES))}},
    "beside another list": {"classes": NAMES, "labels": ["a", "b"]},
}


@pytest.mark.parametrize("kind", NAMED)
def test_class_names_that_the_file_holds(kind, tmp_path):
    model = load({"model_state_dict": plain().state_dict(), **NAMED[kind]}, tmp_path)
    assert model.class_names == NAMES


def test_names_that_the_file_gives_in_two_ways_are_not_guessed(tmp_path):
    content = {"state_dict": plain().state_dict(), "classes": NAMES, "labels": NAMES[::-1]}
    assert load(content, tmp_path).class_names is None


def test_pixels_and_crop_that_a_training_file_says(tmp_path):
    args = argparse.Namespace(mean=(0.4, 0.5, 0.3), std=(0.2, 0.25, 0.3), crop_pct=0.9, interpolation="bilinear")
    model = load({"state_dict": plain().state_dict(), "args": args}, tmp_path)
    assert (model.mean, model.std, model.interpolation) == ((0.4, 0.5, 0.3), (0.2, 0.25, 0.3), "bilinear")
    assert model.geometry is not None and model.geometry.resize == (71, 71)  # floor(64 / 0.9)
    assert not any("normalised" in note for note in model.notes)


def test_another_architecture_in_the_settings_is_no_reason_to_refuse(tmp_path):
    reference = plain()
    assert_equal(load({"state_dict": reference.state_dict(), "args": {"arch": "resnet50"}}, tmp_path), reference)


def test_a_bare_file_of_a_family_that_only_its_config_tells(tmp_path):
    import transformers

    shape: Any = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 96}
    reference = transformers.BeitModel(transformers.BeitConfig(**shape, image_size=SIZE, patch_size=PATCH))
    for arch in (None, "beit_base_patch16_224"):
        with pytest.raises(CheckpointError, match=r"config\.json tells: give the folder that holds both"):
            load(reference.state_dict(), tmp_path, arch=arch)


def test_patches_made_by_several_layers_are_no_missing_patch_embedding(tmp_path):
    tensors = {key: t for key, t in plain().state_dict().items() if not key.startswith("patch_embed")}
    stem = {"patch_embed.proj.0.weight": torch.ones(8, 3, 3, 3), "patch_embed.proj.3.weight": torch.ones(64, 8, 3, 3)}
    with pytest.raises(CheckpointError, match=r"makes its patches by several layers \(patch_embed\.proj\.0\.weight\)"):
        load(tensors | stem, tmp_path)


def test_positions_keep_their_own_size_under_a_named_architecture(tmp_path):
    reference: Any = randomise(timm.create_model("test_vit", img_size=96, num_classes=5))  # which has 160 by itself
    model = load(reference.state_dict(), tmp_path, arch="test_vit")
    assert model.input_size == 96 and not any("interpolated" in note for note in model.notes)
    pixels = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(model.forward(pixels)[0], reference.forward_features(pixels).detach(), atol=1e-5, rtol=0)


def test_patches_are_never_resampled_to_a_named_architecture(tmp_path):
    tensors = timm.create_model("test_vit", patch_size=8, img_size=96).state_dict()
    with pytest.raises(CheckpointError, match=r"has patches of 8 x 8 pixels, test_vit of 16 x 16: name its timm"):
        load(tensors, tmp_path, arch="test_vit")
    oblong = timm.create_model("test_vit", img_size=(32, 96)).state_dict()
    with pytest.raises(CheckpointError, match="positions for 12 patches, which are no square"):
        load(oblong, tmp_path, arch="test_vit")


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
def test_blocks_that_were_compiled_or_wrapped_one_by_one(wrapper, file, tmp_path):
    reference = plain()
    named = {key.replace(".attn.", f".{wrapper}.attn."): t for key, t in reference.state_dict().items()}
    model = load(
        {f"{wrapper}.{key}".replace(".mlp.", f".mlp.{wrapper}."): t for key, t in named.items()}, tmp_path, file
    )
    assert_equal(model, reference)


def test_one_shard_stands_for_all_that_lie_beside_it(tmp_path):
    reference = plain()
    tensors = list(reference.state_dict().items())
    for number, part in enumerate((tensors[:7], tensors[7:]), 1):
        save_file(dict(part), tmp_path / f"model-0000{number}-of-00002.safetensors")
    model = explorer.load_model(tmp_path / "model-00002-of-00002.safetensors", device="cpu", num_heads=2)
    assert_equal(model, reference)
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is one of the 2 files of a model, of which 1 lie there"):
        explorer.load_model(tmp_path / "model-00002-of-00002.safetensors", device="cpu")


def test_a_bias_of_queries_without_that_of_values_is_named(tmp_path):
    tensors = {"patch_embed.proj.weight": torch.ones(64, 3, 16, 16), "blocks.0.attn.q_bias": torch.ones(64)}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.v_bias is missing"):
        load(tensors, tmp_path)


def test_tensors_without_numbers_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"cls_token is without numbers \(on the meta device\)"):
        load(plain().to("meta").state_dict(), tmp_path)


def test_convolutions_that_make_the_patches_of_torchvision_are_named(tmp_path):
    tensors = {"class_token": torch.ones(1, 1, 64), "conv_proj.conv_bn_relu_0.0.weight": torch.ones(8, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"makes its patches by several layers \(conv_proj.conv_bn_relu_0"):
        load(tensors, tmp_path)
