"""A model cut in two: the frozen prefix, run once per image, and the suffix that is trained on what the prefix gave."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from explorer.errors import PlanError
from explorer.models.backbone import Model
from explorer.models.trainable import trainable_copy
from explorer.training.plan import Plan

Arguments = tuple[tuple, dict]  # what a block takes besides the tokens


class Split(nn.Module):
    """The trained part of `whole`, called on what `prefix` gives; its parameters are exactly the trained ones' modules.

    kind: "feature" (head only, pooled features "batch width"), "tokens" (the last blocks, tokens "batch token width")
    or "pixels" (everything, or fresh pixels each epoch: normalised pixels "batch 3 height width"). new_head: whether
    the head was drawn again.
    """

    def __init__(
        self, whole: nn.Module, kind: str, start: int, size: int, trained: list[nn.Module],
        arguments: list[Arguments], new_head: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.new_head = new_head
        self.kind, self.start, self.size, self.arguments = kind, start, size, arguments
        self.row_shape: tuple[int, ...] = ()  # of what prefix() gives for an image, found when the cut is checked
        self.trained = nn.ModuleList(trained)
        self._whole = (whole,)  # in a tuple, so that frozen parameters aren't registered as this module's own

    @property
    def whole(self) -> Any:
        return self._whole[0]

    @property
    def device(self) -> torch.device:
        return next(self.whole.parameters()).device

    def prefix(self, pixels: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image ..."]:
        """What forward() takes, from normalised pixels."""
        with torch.no_grad():
            if self.kind == "pixels":
                return pixels
            if self.kind == "feature":
                return self.whole.forward_head(_features(self.whole, pixels), pre_logits=True)
            return _tokens_before(self.whole, self.start, pixels)

    def forward(self, inputs: Float[Tensor, "image ..."]) -> Float[Tensor, "image class"]:
        """Logits of what prefix() gave."""
        if self.kind == "feature":
            return self.whole.get_classifier()(inputs)
        return self.whole.forward_head(self._last_tokens(inputs))

    def features(self, inputs: Float[Tensor, "image ..."]) -> Float[Tensor, "image width"]:
        """Pooled features of what prefix() gave: what the classifier sees."""
        return inputs if self.kind == "feature" else self.whole.forward_head(self._last_tokens(inputs), pre_logits=True)

    def _last_tokens(self, inputs: Tensor) -> Tensor:
        if self.kind == "pixels":
            return self.whole.forward_features(inputs)
        blocks = list(blocks_of(self.whole))[self.start :]
        for block, (args, kwargs) in zip(blocks[:-1], self.arguments, strict=False):
            inputs = block(inputs, *args, **kwargs)
        if blocks and _reads_cls_alone(self.whole):
            inputs = _cls_block(blocks[-1], inputs)
        elif blocks:
            args, kwargs = self.arguments[-1]
            inputs = blocks[-1](inputs, *args, **kwargs)
        return last_norm(self.whole)(inputs)

    def train(self, mode: bool = True) -> "Split":
        """Only the trained part leaves eval mode: dropout in frozen blocks would make the cache untrue."""
        self.training = mode
        for module in self.trained:
            module.train(mode)
        return self


def split_model(model: Model, plan: Plan, class_names: list[str], size: int, device: torch.device) -> Split:
    """A private copy of the model with a head for `class_names`, cut where the plan says, and checked.

    The head is kept where the model already knows exactly these classes, else it is new, drawn with the plan's seed.
    Raises PlanError where the model can't be cut, or the cut model computes something else than the whole one.
    """
    whole, new_head = _with_head(model, plan, class_names, size)
    whole.to(device)
    depth = len(blocks_of(whole))
    blocks = plan.trained_blocks(depth)
    start = depth - blocks
    trained = _freeze(whole, start, plan)
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    if plan.full_passes:
        return Split(whole, "pixels", start, size, trained, [], new_head)
    split = Split(whole, "feature", start, size, trained, [], new_head)
    if blocks or isinstance(whole.get_classifier(), tuple) or not _agrees(split, pixels):
        # Heads that aren't one linear layer on the pooled feature (two tokens, two heads) train on tokens instead.
        split = Split(whole, "tokens", start, size, trained, _block_arguments(whole, pixels)[start:], new_head)
    if not _agrees(split, pixels):
        raise PlanError(f"{model.name} can't be cut after block {start} without changing its result: choose train all.")
    return split


def _with_head(model: Model, plan: Plan, class_names: list[str], size: int) -> tuple[Any, bool]:
    """(the copy, whether its head was drawn again)."""
    whole: Any = trainable_copy(model)
    if not all(hasattr(whole, name) for name in ("forward_head", "reset_classifier", "group_matcher")):
        raise PlanError(
            f"{model.name} is an encoder without a place for a classifier, so it can't be fine-tuned: use the variant "
            "that has one (in timm, the name without _enc)."
        )
    if hasattr(whole, "encoder"):  # of a language model: some merge their tokens, which forward() tells
        model.forward(torch.zeros(1, 3, size, size, device=model.device))
    if new := model.class_names != class_names or whole.num_classes != len(class_names):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            whole.reset_classifier(len(class_names))
    if hasattr(whole, "set_input_size") and tuple(whole.patch_embed.img_size) != (size, size):
        whole.set_input_size((size, size))  # so that the saved model opens at the size it was trained at
    return whole.eval(), new


def _freeze(whole: Any, start: int, plan: Plan) -> list[nn.Module]:
    """Freeze all but the plan's part; returns the trained modules."""
    whole.requires_grad_(plan.train == "all")
    if plan.train == "all":
        return [whole]
    heads = whole.get_classifier()
    trained = list(heads) if isinstance(heads, tuple) else [heads]
    if start < len(blocks_of(whole)):
        trained = [*blocks_of(whole)[start:], last_norm(whole), *_optional(whole, "fc_norm", "attn_pool"), *trained]
    for module in trained:
        module.requires_grad_(True)
    return trained


