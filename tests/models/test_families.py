"""Every family against its own explicit softmax(q k^T), to 1e-5: the library's unfused code is the reference."""

import re
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models import model_entrypoint
from torch import nn

import explorer
from explorer.errors import ModelError, UnsupportedModelError
from explorer.models.backbone import Model
from explorer.models.timm_models import BLOCK_REASONS, PLAIN_MODULES, REASONS, create_timm, wrap_timm
from explorer.models.transformers_models import create_transformers, wrap_transformers
from tests.conftest import REPOSITORY
from tests.tiny import photo

pytestmark = pytest.mark.slow

SHARPENED = re.compile(r"\b(qkv|q_proj|k_proj|query|key|in_proj)(\.weight|_weight)$")
BIASES = re.compile(r"relative_position_bias_table$|rel_pos\.mlp\.fc2\.weight$")


def sharpen(module: nn.Module) -> None:
    """Fresh weights attend nearly evenly: make q, k and biases large enough that a wrong map would show."""
    for name, parameter in module.named_parameters():
        if SHARPENED.search(name) and parameter.ndim == 2:
            parameter.normal_(std=1.2 / parameter.shape[1] ** 0.5)
        elif BIASES.search(name):
            parameter.normal_(std=1.5)


def small_timm(name: str) -> nn.Module:
    """timm's architecture at depth 2 and width 64, where it takes these, else at depth 2."""
    torch.manual_seed(0)
    narrow: dict[str, Any] = {"depth": 2, "embed_dim": 64, "num_heads": 4}
    tries: list[dict[str, Any]] = [
        narrow,
        {**narrow, "num_kv_heads": (4, 2)},
        {"depth": 2, "hidden_dim": 64, "num_heads": 4},
    ]
    for settings in tries:
        try:
            return create_timm(name, **settings)
        except (ModelError, TypeError, AssertionError, RuntimeError):
            continue
    return create_timm(name, depth=2)


def unfused_patterns(model: Model, size: int | None) -> list[np.ndarray]:
    """Per layer "head query key": what timm's code computes with fused attention off, caught at its dropout."""
    seen: list[np.ndarray] = []
    parts = [(name, part) for name, part in model.module.named_modules() if re.search(r"blocks\..*attn_drop$", name)]
    handles = [part.register_forward_hook(lambda m, args, out: seen.append(out[0].numpy())) for _, part in parts]
    switches: list[Any] = [part for part in model.module.modules() if hasattr(part, "fused_attn")]
    for part in switches:
        part.fused_attn = False
    with torch.no_grad():
        model.forward(model.preprocess(photo(), size))
    for part in switches:
        part.fused_attn = True
    for handle in handles:
        handle.remove()
    return seen


def block_norms(model: Model, size: int | None) -> np.ndarray:
    """(depth + 1, tokens): norms at every block's input and the last block's output, by hooks."""
    seen: list[torch.Tensor] = []
    trunk: Any = getattr(model.module, "encoder", model.module)
    handles = [b.register_forward_pre_hook(lambda m, args: seen.append(args[0][0].norm(dim=-1))) for b in trunk.blocks]
    handles += [trunk.blocks[-1].register_forward_hook(lambda m, args, out: seen.append(out[0].norm(dim=-1)))]
    with torch.no_grad():
        model.forward(model.preprocess(photo(), size))
    for handle in handles:
        handle.remove()
    return torch.stack(seen).numpy()


def small_size(model: Model) -> int | None:
    """Six patches a side for models that take any size (three pooled by three is a whole number, too)."""
    adapter: Any = model.adapter
    return None if adapter.fixed_size else 6 * model.patch_size


def check_timm(name: str) -> explorer.Recording:
    """Record a small copy of timm's architecture and compare it with its own unfused code."""
    module = small_timm(name)
    model = wrap_timm(module, name)
    sharpen(module)
    size = small_size(model)
    recording = explorer.record(model, photo(), size)
    calls = unfused_patterns(model, size)
    patterns = [np.concatenate(side_by_side) for side_by_side in zip(*[iter(calls)] * model.parallel, strict=True)]
    assert len(patterns) == recording.depth == model.depth == 2
    for layer, pattern in enumerate(patterns):
        got = np.stack([recording.matrix(layer, head) for head in range(model.num_heads)])
        np.testing.assert_allclose(got, pattern, atol=1e-5)
        patch = (1, 2)
        index = len(model.prefix_tokens) + recording.grid[1] + 2
        np.testing.assert_allclose(recording.rows(layer, patch), pattern[:, index], atol=1e-5)
        assert pattern.max() > 1.2 / pattern.shape[-1], "the attention is flat: the check says nothing"
    norms = np.stack([recording.token_norms(layer) for layer in range(3)])
    np.testing.assert_allclose(norms, block_norms(model, size), rtol=1e-4)
    return recording


