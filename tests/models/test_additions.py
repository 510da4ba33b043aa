"""Adapters and scales beside a model's weights: merged where everything is known, else refused with the remedy."""

import json
from typing import Any

import pytest
import timm
import torch
import torch.nn.utils.prune
from safetensors.torch import load_file, save_file
from torch import Tensor

import explorer
from explorer.errors import CheckpointError
from explorer.models.formats.additions import named_as_base
from tests.models.test_formats import DEPTH, WIDTH, Tensors, assert_equal, load, plain, prefixed

RANK, ALPHA = 4, 10


def adapted() -> tuple[Any, Tensors, Tensors]:
    """A merged reference, the base's tensors, and A and B of a LoRA beside every qkv, by module name."""
    reference = plain()
    base = {key: tensor.clone() for key, tensor in reference.state_dict().items()}
    adapter: Tensors = {}
    for layer in range(DEPTH):
        down, up = torch.randn(RANK, WIDTH) * 0.1, torch.randn(3 * WIDTH, RANK) * 0.1
        adapter |= {f"blocks.{layer}.attn.qkv.A": down, f"blocks.{layer}.attn.qkv.B": up}
        reference.blocks[layer].attn.qkv.weight.data += ALPHA / RANK * up @ down
    return reference, base, adapter


def named(adapter: Tensors, down: str, up: str) -> Tensors:
    return {key[:-1] + (down if key.endswith("A") else up): tensor for key, tensor in adapter.items()}


def test_a_lora_whose_scale_the_file_says_is_merged(tmp_path):
    reference, base, adapter = adapted()
    inside = {key.replace(".qkv.", ".qkv.base_layer."): tensor for key, tensor in base.items()}
    peft = prefixed("base_model.model.", inside | named(adapter, "lora_A.default.weight", "lora_B.default.weight"))
    model = load({"state_dict": peft, "config": {"lora_alpha": ALPHA, "r": RANK}}, tmp_path)
    assert_equal(model, reference, atol=1e-4)
    assert any("LoRA adapter in 2 layers was merged" in note for note in model.notes)


def test_a_rank_stabilised_lora_is_scaled_by_the_root_of_its_rank(tmp_path):
    reference, base, adapter = adapted()
    for layer in range(DEPTH):
        down, up = (adapter[f"blocks.{layer}.attn.qkv.{part}"] for part in "AB")
        reference.blocks[layer].attn.qkv.weight.data += (ALPHA / RANK**0.5 - ALPHA / RANK) * up @ down
    peft = base | named(adapter, "lora_A.default.weight", "lora_B.default.weight")
    model = load({"state_dict": peft, "peft_config": {"lora_alpha": ALPHA, "use_rslora": True}}, tmp_path)
    assert_equal(model, reference, atol=1e-4)


def test_a_lora_with_alpha_beside_it_is_merged(tmp_path):
    reference, base, adapter = adapted()
    alphas = {f"blocks.{layer}.attn.qkv.alpha": torch.tensor(float(ALPHA)) for layer in range(DEPTH)}
    model = load(base | named(adapter, "lora_down.weight", "lora_up.weight") | alphas, tmp_path)
    assert_equal(model, reference, atol=1e-4)


@pytest.mark.parametrize("arch", [None, "test_vit"])
def test_a_lora_of_unknown_scale_is_refused_with_and_without_arch(arch, tmp_path):
    _, base, adapter = adapted()
    with pytest.raises(CheckpointError, match=r"LoRA adapter .* of unknown scale: merge the adapter"):
        load(base | named(adapter, "lora_A", "lora_B"), tmp_path, arch=arch)


STARTS = [{"init_lora_weights": "pissa_niter_16"}, {"alpha_pattern": {"qkv": 4}}, {"fan_in_fan_out": True}]


@pytest.mark.parametrize("setting", STARTS)
def test_a_lora_that_is_no_plain_sum_with_the_base_is_refused(setting, tmp_path):
    _, base, adapter = adapted()
    tensors = base | named(adapter, "lora_A.default.weight", "lora_B.default.weight")
    with pytest.raises(CheckpointError, match=r"LoRA adapter .* of unknown scale"):
        load({"state_dict": tensors, "config": {"lora_alpha": ALPHA, **setting}}, tmp_path)


def test_loralib_may_have_merged_it_already(tmp_path):
    _, base, adapter = adapted()
    with pytest.raises(CheckpointError, match=r"LoRA adapter .* of unknown scale"):
        load({"state_dict": base | named(adapter, "lora_A", "lora_B"), "args": {"lora_alpha": ALPHA}}, tmp_path)


def test_dora_is_refused(tmp_path):
    _, base, adapter = adapted()
    tensors = base | named(adapter, "lora_A.default.weight", "lora_B.default.weight")
    tensors |= {"blocks.0.attn.qkv.lora_magnitude_vector.default.weight": torch.ones(3 * WIDTH)}
    with pytest.raises(CheckpointError, match=r"holds an adapter .*magnitude"):
        load({"state_dict": tensors, "config": {"lora_alpha": ALPHA}}, tmp_path)


