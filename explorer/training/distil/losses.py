"""What a student Vision Transformer learns from a teacher of the same width: tokens, attention and logits."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

# timm's VisionTransformer and its Block, whose parts torch declares as Tensor | Module: no checker follows them.
ViT = Any
Block = Any


@dataclass
class BlockStates:
    """What one block did: tokens after its attention and after its MLP (image token width), and its pattern."""

    middle: Tensor
    out: Tensor
    log_pattern: Tensor  # image head query key, natural logarithm


@dataclass
class States:
    """A whole forward pass: embedded tokens, what each block did, class logits."""

    embedded: Tensor
    blocks: list[BlockStates]
    logits: Tensor


def embed(
    model: ViT, images: Float[Tensor, "image 3 height width"], kept: Int[Tensor, " kept"] | None = None
) -> Float[Tensor, "image token width"]:
    """Return the tokens that enter the first block, or only those with the kept indices."""
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    return tokens if kept is None else tokens[:, kept]


def attend(
    block: Block, tokens: Float[Tensor, "image token width"]
) -> tuple[Float[Tensor, "image token width"], Float[Tensor, "image head query key"]]:
    """Return the tokens after a block's attention and the logarithm of its pattern."""
    count, length, width = tokens.shape
    heads = block.attn.num_heads
    qkv = block.attn.qkv(block.norm1(tokens)).view(count, length, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    log_pattern = ((q * block.attn.scale) @ k.mT).float().log_softmax(-1)
    mixed = log_pattern.exp().to(v.dtype) @ v
    return tokens + block.attn.proj(mixed.transpose(1, 2).reshape(count, length, width)), log_pattern


def feed_forward(block: Block, tokens: Float[Tensor, "image token width"]) -> Float[Tensor, "image token width"]:
    """Return the tokens after a block's MLP."""
    return tokens + block.mlp(block.norm2(tokens))


def classify(model: ViT, tokens: Float[Tensor, "image token width"]) -> Float[Tensor, "image class"]:
    """Return the logits that the final norm and head read from the last block's cls token."""
    return model.head(model.norm(tokens[:, 0])).float()


def forward_states(
    model: ViT, images: Float[Tensor, "image 3 height width"], kept: Int[Tensor, " kept"] | None = None
) -> States:
    """Run the model, on the kept tokens alone where given, and keep its tokens and patterns at every depth."""
    # The embedding learns from its own loss alone: gradients from every depth would drown it.
    embedded, blocks = embed(model, images, kept), []
    tokens = embedded.detach()
    for block in model.blocks:
        middle, log_pattern = attend(block, tokens)
        tokens = feed_forward(block, middle)
        blocks.append(BlockStates(middle, tokens, log_pattern))
    return States(embedded, blocks, classify(model, tokens))


def unexplained_variance(
    student: Float[Tensor, "image token width"],
    teacher: Float[Tensor, "image token width"],
    reference: Float[Tensor, "image token width"] | None = None,
) -> Float[Tensor, ""]:
    """Return the share of the teacher's variance that the student misses, plus a quarter of that of the cls token.

    With a reference (the tokens both started from) the variance is that of the step away from it.
    """
    step = teacher if reference is None else teacher - reference
    spread = step.square().mean() - step.mean((0, 1)).square().mean()
    # The cls token that enters the first block is the same for every image: its own variance is 0.
    cls_spread = torch.maximum(step[:, 0].var(0, correction=0).mean(), 0.25 * spread)
    error, cls_error = F.mse_loss(student, teacher), F.mse_loss(student[:, 0], teacher[:, 0])
    return error / spread + 0.25 * cls_error / cls_spread


def pattern_divergence(
    student: Float[Tensor, "image head query key"], teacher: Float[Tensor, "image head query key"]
) -> Float[Tensor, ""]:
    """Return KL(teacher | student) between patterns, cls rows and patch rows weighted 1:3."""
    rows = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return 0.75 * rows[:, :, 1:].mean() + 0.25 * rows[:, :, 0].mean()


def logit_divergence(student: Float[Tensor, "image class"], teacher: Float[Tensor, "image class"]) -> Float[Tensor, ""]:
    """Return KL(teacher | student) between the class distributions."""
    return F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="batchmean", log_target=True)