def _optional(whole: nn.Module, *names: str) -> Iterator[nn.Module]:
    return (module for module in (getattr(whole, name, None) for name in names) if isinstance(module, nn.Module))


def blocks_of(whole: Any) -> Any:
    """The blocks, which the encoders of language models keep one level down."""
    return getattr(whole, "encoder", whole).blocks


def last_norm(whole: Any) -> nn.Module:
    """The norm between the last block and the pooling; some models have none."""
    return getattr(getattr(whole, "encoder", whole), "norm", nn.Identity())


class _Reached(Exception):
    """Carries a block's input out of a forward pass, which ends there."""


def _tokens_before(whole: Any, start: int, pixels: Tensor) -> Tensor:
    """The tokens "batch token width" that enter block `start`, or leave the last one where start is the depth."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple) -> None:
        kept.append(inputs[0])
        raise _Reached

    blocks = blocks_of(whole)
    stop_at = blocks[start] if start < len(blocks) else last_norm(whole)
    handle = stop_at.register_forward_pre_hook(keep)
    try:
        whole.forward_features(pixels)
    except _Reached:
        return kept[0]
    finally:
        handle.remove()
    raise PlanError("This model doesn't run its blocks one after the other, so it can't be cut: choose train all.")


@torch.no_grad()
def _block_arguments(whole: Any, pixels: Tensor) -> list[Arguments]:
    """What each block is called with besides tokens (rotary positions, shared biases): the same for every image."""
    found: list[Arguments] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args, kwargs: found.append((args[1:], kwargs)), with_kwargs=True)
        for block in blocks_of(whole)
    ]
    whole.forward_features(pixels[:1])  # of one image, so that they fit any batch
    for hook in hooks:
        hook.remove()
    if len(found) != len(blocks_of(whole)):
        raise PlanError("This model doesn't run its blocks one after the other, so it can't be cut: choose train all.")
    return found


def _features(whole: Any, pixels: Tensor) -> Tensor:
    """forward_features(), with nothing but the cls token of the last block where the head reads only that."""
    if not _reads_cls_alone(whole):
        return whole.forward_features(pixels)
    blocks = blocks_of(whole)
    return last_norm(whole)(_cls_block(blocks[-1], _tokens_before(whole, len(blocks) - 1, pixels)))


def _reads_cls_alone(whole: Any) -> bool:
    """Whether nothing but the cls token leaves the last block, a plain one, for the head."""
    block = blocks_of(whole)[-1]
    plain = type(block) is Block and type(block.attn) is Attention and getattr(whole, "global_pool", "") == "token"
    return plain and block.attn.gate is None and whole.attn_pool is None and not hasattr(whole, "head_dist")


def _cls_block(block: Any, x: Tensor) -> Tensor:
    """A block for the class token alone, "batch 1 width": the same row at a sixth of the cost.

    x "batch token width". Keys and values still come from every token; query, projection and MLP from one.
    """
    cls = x[:, :1]
    cls = cls + block.drop_path1(block.ls1(_cls_attention(block.attn, block.norm1(x))))
    return cls + block.drop_path2(block.ls2(block.mlp(block.norm2(cls))))


def _cls_attention(attn: Any, x: Tensor) -> Tensor:
    """Row 0 of the attention output, "batch 1 width", for x "batch token width"."""
    batch, tokens, _ = x.shape
    width = attn.qkv.out_features // 3
    bias = attn.qkv.bias
    q = F.linear(x[:, :1], attn.qkv.weight[:width], None if bias is None else bias[:width])
    kv = F.linear(x, attn.qkv.weight[width:], None if bias is None else bias[width:])
    q = q.reshape(batch, 1, attn.num_heads, attn.head_dim).transpose(1, 2)
    k, v = kv.reshape(batch, tokens, 2, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    q, k = attn.q_norm(q), attn.k_norm(k)
    rows = F.scaled_dot_product_attention(q, k, v, dropout_p=attn.attn_drop.p if attn.training else 0.0)
    return attn.proj_drop(attn.proj(attn.norm(rows.transpose(1, 2).reshape(batch, 1, width))))


@torch.no_grad()
def _agrees(split: Split, pixels: Tensor) -> bool:
    """Whether prefix and suffix together compute what the whole model does."""
    expected, inputs = split.whole(pixels), split.prefix(pixels)
    got, split.row_shape = split(inputs), tuple(inputs.shape[1:])
    return got.shape == expected.shape and bool(torch.allclose(got, expected, rtol=1e-3, atol=1e-4))