@pytest.mark.parametrize("arch", [pytest.param(None, marks=pytest.mark.slow), "vit_tiny_patch16_224"])
def test_rotary_frequencies_are_no_ornament(arch, tmp_path):
    tensors = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    with pytest.raises(CheckpointError):
        load(tensors | {"rope.freqs": torch.ones(2, 12, 3, 32)}, tmp_path, arch=arch, num_heads=3)


OTHERS = [
    "blocks.0.attn.qkv.ia3_l.default",
    "blocks.0.adaptmlp.down_proj.weight",
    "blocks.0.attn.qkv.linear_a_q.weight",
    "blocks.0.mlp.fc1.oft_r.default",
]


@pytest.mark.parametrize("key", OTHERS)
@pytest.mark.parametrize("arch", [None, "test_vit"])
def test_other_adapters_are_refused(key, arch, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds an adapter .*: merge the adapter into its base model first"):
        load(plain().state_dict() | {key: torch.ones(4, 4)}, tmp_path, arch=arch)


AROUND = ["prompt_embeddings", "adapters.0.down.weight", "net.prompts"]


@pytest.mark.parametrize("key", AROUND)
def test_adapters_and_prompts_that_a_wrapper_holds_are_refused(key, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds adapters or prompts .* beside its backbone"):
        load(prefixed("vit.", plain().state_dict()) | {key: torch.ones(4, 4)}, tmp_path)


def test_an_adapter_of_the_text_half_changes_no_map(tmp_path):
    tensors = prefixed("visual.trunk.", plain(num_classes=0).state_dict())
    load(tensors | {"text.adapters.0.weight": torch.ones(4, 4), "prompt_learner.ctx": torch.ones(4)}, tmp_path)


def test_pruned_weights_and_weight_norms_are_called_so(tmp_path):
    for kind in ("pruned", "weight norm", "pruned patches"):
        module = plain()
        part = module.patch_embed.proj if kind == "pruned patches" else module.blocks[1].mlp.fc1
        if kind == "weight norm":
            torch.nn.utils.parametrizations.weight_norm(part)
        else:
            torch.nn.utils.prune.random_unstructured(part, "weight", 0.5)
        with pytest.raises(CheckpointError, match=r"holds weights in parts \(.*: make them whole first"):
            load(module.state_dict(), tmp_path)


QUANTISED: dict[str, Tensor] = {
    "blocks.0.mlp.fc1.weight": torch.ones(4 * WIDTH, WIDTH, dtype=torch.int8),
    "blocks.0.mlp.fc1.weight_scale": torch.ones(1),
    "blocks.0.mlp.fc1.SCB": torch.ones(4 * WIDTH),
    "blocks.0.mlp.fc1.weight.absmax": torch.ones(8),
    "blocks.1.attn.qkv.qweight": torch.ones(8, 8, dtype=torch.int32),
    "blocks.1.attn.qkv.weight._scale": torch.ones(8),  # quanto
    "blocks.1.attn.qkv.weight_qdata": torch.ones(8, 8, dtype=torch.int8),  # torchao
}


@pytest.mark.parametrize("key", QUANTISED)
@pytest.mark.parametrize("arch", [None, "test_vit"])
def test_quantised_weights_are_refused(key, arch, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds quantised weights .*: save them dequantised"):
        load(plain().state_dict() | {key: QUANTISED[key]}, tmp_path, arch=arch)


def timm_folder(folder, arguments: dict[str, Any], **saved: Any) -> Any:
    torch.manual_seed(0)
    reference = timm.create_model("test_vit", num_classes=3, **saved).eval()
    save_file(reference.state_dict(), folder / "model.safetensors")
    pixels = {"input_size": [3, 160, 160], "fixed_input_size": True}
    config = {"architecture": "test_vit", "num_classes": 3, "model_args": arguments, "pretrained_cfg": pixels}
    (folder / "config.json").write_text(json.dumps(config))
    return reference


@pytest.mark.parametrize("option", [{"init_values": 0.1}, {"qk_norm": True}, {"scale_mlp_norm": True}])
def test_a_timm_folder_whose_config_forgets_an_option_is_refused(option, tmp_path):
    timm_folder(tmp_path, {}, **option)
    with pytest.raises(CheckpointError, match=r"has no blocks\.0\..* must name the option that needs it"):
        explorer.load_model(tmp_path, device="cpu")
    reference = timm_folder(tmp_path, option, **option)
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = torch.randn(1, 3, 160, 160)
    torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).detach(), atol=1e-5, rtol=0)


def test_arch_does_not_make_a_tensor_superfluous(tmp_path):
    tensors = timm.create_model("test_vit", init_values=0.1).state_dict()
    with pytest.raises(CheckpointError, match=r"has no blocks\.0\.ls1\.gamma.*test_vit isn't the architecture"):
        load(tensors, tmp_path, arch="test_vit")


@pytest.mark.parametrize("key", ["vit.layers.0.attention.q_norm.weight", "vit.encoder.layer.0.layer_scale1.lambda1"])
def test_a_transformers_folder_with_a_tensor_too_many_is_refused(key, tmp_path):
    import transformers

    from tests.models.test_loading import SMALL

    transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {key: torch.ones(64)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="which would change its maps"):
        explorer.load_model(tmp_path, device="cpu")


def test_an_adapter_beside_a_transformers_model_is_merged(tmp_path):
    import transformers

    from tests.models.test_loading import SMALL

    torch.manual_seed(0)
    reference: Any = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)).eval()
    reference.save_pretrained(tmp_path)
    key = next(key for key in load_file(tmp_path / "model.safetensors") if "0" in key and "query.weight" in key)
    down, up = torch.randn(RANK, 64), torch.randn(64, RANK)
    module = f"base_model.model.{key.removesuffix('.weight')}"
    save_file({f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "lora_alpha": ALPHA, "r": RANK}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    model = explorer.load_model(tmp_path, device="cpu")
    reference.vit.layers[0].attention.q_proj.weight.data += ALPHA / RANK * up @ down
    pixels = torch.randn(1, 3, *model.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).logits, atol=1e-4, rtol=0)


