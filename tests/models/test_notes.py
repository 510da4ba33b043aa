"""What shapes don't tell is what the file, its project or all published models say; else it is asked for or noted."""

import argparse
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import explorer
from explorer.errors import CheckpointError, UntoldError
from tests.models.test_formats import WIDTH, Tensors, assert_equal, load, plain, prefixed, randomise


class SwiGLUFFN(nn.Module):
    """DINOv2's own gated MLP, written out: w3 (silu(x1) * x2), where w12 gives x1 and x2."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w12, self.w3 = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.w12(x).chunk(2, dim=-1)
        return self.w3(torch.nn.functional.silu(first) * second)


@pytest.mark.parametrize("names", ["DINOv2's", "timm's"])
def test_a_gated_mlp_is_gated_by_silu(names, tmp_path):
    reference = plain(init_values=1.0, num_classes=0)
    for block in reference.blocks:
        block.mlp = SwiGLUFFN(WIDTH, 96)
    randomise(reference)
    tensors = reference.state_dict()
    if names == "timm's":
        tensors = {k.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2"): t for k, t in tensors.items()}
    model = load(tensors, tmp_path)
    assert_equal(model, reference)
    assert any("SiLU assumed" in note for note in model.notes)


def clip_names(tensors: Tensors) -> Tensors:
    """A timm ViT's tensors under the names of OpenAI's CLIP, by hand."""
    names = {
        "patch_embed.proj.": "conv1.", "norm_pre.": "ln_pre.", "norm.": "ln_post.", "blocks.": "transformer.resblocks.",
        ".norm1.": ".ln_1.", ".norm2.": ".ln_2.", ".attn.qkv.": ".attn.in_proj_", ".attn.proj.": ".attn.out_proj.",
        ".mlp.fc1.": ".mlp.c_fc.", ".mlp.fc2.": ".mlp.c_proj.",
    }  # fmt: skip
    renamed: Tensors = {}
    for key, tensor in tensors.items():
        for old, new in names.items():
            key = new + key.removeprefix(old) if not old.startswith(".") and key.startswith(old) else key
            key = key.replace(old, new) if old.startswith(".") else key
        renamed[key] = tensor
    renamed["class_embedding"] = renamed.pop("cls_token").flatten()
    renamed["positional_embedding"] = renamed.pop("pos_embed")[0]
    return prefixed("visual.", renamed | {"proj": torch.randn(WIDTH, 32)})


def clip(activation: str) -> Any:
    norm = partial(torch.nn.LayerNorm, eps=1e-5)
    return plain(pre_norm=True, num_classes=0, act_layer=activation, norm_layer=norm)


TEXT = {"token_embedding.weight": torch.ones(7, 8), "positional_embedding": torch.ones(3, 8)}


def test_a_clip_is_asked_for_its_activation(tmp_path):
    content = {"epoch": 3, "state_dict": prefixed("module.", clip_names(clip("gelu").state_dict()) | TEXT)}
    with pytest.raises(UntoldError, match=r"CLIP and doesn't say .* say with arch, vit_base_patch16_clip_quickgelu"):
        load(content, tmp_path, "epoch_3.pt")
    for activation, word in (("quick_gelu", "quickgelu_"), ("gelu", "")):
        arch = f"vit_base_patch16_clip_{word}224"
        reference = clip(activation)
        content["state_dict"] = prefixed("module.", clip_names(reference.state_dict()) | TEXT)
        model = load(content, tmp_path, "epoch_3.pt", arch=arch)
        assert_equal(model, reference)
        assert model.mean[0] == pytest.approx(0.48145466) and model.class_names is None


@pytest.mark.parametrize(
    "name, activation",
    [("2024_05_01-model_ViT-B-32-quickgelu-lr_0.001", "quick_gelu"), ("2024-model_ViT-B-32-lr_0.001", "gelu")],
)
def test_open_clip_says_its_activation_in_the_runs_name(name, activation, tmp_path):
    reference = clip(activation)
    content = {"name": name, "state_dict": prefixed("module.", clip_names(reference.state_dict()) | TEXT)}
    model = load(content, tmp_path, "epoch_3.pt")
    assert_equal(model, reference)
    # one that began with OpenAI's weights has QuickGELU under the same name
    assert any("if it began with OpenAI's" in note for note in model.notes) == (activation == "gelu")


def test_a_coca_is_called_so(tmp_path):
    pool = {"visual.attn_pool.query": torch.ones(8, 32), "visual.ln_post.weight": torch.ones(32)}
    with pytest.raises(CheckpointError, match="image half of a CoCa, which pools its tokens by attention"):
        load(clip_names(clip("gelu").state_dict()) | pool, tmp_path)


def test_openai_clip_has_quick_gelu(tmp_path):
    reference = clip("quick_gelu")
    sizes = {"context_length": torch.tensor(77), "vocab_size": torch.tensor(49408)}
    assert_equal(load(clip_names(reference.state_dict()) | TEXT | sizes, tmp_path), reference)


@pytest.mark.parametrize("setting", [{"hidden_act": "quick_gelu"}, {"args": {"act_layer": "quick_gelu"}}])
def test_the_file_says_its_activation(setting, tmp_path):
    reference = plain(act_layer="quick_gelu")
    model = load({"model": reference.state_dict(), **setting}, tmp_path)
    assert_equal(model, reference)
    assert not any("GELU" in note for note in model.notes)


def test_what_nobody_says_is_noted_once_each(tmp_path):
    notes = load(plain().state_dict(), tmp_path, num_heads=None).notes
    for words in ("how many heads", "GELU assumed", "1e-06 assumed", "cls token assumed", "4 x 4 patches assumed"):
        assert sum(words in note for note in notes) == 1, words


def test_published_shapes_need_no_notes_but_heads_and_pixels(tmp_path):
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), tmp_path / "tiny.pth")
    notes = explorer.load_model(tmp_path / "tiny.pth", device="cpu").notes
    assert [note.split(":")[0] for note in notes] == [
        "The file doesn't say how many heads", "The file doesn't say how pixels are normalised",
    ]  # fmt: skip


HEADS = [
    ({"hyper_parameters": {"text": {"num_heads": 8}, "vision": {"num_heads": 4}}}, 4),
    ({"hyper_parameters": {"decoder": {"num_heads": 8}, "num_heads": 4}}, 4),
    ({"config": {"decoder": {"num_attention_heads": 8}, "encoder": {"num_attention_heads": 4}}}, 4),
    ({"args": {"num_heads": 7}}, 1),  # doesn't divide the width: that of something else
]


@pytest.mark.parametrize("settings, heads", HEADS)
def test_the_backbones_own_number_of_heads_is_taken(settings, heads, tmp_path):
    model = load({"state_dict": plain(num_heads=4).state_dict(), **settings}, tmp_path, num_heads=None)
    assert model.num_heads == heads


def test_two_numbers_of_heads_are_asked_about(tmp_path):
    content = {"state_dict": plain().state_dict(), "one": {"num_heads": 2}, "two": {"num_heads": 4}}
    with pytest.raises(UntoldError, match=r"several numbers of heads \(2, 4\): say the right one with num_heads"):
        load(content, tmp_path, num_heads=None)


@pytest.mark.parametrize("width, heads", [(1152, 16), (1280, 16), (1408, 16), (1664, 16), (1024, 16), (640, 10)])
def test_heads_of_published_widths(width, heads, tmp_path):
    reference = plain(embed_dim=width, depth=1, num_heads=heads, num_classes=0, mlp_ratio=1.0)
    assert load(reference.state_dict(), tmp_path, num_heads=None).num_heads == heads


def test_an_unpublished_large_width_is_asked_about(tmp_path):
    tensors = plain(embed_dim=1536, depth=1, num_heads=16, num_classes=0, mlp_ratio=1.0).state_dict()
    with pytest.raises(UntoldError, match="models of width 1536 differ: say it with num_heads"):
        load(tensors, tmp_path, num_heads=None)


def test_a_square_number_of_positions_may_be_an_oblong_grid_and_cls(tmp_path):
    reference = plain(img_size=(48, 80))  # 3 x 5 patches and cls: 16 positions, as of 4 x 4 without
    with pytest.raises(UntoldError, match=r"for 16 patches or for 15 and 1 more tokens.*with grid, such as 3x5 or 4x4"):
        load(reference.state_dict(), tmp_path)
    pixels = torch.randn(1, 3, 48, 80)
    for content in (reference.state_dict(), {"model": reference.state_dict(), "args": {"img_size": [48, 80]}}):
        grid = None if "args" in content else "3x5"
        tokens = load(content, tmp_path, grid=grid).forward(pixels)[0]
        torch.testing.assert_close(tokens, reference.forward_features(pixels).detach(), atol=1e-5, rtol=0)


def test_pooling_and_epsilon_that_the_file_says(tmp_path):
    reference = plain(global_pool="avg", fc_norm=False, norm_layer=partial(torch.nn.LayerNorm, eps=1e-2))
    content = {"model": reference.state_dict(), "args": {"global_pool": "avg", "layer_norm_eps": 1e-2}}
    assert_equal(load(content, tmp_path), reference)


def test_a_training_file_that_names_its_architecture_needs_no_hints(tmp_path):
    reference = timm.create_model("test_vit", num_classes=5).eval()  # 2 heads of width 32
    model = load({"state_dict": reference.state_dict(), "arch": "test_vit"}, tmp_path, num_heads=None)
    assert model.num_heads == 2 and not any("heads" in note for note in model.notes)


def copies() -> tuple[Any, Any, dict[str, Any]]:
    averaged, newest = plain(), plain(num_classes=5)
    newest.load_state_dict({key: tensor * 1.5 for key, tensor in newest.state_dict().items()})
    return averaged, newest, {"state_dict": newest.state_dict(), "state_dict_ema": averaged.state_dict()}


def test_the_averaged_copy_is_taken_as_timm_does_and_the_other_can_be_had(tmp_path):
    from timm.models import load_state_dict

    averaged, newest, content = copies()
    model = load(content, tmp_path, "best.pth.tar")
    assert_equal(model, averaged)
    its = load_state_dict(str(tmp_path / "best.pth.tar"))
    assert torch.equal(its["norm.weight"], model.module.state_dict()["norm.weight"])
    note = next(note for note in model.notes if "2 copies" in note)
    assert "state_dict_ema is taken (the averaged ones" in note and "best.pth.tar#state_dict" in note
    assert not any("no place" in note for note in model.notes)
    other = explorer.load_model(f"{tmp_path}/best.pth.tar#state_dict", device="cpu", num_heads=2)
    assert_equal(other, newest)
    with pytest.raises(CheckpointError, match="no weights named 'nothing'"):
        explorer.load_model(f"{tmp_path}/best.pth.tar#nothing", device="cpu", num_heads=2)


def mae_pytorch(tensors: Tensors) -> Tensors:
    renamed: Tensors = {}
    for key, tensor in tensors.items():
        if key.endswith("qkv.bias"):
            q, _, v = tensor.chunk(3)
            renamed |= {key.replace("qkv.bias", "q_bias"): q, key.replace("qkv.bias", "v_bias"): v}
        elif key != "pos_embed":
            renamed[key] = tensor
    return renamed


def sines(count: int, width: int) -> Tensor:
    """MAE-pytorch's get_sinusoid_encoding_table, as its code computes it."""
    import numpy as np

    table = np.array([[place / np.power(10000, 2 * (j // 2) / width) for j in range(width)] for place in range(count)])
    table[:, 0::2], table[:, 1::2] = np.sin(table[:, 0::2]), np.cos(table[:, 1::2])
    return torch.tensor(table, dtype=torch.float32)[None]


def test_mae_pytorch_computes_its_positions(tmp_path):
    reference = plain(class_token=False, global_pool="avg", fc_norm=False, num_classes=0, img_size=224)
    for block in reference.blocks:
        block.attn.qkv.bias.data[WIDTH : 2 * WIDTH] = 0
    reference.pos_embed.data = sines(14 * 14, WIDTH)
    tensors = prefixed("encoder.", mae_pytorch(reference.state_dict()))
    model = load({"model": tensors | {"encoder_to_decoder.weight": torch.ones(8, WIDTH)}}, tmp_path)
    assert_equal(model, reference, atol=1e-4)
    assert any("sines" in note for note in model.notes)


PIXELS = torch.zeros(1, 3, 64, 64)


@pytest.mark.slow
def test_the_architecture_that_a_training_file_names_decides_what_shapes_do_not(tmp_path):
    reference = timm.create_model("vit_small_patch16_rope_ape_224", num_classes=0)
    content = {"state_dict": randomise(reference).state_dict(), "arch": "vit_small_patch16_rope_ape_224"}
    assert_equal(load(content, tmp_path, num_heads=None), reference, atol=1e-4)


@pytest.mark.slow
def test_files_that_may_be_deit_3_or_rotary_say_so(tmp_path):
    reference = timm.create_model("vit_small_patch16_rope_ape_224", num_classes=0)
    tensors = randomise(reference).state_dict()
    notes = load(tensors, tmp_path, num_heads=None).notes
    assert "Taken for DeiT III; if it has rotary positions, say arch vit_small_patch16_rope_ape_224." in notes
    model = load(tensors, tmp_path, num_heads=None, arch="vit_small_patch16_rope_ape_224")
    assert_equal(model, reference, atol=1e-4)
    assert not any("DeiT III" in note for note in model.notes)


@pytest.mark.slow
def test_a_named_architecture_with_changed_settings_still_says_its_activation(tmp_path):
    norm = partial(nn.LayerNorm, eps=1e-5)
    reference = plain(act_layer="quick_gelu", global_pool="avg", fc_norm=False, norm_layer=norm)
    content = {"state_dict": reference.state_dict(), "args": {"model": "vit_base_patch16_224", "gp": "avg"}}
    assert not torch.equal(load(content, tmp_path).forward(PIXELS)[0], reference.forward_features(PIXELS))
    content["args"]["model"] = "vit_base_patch16_clip_quickgelu_224"
    assert_equal(load(content, tmp_path), reference)


def test_norms_behind_attention_are_asked_about(tmp_path):
    reference = timm.create_model("vit_base_patch16_rpn_224", num_classes=0, depth=2, embed_dim=64, num_heads=2)
    with pytest.raises(UntoldError, match=r"norms stand before or behind .* vit_base_patch16_rpn_224"):
        load(reference.state_dict(), tmp_path)


def test_moco_v3_has_twelve_heads_and_mae_of_its_width_is_asked_about(tmp_path):
    tensors = timm.create_model("vit_small_patch16_224", num_classes=0, depth=2).state_dict()
    both = prefixed("module.base_encoder.", tensors) | prefixed("module.momentum_encoder.", tensors)
    model = load({"state_dict": both, "arch": "vit_small"}, tmp_path, num_heads=None)
    assert model.num_heads == 12 and any("2 copies" in note for note in model.notes)
    tensors["pos_embed"][:, 0] = 0  # computed positions leave cls without one
    with pytest.raises(UntoldError, match="MoCo v3's models of width 384 have 12 and others 6"):
        load(tensors, tmp_path, num_heads=None)
    assert load(tensors, tmp_path, num_heads=6).num_heads == 6


def test_a_larger_teacher_is_no_average_of_its_student(tmp_path):
    student, teacher = plain(num_classes=0), plain(num_classes=0, embed_dim=128)
    content = prefixed("student.", student.state_dict()) | prefixed("teacher.", teacher.state_dict())
    model = load({"state_dict": content}, tmp_path)
    assert_equal(model, student)
    assert any("other models, too: they open as weights.pth#state_dict.teacher" in note for note in model.notes)
    again = explorer.load_model(f"{tmp_path}/weights.pth#state_dict.teacher", device="cpu", num_heads=2)
    assert_equal(again, teacher)


def test_mmengine_puts_the_averaged_weights_where_others_put_the_newest(tmp_path):
    averaged, newest = plain(), plain(num_classes=5, drop_rate=0.1)
    torch.nn.init.normal_(newest.blocks[0].attn.qkv.weight)
    ema = {"steps": torch.tensor(7), **prefixed("module.backbone.", newest.state_dict())}
    content = {"state_dict": prefixed("backbone.", averaged.state_dict()), "ema_state_dict": ema}
    model = load(content, tmp_path)
    assert_equal(model, averaged)
    assert any("the averaged ones, where MMEngine puts them" in note for note in model.notes)


@pytest.mark.slow
def test_patches_averaged_without_cls_are_siglips_or_asked_about(tmp_path):
    settings: Any = {"class_token": False, "global_pool": "avg", "fc_norm": False, "num_classes": 0, "depth": 12}
    settings |= {"embed_dim": 768, "num_heads": 12, "mlp_ratio": 0.25}
    notes = load(plain(**settings, patch_size=32, img_size=256, act_layer="gelu_tanh").state_dict(), tmp_path).notes
    assert not any("GELU" in note for note in notes), "known from SigLIP's published models"
    with pytest.raises(UntoldError, match=r"vit_base_patch16_gap_224 has 16 and vit_base_patch16_siglip_gap_224 12"):
        load(plain(**settings, img_size=224).state_dict(), tmp_path, num_heads=None)


TEST_VIT: Any = timm.get_pretrained_cfg("test_vit")
ARGUMENTS: list[dict[str, Any]] = [
    {"act_layer": "relu"},
    {"norm_layer": "rmsnorm"},
    {"init_values": 0.1, "reg_tokens": 2},
    {"pre_norm": True, "depth": 3},
    {"num_heads": 4, "final_norm": False},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_a_training_file_of_timm_is_built_with_its_own_arguments(arguments, tmp_path):
    reference = randomise(timm.create_model("test_vit", num_classes=5, img_size=64, **arguments))
    said = {
        "pretrained": True,
        "drop_path_rate": None,
        **arguments,
    }  # what train.py passes on, and may be set elsewhere
    args = argparse.Namespace(model="hf-hub:timm/test_vit.r160_in1k", img_size=64, model_kwargs=said)
    model = load({"state_dict": reference.state_dict(), "args": args}, tmp_path, num_heads=None)
    assert_equal(model, reference)
    assert model.mean == tuple(TEST_VIT.mean) != (0.485, 0.456, 0.406)
    assert not any("assumed" in note for note in model.notes)


def test_an_architecture_that_was_changed_by_hand_keeps_its_pixels(tmp_path):
    reference = plain()
    args = argparse.Namespace(model="test_vit.my_tag", img_size=64)
    model = load({"model": reference.state_dict(), "args": args}, tmp_path, num_heads=None)
    assert_equal(model, reference)
    assert model.mean == tuple(TEST_VIT.mean)


def test_what_timm_refuses_is_said_with_its_reason(tmp_path):
    tensors = {
        "patch_embed.proj.weight": torch.ones(768, 3, 16, 16),
        "blocks.0.attn.relative_position_bias_table": torch.ones(1),
    }
    args = argparse.Namespace(model="beit_base_patch16_224", gp="max")
    with pytest.raises(
        CheckpointError, match=r"build beit_base_patch16_224 with .*pool max \(Only avg or token pooling"
    ):
        load({"model": tensors, "args": args}, tmp_path, num_heads=None)


@pytest.mark.parametrize("name", ["swa_model", "averaged_model", "shadow"])
def test_an_averaged_copy_by_any_of_its_names(name, tmp_path):
    newest, averaged = plain(), plain()
    averaged.cls_token.data += 1
    copy = {"n_averaged": torch.tensor(3), **prefixed("module.", averaged.state_dict())}
    model = load({"model": newest.state_dict(), name: copy}, tmp_path)
    assert_equal(model, averaged)
    assert any(f"{name}.module is taken (the averaged ones" in note for note in model.notes)
