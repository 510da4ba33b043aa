"""Where the backbone lies in a file: which copy of the weights, under which prefix, in which project's names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from explorer.errors import CheckpointError
from explorer.models.formats.additions import ADAPTERS, BASE, MERGE, PARTS, WHOLE
from explorer.models.formats.dialects import DIALECTS, Dialect, Tensors
from explorer.models.formats.reading import Contents

# Which copy of the weights to take where a training file holds several: teachers, then averaged copies, as timm's own
# loader takes them.
PREFERENCES = {"teacher": 2, "target_encoder": 1, "student": -2, "momentum": -1, "decoder": -3, "callbacks": -4}
AVERAGED = ("ema", "swa", "averaged", "average", "avg", "shadow")
PREFERENCES |= dict.fromkeys(AVERAGED, 1)
REASONS = {
    "teacher": "the teacher's, which look best",
    **dict.fromkeys(AVERAGED, "the averaged ones, as timm's own loader does"),
    "target_encoder": "the averaged ones, as I-JEPA's and MSN's own evaluations do",
}
LIGHTNING = "current_model_state."  # likewise Lightning's callback for averages
MMENGINE = "ema_state_dict.steps"  # its hook saves the averaged weights as state_dict and the newest under this name
# Linear classifiers that wrappers keep beside a backbone, and the name that timm has for each.
HEADS = {
    "cls_classifier": "head",
    "distillation_classifier": "head_dist",
    "head": "head",
    "heads": "head",
    "classifier": "head",
    "fc": "head",
    **dict.fromkeys(("linear", "mlp_head", "cls_head", "linear_head", "classification_head", "output", "out"), "head"),
}
# Beside a backbone, but no part of its classifier.
ELSEWHERE = re.compile(
    r"(^|\.)(decoder|text|language|bert|transformer\.|token_embedding|optimizer|loss|criterion|(model_)?ema\.)"
)


SCALE = re.compile(r"(^|[._])(scale|temperature|temp)$")  # of a cosine classifier, or a calibrated one
ASIDE = re.compile(r"mask|center|queue|bias$")  # vectors of training alone, and biases, which their matrices tell


@dataclass(frozen=True)
class Backbone:
    """The tensors of one backbone inside a file, prefix taken off, the keys that belong to nothing, and sentences."""

    dialect: Dialect
    prefix: str
    tensors: Tensors
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()
    around: tuple[str, ...] = ()  # of the keys left out those of tensors that may act on the backbone


def find_backbone(contents: Contents, file: str, copy: str | None = None) -> Backbone:
    """The best copy of a ViT in the file: every patch embedding marks one; teachers go before students.

    copy: the beginning of the keys of the one to take instead.
    """
    tensors = contents.tensors
    candidates = [
        (dialect, key.removesuffix(dialect.anchor))
        for dialect in DIALECTS
        for key in tensors
        if (key == dialect.anchor or key.endswith("." + dialect.anchor)) and dialect.marks(key, tensors)
    ]
    if not candidates:
        raise CheckpointError(_no_backbone(contents, file))
    everywhere = {other for _, other in candidates}
    if copy is not None:
        candidates = _copies_named(copy, candidates, file)
    shapes = {prefix: tensors[prefix + dialect.anchor].shape for dialect, prefix in candidates}
    swapped = MMENGINE in tensors
    dialect, prefix = max(candidates, key=lambda candidate: _preference(candidate[1], shapes, swapped))
    shape = shapes[prefix]
    others = [other for other in shapes if other != prefix and shapes[other] == shape]
    inside = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    strangers = tuple(other for other in everywhere if other and not prefix.startswith(other))
    head, used, notes = _head_beside(tensors, prefix, inside, shape[0] if shape else 0, strangers)
    scopes = tuple(other for other in others if other)
    left_out = [
        key for key in tensors
        if not key.startswith(prefix) and key not in used and not (scopes and key.startswith(scopes))
    ]  # fmt: skip
    inside = {key: tensor for key, tensor in inside.items() if prefix + key not in used} | head
    notes = (*notes, *_copies_note(prefix, others, file, swapped), *_strangers_note(prefix, shapes, file))
    around = tuple(key for key in left_out if not key.startswith(strangers) and not ELSEWHERE.search(key))
    return Backbone(dialect, prefix, inside, (*left_out, *_trainer_settings(contents.settings)), notes, around)


def _copies_named(copy: str, candidates: list[tuple[Dialect, str]], file: str) -> list[tuple[Dialect, str]]:
    named = [candidate for candidate in candidates if f"{candidate[1]}.".startswith(f"{copy}.")]
    if not named:
        names = ", ".join(_copy_name(prefix) or "the only one" for _, prefix in candidates)
        raise CheckpointError(f"{file} holds no weights named {copy!r}: it holds {names}.")
    return named


def _words(prefix: str) -> list[str]:
    """The words of a prefix, and its parts between dots."""
    return [*re.split(r"[._]", prefix.lower()), *prefix.lower().split(".")]


def _preference(prefix: str, shapes: dict[str, Any], swapped: bool) -> tuple[int, int]:
    """A copy's rank (higher is better) among all, given the shapes of their patch embeddings."""
    words = {word for word in _words(prefix) if not (swapped and word in AVERAGED)}
    values = PREFERENCES
    others = [shape for other, shape in shapes.items() if "teacher" not in _words(other)]
    if others and shapes[prefix] not in others:  # it was distilled from, and isn't an average of what was trained
        values = PREFERENCES | {"teacher": -2}
    return sum(value for word, value in values.items() if word in words), -len(prefix)