def test_an_adapter_alone_names_its_base(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "google/vit"}')
    with pytest.raises(CheckpointError, match="LORA adapter without its model: merge it into google/vit with peft's"):
        explorer.load_model(tmp_path, device="cpu")
    with pytest.raises(CheckpointError, match=r"holds an adapter .* without its model"):
        load({"base_model.model.blocks.0.attn.qkv.lora_A.weight": torch.ones(4, 4)}, tmp_path)


@pytest.mark.parametrize("bias", [False, True])
def test_an_adapter_in_the_names_of_the_newest_transformers_is_merged(bias, tmp_path):
    """What peft saves has the names in memory, where the base's file has those of older releases."""
    import transformers

    from tests.models.test_loading import SMALL

    torch.manual_seed(0)
    reference: Any = transformers.ViTForImageClassification(transformers.ViTConfig(**SMALL)).eval()
    reference.save_pretrained(tmp_path)
    projection = reference.vit.layers[0].attention.q_proj
    name = next(name for name, module in reference.named_modules() if module is projection)
    down, up = torch.randn(RANK, 64), torch.randn(64, RANK)
    tensors = {f"base_model.model.{name}.lora_{part}.weight": tensor for part, tensor in (("A", down), ("B", up))}
    if bias:
        tensors[f"base_model.model.{name}.bias"] = projection.bias.data + 1
        projection.bias.data += 1
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "lora_alpha": ALPHA}))
    projection.weight.data += ALPHA / RANK * up @ down
    model = explorer.load_model(tmp_path, device="cpu")
    pixels = torch.randn(1, 3, *model.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(model.forward(pixels)[1], reference(pixels).logits, atol=1e-4, rtol=0)


def test_an_adapter_of_the_text_half_is_not_put_into_the_image_half():
    base = {"vision_model.encoder.layers.0.self_attn.q_proj.weight": torch.ones(4, 4)}
    key = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    assert named_as_base({key: torch.ones(2, 4)}, base).keys() == {key.removeprefix("base_model.model.")}


def test_any_other_kind_of_adapter_beside_a_model_is_refused(tmp_path):
    from tests.models.test_loading import save_tiny

    save_tiny(tmp_path)
    save_file({"base_model.model.blocks.0.attn.qkv.new_kind": torch.ones(4)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "NEWKIND"}')
    with pytest.raises(CheckpointError, match=r"holds a NEWKIND adapter, .*merge_and_unload"):
        explorer.load_model(tmp_path, device="cpu")


@pytest.mark.parametrize("arch", [None, "test_vit"])
def test_any_tensor_beside_a_wrapped_layer_is_an_adapter(arch, tmp_path):
    own = plain().state_dict()
    inside = {key.replace(".attn.qkv.", ".attn.qkv.base_layer."): tensor for key, tensor in own.items()}
    tensors = inside | {"blocks.0.attn.qkv.new_kind.default": torch.ones(4)}
    with pytest.raises(CheckpointError, match=r"adapter \(blocks.0.attn.qkv.new_kind.default\).*merge_and_unload"):
        load(prefixed("base_model.model.", tensors), tmp_path, arch=arch)


def test_an_adapter_of_a_new_kind_and_one_of_the_patches_are_called_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"adapter \(base_model.model.blocks.0.new_kind\) without its model"):
        load({"base_model.model.blocks.0.new_kind": torch.ones(4)}, tmp_path)
    patches = {
        key.replace("patch_embed.proj.", "patch_embed.proj.base_layer."): t for key, t in plain().state_dict().items()
    }
    with pytest.raises(CheckpointError, match=r"adapter \(patch_embed.proj.base_layer.\w+\) in its patch embedding"):
        load(patches, tmp_path)
