"""What a state dict holds beside a model's own weights and changes its arithmetic: merged where known, else refused."""

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from explorer.errors import CheckpointError, UntoldError
from explorer.models.formats.dialects import Tensors, release_free

# Parts of keys, by what they are a sign of.
ADAPTERS = re.compile(
    r"(^|[._])(lora|loha|lokr|hada|vera|ia3|oft|boft|adapters?|adaptmlp|adaptformer|modules_to_save|base_layer|"
    r"prompt_embeddings?|prompt_tokens|prefix_encoder|ssf_(scale|shift)|linear_[ab]_[qkv])([._]|$)|lora_|adapter_"
)
AROUND = re.compile(r"(^|\.)(adapters?|prompts?|(deep_)?prompt_(embeddings?|tokens?)|prefix_encoder)(\.|$)")
SCALES = re.compile(
    r"(^|[._])(SCB|absmax|nested_absmax|quant_map|nested_quant_map|quant_state|qweight|qzeros|g_idx|scales|W_q|"
    r"weight_scale(_inv)?|input_scale|output_scale|weight_zero_point|zero_point|weight_packed|_packed_params|"
    r"weight_(qdata|scale|_data|_scale|_zeropoint|_shift)|weight\._(data|scale|shift|zeropoint))([._]|$)"
)
PARTS = re.compile(r"\.parametrizations\.|\.weight_(orig|mask|g|v)$")
# Parts of a checkpoint that a backbone computes nothing with.
HARMLESS = re.compile(
    r"(mask_token|masked_embed|head|heads|head_dist|fc|classifier|pre_logits|decoder\w*|projector|predictor|proj|logit_\w+|"
    r"relative_position_index|total_ops|total_params)(\.|$)|"
    r".*(relative_position_index|num_batches_tracked|bias_mask|total_ops|total_params)$"
)
ROTARY = re.compile(r"rope\w*\.(periods|freqs|bands|inv_freq)$")  # computed by a module that turns q and k at all
MERGE = "merge the adapter into its base model first (peft's merge_and_unload()) and save that"
WHOLE = "make them whole first (torch.nn.utils.prune.remove, torch.nn.utils.parametrize.remove_parametrizations)"
BASE = "base_model.model."  # what peft puts before all names
MOST_CHANNELS = 13  # that photos have, those of satellites too
LORA_KIND = "LORA"  # its word for the one kind of adapter that is merged here
LORA = re.compile(r"(.+)\.lora_(?:A|down)(?:\.\w+)?(?:\.weight)?")
# Starts of a LoRA that take something from the base's own weights: what is saved belongs to what was left of them.
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def merge_adapters(tensors: Tensors, settings: dict[str, Any], file: str) -> tuple[Tensors, tuple[str, ...]]:
    """The tensors with every LoRA merged, W + scale B A, and the note that says so; both as they are without one.

    The scale is alpha / rank: alpha stands beside the adapter or in the file's settings. Raises CheckpointError where
    it doesn't, and for adapters of other kinds.
    """
    if (kind := settings.get("peft_type", LORA_KIND)) != LORA_KIND:
        raise CheckpointError(f"{file} holds a {kind} adapter, which changes what its model computes: {MERGE}.")
    found = next((key for key in tensors if ADAPTERS.search(key)), None)
    if found is None:
        return tensors, ()
    merged = {_base_key(key): tensor for key, tensor in tensors.items() if ".original_module." not in key}
    modules = {match[1]: key for key in tensors if (match := LORA.fullmatch(key))}
    for name, key in modules.items():
        up = _partner(merged, _base_key(key))
        scale = _scale(merged, name, settings, len(merged[_base_key(key)]))
        if not key.endswith(".weight"):  # loralib's, which merges B A into W whenever a model is evaluated
            scale = None
        if scale is None or up is None:
            raise CheckpointError(f"{file} holds a LoRA adapter ({key}) of unknown scale: {MERGE}.")
        _merge(merged, _base_key(name), merged.pop(_base_key(key)), merged.pop(up), scale, file)
        merged.pop(f"{_base_key(name)}.alpha", None)
    wrapped = {_base_key(key.partition(".base_layer.")[0]) for key in tensors if ".base_layer." in key}
    other = next((key for key in merged if ADAPTERS.search(key) or _adds_to(key, wrapped)), None)
    if other is not None:
        raise CheckpointError(f"{file} holds an adapter ({other}), which changes what its model computes: {MERGE}.")
    return merged, (f"A LoRA adapter in {len(modules)} layers was merged into the weights.",)


def _adds_to(key: str, wrapped: set[str]) -> bool:
    """Whether a key stands inside one of these modules, which peft put in the place of linear layers, but isn't theirs.

    Every kind of adapter that peft knows, and will know, keeps its tensors there.
    """
    ends = (match.start() for match in re.finditer(r"\.", key))
    return any(key[:end] in wrapped and key[end:] not in (".weight", ".bias") for end in ends)


def named_as_base(adapter: Tensors, base: Tensors) -> Tensors:
    """An adapter's tensors under the names of its base's, which a release of transformers may name differently."""
    modules = {key.rpartition(".")[0] for key in base}
    known = {release_free(name): name for name in modules}
    named = {}
    for key, tensor in adapter.items():
        module, part, rest = key.removeprefix(BASE).partition(".lora_")
        if not part:
            module, part, rest = module.rpartition(".")
        own = module if module in modules else known.get(release_free(module), module)
        named[f"{own}{part}{rest}"] = tensor
    return named