def _copy_name(prefix: str) -> str:
    """What a person calls a copy: the beginning of its keys."""
    return prefix.removesuffix(".")


def _strangers_note(prefix: str, shapes: dict[str, Any], file: str) -> tuple[str, ...]:
    """The sentence on other models in the file, such as a larger teacher; none where there is none by a name."""
    names = [f"{file}#{_copy_name(other)}" for other, shape in shapes.items() if other and shape != shapes[prefix]]
    return (f"The file holds other models, too: they open as {', '.join(names)}.",) if names else ()


def _copies_note(prefix: str, others: list[str], file: str, swapped: bool) -> tuple[str, ...]:
    """The sentence on which of several copies was taken, why, and how to have another; none for the only one."""
    if not others:
        return ()
    reason = next((text for word, text in REASONS.items() if word in _words(prefix)), "the plain ones")
    if prefix.startswith("state_dict.") and any(other.startswith(LIGHTNING) for other in others):
        reason = "the averaged ones, where Lightning puts them"
    if swapped:
        reason = "the plain ones" if "ema" in _words(prefix) else "the averaged ones, where MMEngine puts them"
    names = ", ".join(f"{file}#{_copy_name(other)}" for other in others if other) or "none by name"
    return (
        f"The file holds {len(others) + 1} copies of the weights: {_copy_name(prefix) or 'the outermost'} is taken "
        f"({reason}); the others open as {names}.",
    )


def _head_beside(
    tensors: Tensors, prefix: str, inside: Tensors, width: int, others: tuple[str, ...]
) -> tuple[Tensors, frozenset[str], tuple[str, ...]]:
    """A classifier beside the backbone or in the wrapper around it, under timm's names; its keys; sentences.

    others: prefixes of the file's other backbones.
    """
    outer = prefix.removesuffix(".").rpartition(".")[0]
    scope = f"{outer}." if outer else ""
    around = {key: t for key, t in tensors.items() if prefix and key.startswith(scope) and not key.startswith(prefix)}
    own = {key: t for key, t in inside.items() if key.startswith("head.")}
    own = own if "head.weight" in own and own["head.weight"].ndim == 2 else {}
    found, used = own, frozenset(f"{prefix}{key}" for key in own)
    if not own:
        found, used = _named_heads({f"{prefix}{key}": t for key, t in inside.items()}, prefix, width)
    if not found:
        found, used = _named_heads(around, scope, width)
    if not found:
        found, used = _next_in_sequence(around, prefix, width)
    apart = {key: t for key, t in tensors.items() if key not in used and not key.startswith(others)}
    if after := _reader_of(found, apart, prefix, scope):
        return {}, used, (f"A second layer ({after}) reads what the first gives: its classes are left out.",)
    if found and (between := _between(around.keys() & apart.keys(), around, width)):
        return {}, used, (f"{between} acts on the classifier in a way the file can't say: its classes are left out.",)
    if own:
        return {}, frozenset(), ()
    feeding = [key for key in _matrices(around, scope) if key not in used and len(around[key]) == width]
    if found and not any(key in around for key in used):
        feeding = []
    if feeding:
        note = f"A layer ({feeding[0]}) stands before the classifier: its classes are left out."
        return {}, frozenset(), (note,)
    norm = {key for key in around if key not in used and _is_norm(key, around, width)} if used & around.keys() else ()
    return found | {f"head.norm.{key.rpartition('.')[2]}": around[key] for key in norm}, used.union(norm), ()


def _reader_of(head: Tensors, apart: Tensors, prefix: str, scope: str) -> str | None:
    """A linear layer that takes as many numbers as the head's one layer gives: the true classifier; None without one.

    apart: all tensors but the head's and other backbones'. Inside its backbone it would have one of the names of HEADS.
    """
    layers = [key for key, t in head.items() if key.endswith("weight") and t.ndim == 2]
    if len({_first(key) for key in layers}) < len(layers):
        return None  # several layers, which read_head() tells apart
    given = {len(head[key]) for key in layers}
    readers = (key for key in _matrices(apart, scope) if apart[key].shape[1] in given)
    return next((k for k in readers if not k.startswith(prefix) or _first(k.removeprefix(prefix)) in HEADS), None)