def logit_error(student: Float[Tensor, "image class"], teacher: Float[Tensor, "image class"]) -> Float[Tensor, ""]:
    """Return the share of the variance of the teacher's centred logits that the student misses."""
    student, teacher = (z - z.mean(-1, keepdim=True) for z in (student, teacher))
    return (student - teacher).square().mean() / teacher.square().mean()


def embedding_loss(
    student: ViT, teacher: ViT, images: Float[Tensor, "image 3 height width"], size: int
) -> Float[Tensor, ""]:
    """Learn the embedded tokens at the size whose positions are stored as they are; calls backward."""
    images = F.interpolate(images, (size, size), mode="bicubic")
    with torch.no_grad():
        target = embed(teacher, images)
    loss = unexplained_variance(embed(student, images), target)
    loss.backward()
    return loss


def blockwise_losses(
    student: ViT,
    teacher: States,
    images: Float[Tensor, "image 3 height width"],
    kept: Int[Tensor, " kept"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Let every part of the student do its teacher's part on the teacher's own tokens, all parts independently.

    Calls backward on each part as it goes, which keeps memory small; returns the losses for the log.
    """
    losses: dict[str, Tensor] = {"embed at size": unexplained_variance(embed(student, images, kept), teacher.embedded)}
    losses["embed at size"].backward()
    tokens, sums = teacher.embedded, torch.zeros(3)
    for block, target in zip(student.blocks, teacher.blocks, strict=True):
        middle, log_pattern = attend(block, tokens)
        parts = (
            unexplained_variance(middle, target.middle, tokens),
            pattern_divergence(log_pattern, target.log_pattern),
            unexplained_variance(feed_forward(block, target.middle), target.out, target.middle),
        )
        torch.stack(parts).sum().backward()
        sums += torch.stack(parts).detach().cpu()
        tokens = target.out
    losses |= dict(zip(("attention", "pattern", "mlp"), sums / len(student.blocks), strict=True))
    logits = classify(student, tokens)
    losses["logits"] = logit_divergence(logits, teacher.logits)
    losses["logit_error"] = logit_error(logits, teacher.logits)
    (losses["logits"] + losses["logit_error"]).backward()
    return losses


def whole_losses(
    student: ViT,
    teacher: States,
    images: Float[Tensor, "image 3 height width"],
    kept: Int[Tensor, " kept"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Let the student run on its own tokens and match the teacher at every depth; calls backward."""
    states = forward_states(student, images, kept)
    pairs = list(zip(states.blocks, teacher.blocks, strict=True))
    losses = {
        "embed at size": unexplained_variance(states.embedded, teacher.embedded),
        "tokens": torch.stack([unexplained_variance(s.out, t.out) for s, t in pairs]).mean(),
        "pattern": torch.stack([pattern_divergence(s.log_pattern, t.log_pattern) for s, t in pairs]).mean(),
        "logits": logit_divergence(states.logits, teacher.logits),
        "logit_error": logit_error(states.logits, teacher.logits),
    }
    torch.stack(list(losses.values())).sum().backward()
    return losses


def new_student(depth: int, width: int, heads: int, classes: int = 1000) -> ViT:
    """Build the student with timm's own random start; other image sizes resample its position embedding."""
    return VisionTransformer(
        224, 16, num_classes=classes, embed_dim=width, depth=depth, num_heads=heads, dynamic_img_size=True
    )


def freeze(model: ViT) -> ViT:
    """Return the model in eval mode with gradients switched off."""
    return model.eval().requires_grad_(False)