def _base_key(key: str) -> str:
    """A key without what peft puts in between."""
    return key.replace(".base_layer.", ".").replace(".modules_to_save.default.", ".")


def _partner(tensors: Tensors, key: str) -> str | None:
    up = key.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    return up if up in tensors else None


def _scale(tensors: Tensors, name: str, settings: dict[str, Any], rank: int) -> float | None:
    """alpha / rank, or alpha / sqrt(rank) of a rank-stabilised LoRA; None where the file doesn't say alpha, or more.

    alpha is one number for all layers, or stands beside each.
    """
    beside = tensors.get(f"{name}.alpha")
    said = {value for key, value in settings.items() if re.search(r"(^|[._])lora_alpha$", key)}
    if any(_leaves_scale_open(key, value) for key, value in settings.items()):
        said = set()
    if beside is not None and beside.numel() == 1:
        said = {float(beside)}
    if len(said) != 1 or not isinstance(alpha := said.pop(), (int, float)):
        return None
    stable = any(key.endswith("use_rslora") and value is True for key, value in settings.items())
    return alpha / (math.sqrt(rank) if stable else rank)


def _leaves_scale_open(key: str, value: Any) -> bool:
    """Whether a setting makes W + B A alpha / rank something else than what was trained."""
    if re.search(r"(^|\.)(alpha_pattern|fan_in_fan_out)(\.|$)", key):
        return bool(value)
    return key.endswith("init_lora_weights") and str(value).lower().startswith(CHANGES_BASE)


def _merge(tensors: Tensors, name: str, down: Tensor, up: Tensor, scale: float, file: str) -> None:
    weight = tensors.get(f"{name}.weight")
    fits = weight is not None and up.ndim == down.ndim == 2 and up.shape[1] == down.shape[0]
    if weight is None or not fits or weight.shape != (up.shape[0], down.shape[1]):
        raise CheckpointError(f"{file} holds an adapter in {name} that isn't one product B A over its weight: {MERGE}.")
    tensors[f"{name}.weight"] = (weight.double() + scale * (up.double() @ down.double())).float()


def check_around(keys: Iterable[str], tensors: Tensors, file: str) -> None:
    """Raise CheckpointError for what a wrapper puts into its backbone, or before it, from outside.

    Adapters, prompts, and a convolution that turns other channels into colours.
    """
    keys = tuple(keys)
    stem = next((key for key in keys if _makes_colours(tensors[key])), None)
    if stem is not None:
        raise CheckpointError(
            f"{file} holds a convolution ({stem}) that seems to stand before its backbone, whose patches it would "
            "change: give the backbone's state_dict() alone."
        )
    strange = next((key for key in keys if AROUND.search(key)), None)
    if strange is not None:
        raise CheckpointError(
            f"{file} holds adapters or prompts ({strange}) beside its backbone, which change what it computes: "
            "give the model without them."
        )


def _makes_colours(tensor: Tensor) -> bool:
    """Whether it is the kernel of a convolution from a few channels to three; what decoders end with reads many."""
    return tensor.ndim == 4 and tensor.shape[0] == 3 and tensor.shape[1] <= MOST_CHANNELS


def check_quantised(tensors: Tensors, file: str) -> None:
    """Raise CheckpointError for weights in whole numbers, in parts or with scales of their own.

    Floats alone can be computed.
    """
    whole = next((k for k, t in tensors.items() if k.endswith("weight") and t.ndim >= 1 and not _floats(t)), None)
    if whole is not None:
        kind = str(tensors[whole].dtype).removeprefix("torch.")
        raise CheckpointError(quantised(file, f"{whole} in {kind}"))
    part = next((key for key in tensors if PARTS.search(key) and not HARMLESS.match(key)), None)
    if part is not None:
        raise CheckpointError(
            f"{file} holds weights in parts ({part}), as pruning and weight norms make them: {WHOLE}."
        )
    scale = next((key for key in tensors if SCALES.search(key)), None)
    if scale is not None:
        raise CheckpointError(quantised(file, f"scaled by {scale}"))


def quantised(file: str, found: str) -> str:
    """The sentence on weights that aren't floats; found: what says so."""
    return f"{file} holds quantised weights ({found}): save them dequantised, in floats."


def _floats(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.dtype == torch.bool


def check_left_out(keys: Iterable[str], module: nn.Module, file: str, remedy: str, bare: bool = False) -> None:
    """Raise where a tensor without a place in the module would change what its backbone computes.

    remedy: what to do about it. bare: the file names no architecture, so the error asks for it (UntoldError).
    """
    kinds = {type(part).__name__.lower() for part in module.modules()}
    rotary = any("rope" in kind or "rotary" in kind for kind in kinds)
    left = (key for key in keys if not (rotary and ROTARY.match(key)))
    strange = next((key for key in left if not HARMLESS.match(key)), None)
    if strange is None:
        return
    kind = UntoldError if bare else CheckpointError
    raise kind(f"{file}: the model it was taken for has no {strange}, which would change its maps; {remedy}.")