NAMED = {
    "VisionTransformer": ("vit_small_patch16_224", ("cls",)),
    "DeiT": ("deit_tiny_patch16_224", ("cls",)),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", ("cls", "dist")),
    "DeiT 3": ("deit3_small_patch16_224", ("cls",)),
    "DINOv2": ("vit_small_patch14_dinov2", ("cls",)),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", ("cls", "reg1", "reg2", "reg3", "reg4")),
    "DINOv3": ("vit_small_patch16_dinov3", ("cls", "reg1", "reg2", "reg3", "reg4")),
    "EVA02": ("eva02_tiny_patch14_224", ("cls",)),
    "BEiT": ("beit_base_patch16_224", ("cls",)),
    "BEiT v2": ("beitv2_base_patch16_224", ("cls",)),
    "relative position": ("vit_relpos_small_patch16_224", ()),
    "relative position, cls": ("vit_relpos_base_patch16_cls_224", ("cls",)),
    "relative position, post-norm": ("vit_relpos_base_patch16_rpn_224", ()),
    "relative position, shared": ("vit_srelpos_small_patch16_224", ()),
    "CLIP": ("vit_base_patch16_clip_224", ("cls",)),
    "SigLIP": ("vit_base_patch16_siglip_224", ()),
    "NaFlexViT": ("naflexvit_base_patch16_gap", ("reg1", "reg2", "reg3", "reg4")),
    "NaFlexViT SigLIP": ("naflexvit_base_patch16_siglip", ()),
    "mixed rotary": ("vit_small_patch16_rope_mixed_224", ("cls",)),
    "attentions side by side": ("vit_small_patch16_18x2_224", ("cls",)),
    "grouped queries": ("vit_base_patch16_sapiens2", None),
}
# Those in which a layer is one attention: gradients and what looks into layers have no formula for several.
ACCOUNTABLE = {family: row for family, row in NAMED.items() if family != "attentions side by side"}


@pytest.mark.parametrize("family", NAMED)
def test_named_families_of_timm(family):
    name, prefix_tokens = NAMED[family]
    recording = check_timm(name)
    assert prefix_tokens is None or recording.prefix_tokens == prefix_tokens
    assert (recording.bias(0) is not None) == (family.startswith(("BEiT", "relative")))


@cache
def architectures() -> dict[str, list[str]]:
    """timm's architectures of plain ViTs by the module that lists them."""
    by_module: dict[str, list[str]] = {module: [] for module in PLAIN_MODULES}
    for name in timm.list_models():
        module = model_entrypoint(name).__module__.rpartition(".")[2]
        if module in by_module:
            by_module[module].append(name)
    return by_module


def trait(name: str) -> tuple:
    """What sets an architecture apart: its classes, its prefix tokens and its pooling, found without any weights."""
    with torch.device("meta"):
        module: Any = small_timm(name)
    trunk = getattr(module, "encoder", module)
    classes = frozenset(type(part).__name__ for part in module.modules())
    return classes, getattr(trunk, "num_prefix_tokens", 0), getattr(module, "global_pool", ""), "enc" in name


REFUSED = {
    "deepseek_vit_412m_align": "one token each",
    "qwen3_vit_88m_merge": "one token each",
    "vit_dlittle_patch16_reg1_gap_256": "differential attention",
    "vit_dpwee_patch16_reg1_gap_256": "differential attention",
}


@pytest.mark.parametrize("module", PLAIN_MODULES)
def test_every_family_that_timm_lists(module, capsys):
    names = architectures()[module]
    first: dict[tuple, str] = {}
    for name in names:
        first.setdefault(trait(name), name)
    outcome: Counter[str] = Counter()
    for name in first.values():
        if name in REFUSED:
            with pytest.raises(ModelError, match=REFUSED[name]):
                explorer.record(wrap_timm(small_timm(name), name), photo())
            outcome["refused"] += 1
        else:
            check_timm(name)
            outcome["covered"] += 1
    with capsys.disabled():
        print(f"\n{module}: {len(names)} architectures of {len(first)} kinds, {dict(outcome)}")
    assert outcome["covered"] > 0