def _between(keys: Iterable[str], around: Tensors, width: int) -> str | None:
    """A scale, a temperature or a vector of the features' width among these keys that is no part of a norm."""
    for key in sorted(keys):
        t = around[key]
        vector = t.is_floating_point() and t.numel() == width == t.shape[-1] and not ASIDE.search(key)
        scale = t.numel() == 1 and SCALE.search(key)
        if (vector or scale) and not ELSEWHERE.search(key) and not _is_norm(key, around, width):
            return key
    return None


def _first(key: str) -> str:
    return key.partition(".")[0]


def _named_heads(tensors: Tensors, scope: str, width: int) -> tuple[Tensors, frozenset[str]]:
    """What stands under the names of HEADS and reads that width, by timm's names, and its keys; the first name wins."""
    found: Tensors = {}
    used: set[str] = set()
    for name, own_name in HEADS.items():
        start = f"{scope}{name}."
        group = {key: t for key, t in tensors.items() if key.startswith(start)}
        if any(t.ndim == 2 and t.shape[1] == width for t in group.values()) and not any(
            key.startswith(f"{own_name}.") for key in found
        ):
            found |= {f"{own_name}.{key.removeprefix(start)}": tensor for key, tensor in group.items()}
            used |= group.keys()
    return found, frozenset(used)


def _next_in_sequence(tensors: Tensors, prefix: str, width: int) -> tuple[Tensors, frozenset[str]]:
    """What follows a backbone in nn.Sequential(backbone, ...) and reads that width, as _named_heads() gives it."""
    place = re.fullmatch(r"((?:.*\.)?)(\d{1,3})\.", prefix)
    if place is None:
        return {}, frozenset()
    scope, own = place[1], int(place[2])
    found: Tensors = {}
    used: set[str] = set()
    for key, tensor in tensors.items():
        match = re.fullmatch(r"(\d{1,3})\.(\w+)", key.removeprefix(scope))
        if match and int(match[1]) > own:
            found[f"head.{int(match[1]) - own - 1}.{match[2]}"] = tensor
            used.add(key)
    reads = any(t.ndim == 2 and t.shape[1] == width for t in found.values())
    return (found, frozenset(used)) if reads else ({}, frozenset())


def _matrices(tensors: Tensors, scope: str) -> list[str]:
    """Keys of linear layers' weights, but those of a decoder or a text model."""
    return [
        key for key, tensor in tensors.items()
        if key.endswith("weight") and tensor.ndim == 2 and not ELSEWHERE.search(key.removeprefix(scope))
    ]  # fmt: skip


def _is_norm(key: str, tensors: Tensors, width: int) -> bool:
    """Whether a key belongs to a norm of that width: a part of a module that has a pair of vectors and no matrix."""
    module, _, part = key.rpartition(".")
    parts = {other.rpartition(".")[2]: t for other, t in tensors.items() if other.rpartition(".")[0] == module}
    paired = {"weight", "bias"} <= parts.keys() or {"running_mean", "running_var"} <= parts.keys()
    sized = all(t.shape == (width,) for name, t in parts.items() if name != "num_batches_tracked")
    return paired and sized and part in {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def _trainer_settings(settings: dict[str, Any]) -> Iterable[str]:
    """Top-level names of what isn't tensors: optimizer, args, ..."""
    return sorted({key.partition(".")[0] for key in settings if "." in key})


def _no_backbone(contents: Contents, file: str) -> str:
    keys = list(contents.tensors)
    if not any(keys):
        return f"{file} holds no named tensors: give a file with a model's state_dict()."
    some = ", ".join(keys[:3])
    if adapter := next((key for key in keys if ADAPTERS.search(key) or key.startswith(BASE)), None):
        where = "in its patch embedding" if ".base_layer." in adapter else "without its model"
        return f"{file} holds an adapter ({adapter}) {where}: {MERGE}."
    if part := next((key for key in keys if PARTS.search(key) and "patch_embed" in key), None):
        return f"{file} holds weights in parts ({part}), as pruning and weight norms make them: {WHOLE}."
    if stem := next((key for key in keys if re.search(r"(^|\.)(patch_embed\.proj\.\d|conv_proj\.\w+\.)", key)), None):
        return f"{file} makes its patches by several layers ({stem}), which the explorer can't draw: give a plain ViT."
    if any(tensor.ndim == 4 and tensor.shape[-1] in (3, 5, 7) for tensor in contents.tensors.values()):
        return (
            f"{file} looks like a convolutional network ({some}, …) without patch embedding: give a Vision Transformer."
        )
    return (
        f"{file} holds no Vision Transformer whose names the explorer knows ({some}, …): give the folder that it was "
        "saved in by timm or transformers, with its config.json."
    )