@pytest.mark.parametrize(
    "name,reason",
    [
        ("swin_tiny_patch4_window7_224", "windows"),
        ("xcit_nano_12_p8_224", "channels"),
        ("cait_xxs24_224", "talking heads"),
        ("hiera_tiny_224", "pooled"),
        ("samvit_base_patch16", "windows"),
        ("resnet18", "plain Vision Transformer"),
    ],
)
def test_other_families_are_refused_with_their_reason(name, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        create_timm(name)


def test_the_docs_name_every_family_and_every_refusal():
    text = (REPOSITORY / "docs" / "models.md").read_text("utf-8")
    missing = [name for name in (*PLAIN_MODULES, *REASONS, *BLOCK_REASONS) if name not in text]
    assert not missing


SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 64,
    "patch_size": 16,
}
TRANSFORMERS = {
    "vit": (SMALL, ("cls",)),
    "deit": (SMALL, ("cls", "dist")),
    "dinov2": (SMALL, ("cls",)),
    "dinov2_with_registers": ({**SMALL, "num_register_tokens": 2}, ("cls", "reg1", "reg2")),
    "dinov3_vit": ({**SMALL, "num_register_tokens": 4}, ("cls", "reg1", "reg2", "reg3", "reg4")),
    "clip_vision_model": (SMALL, ("cls",)),
    "siglip_vision_model": (SMALL, ()),
    "vit_mae": (SMALL, ("cls",)),
    "beit": ({**SMALL, "use_relative_position_bias": True}, ("cls",)),
}


@pytest.mark.parametrize("model_type", TRANSFORMERS)
def test_families_of_transformers(model_type):
    settings, prefix_tokens = TRANSFORMERS[model_type]
    torch.manual_seed(0)
    module: Any = create_transformers(model_type, **settings)
    model = wrap_transformers(module, model_type)
    sharpen(module)
    recording = explorer.record(model, photo(96, 64), fit="keep")
    assert recording.prefix_tokens == prefix_tokens and recording.grid == (4, 6) and recording.depth == 2
    norms = np.stack([recording.token_norms(layer) for layer in range(3)])
    patterns, states = eager(model)
    for layer in range(2):
        got = np.stack([recording.matrix(layer, head) for head in range(4)])
        np.testing.assert_allclose(got, patterns[layer], atol=1e-5)
        assert patterns[layer].max() > 1.5 / patterns[layer].shape[-1]
    np.testing.assert_allclose(norms, np.linalg.norm(states, axis=-1), rtol=1e-4)


def eager(model: Model) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per layer "head query key" and "token width" of the input (and of the last output), by transformers itself."""
    module: Any = model.module
    module.set_attn_implementation("eager")
    blocks: Any = max((part for part in module.modules() if isinstance(part, nn.ModuleList)), key=len)
    states: list[np.ndarray] = []
    handles = [b.register_forward_pre_hook(lambda m, args: states.append(args[0][0].numpy().copy())) for b in blocks]

    def keep(m, args, out):
        states.append((out[0] if isinstance(out, tuple) else out)[0].numpy())

    handles.append(blocks[-1].register_forward_hook(keep))
    adapter: Any = model.adapter
    keywords: dict[str, Any] = dict.fromkeys(adapter.options, True)
    pixels = model.preprocess(photo(96, 64), fit="keep")
    if "noise" in keywords:
        keywords["noise"] = torch.arange(24.0)[None]
    with torch.no_grad():
        out = module(pixel_values=pixels, output_attentions=True, **keywords)
    for handle in handles:
        handle.remove()
    return [attention[0].numpy() for attention in out.attentions], states


def test_torchvision_through_its_conversion(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    original = torchvision.models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=7
    ).eval()
    nn.init.normal_(original.heads.head.weight)
    with torch.no_grad():
        sharpen(original)
    torch.save(original.state_dict(), tmp_path / "vit.pth")
    model = explorer.load_model(tmp_path / "vit.pth", device="cpu", num_heads=4)
    recording = explorer.record(model, photo())
    seen: list[torch.Tensor] = []
    parts = [part for part in original.modules() if isinstance(part, nn.MultiheadAttention)]
    handles = [part.register_forward_pre_hook(lambda m, args: seen.append(args[0])) for part in parts]
    with torch.no_grad():
        logits = original(model.preprocess(photo()))[0].numpy()
        for handle in handles:
            handle.remove()
        patterns = [
            part(x, x, x, average_attn_weights=False)[1][0].numpy() for part, x in zip(parts, seen, strict=True)
        ]
    assert recording.logits is not None
    np.testing.assert_allclose(recording.logits, logits, atol=1e-4)
    for layer, pattern in enumerate(patterns):
        for head in range(4):
            np.testing.assert_allclose(recording.matrix(layer, head), pattern[head], atol=1e-5)
        assert pattern.max() > 0.1
