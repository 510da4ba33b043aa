"""Text prompts as classes, for CLIP and SigLIP: a logit is the scaled likeness of the image to a text.

CLIP: scale * cos(W_v cls, W_t text); SigLIP: scale * cos(pooled, text) + bias, where attention from a learned probe
pools the tokens (Radford et al. 2021; Zhai et al. 2023). The texts are read once; what is kept of them is a matrix, so
that maps, ledgers and edits of a prompt's logit go the way of any class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from explorer.errors import CheckpointError, ModelError
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model
from explorer.models.formats.config import read_config
from explorer.models.formats.reading import first_line, read_model_folder
from explorer.models.prompt_files import checked_prompts, has_text_tower
from explorer.models.transformers_models import fill, library, read_settings


@dataclass(frozen=True, eq=False)
class PromptAdapter(TransformersAdapter):
    """The image tower's tokens, and their likeness to some texts as logits."""

    texts: Tensor | None = None  # "prompt width", of length 1
    projection: Tensor | None = None  # "width width", of CLIP's cls token
    scale: float = 1.0
    bias: float = 0.0

    def forward(self, module: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens, _ = super().forward(module, pixels)
        assert self.texts is not None
        if self.projection is None:
            image = pool_in_the_open(self.backbone(module).head, tokens)
        else:
            image = F.linear(tokens[:, 0], self.projection.to(tokens))
        image = image / image.norm(dim=-1, keepdim=True)
        return tokens, image @ self.texts.to(image).mT * self.scale + self.bias


def pool_in_the_open(head: Any, tokens: Float[Tensor, "image token width"]) -> Float[Tensor, "image width"]:
    """SigLIP's pooling head with its attention written out, so that the recorder sees it."""
    attention, width = head.attention, tokens.shape[-1]
    weights, biases = attention.in_proj_weight.split(width), attention.in_proj_bias.split(width)
    parts = (head.probe, tokens, tokens)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for x, w, b in zip(parts, weights, biases, strict=True)
    )
    out = F.scaled_dot_product_attention(q.expand(len(tokens), -1, -1, -1), k, v).transpose(1, 2).flatten(2)
    pooled = F.linear(out, attention.out_proj.weight, attention.out_proj.bias)
    return (pooled + head.mlp(head.layernorm(pooled)))[:, 0]


def with_prompts(model: Model, folder: Path, prompts: Sequence[str]) -> Model:
    """The model with these texts as its classes; folder: what it was loaded from.

    Raises ModelError where the folder has no text half, CheckpointError where that or the tokenizer can't be read.
    """
    if not has_text_tower(folder) or not isinstance(model.adapter, TransformersAdapter) or model.adapter.pooling:
        raise ModelError(
            f"{model.name} has no text half with a tokenizer, so it takes no text prompts: give a folder of CLIP or "
            "SigLIP that transformers saved whole."
        )
    tensors, _ = read_model_folder(folder, folder.name)
    texts = embed_texts(folder, tensors, checked_prompts(prompts))
    own = {field.name: getattr(model.adapter, field.name) for field in fields(TransformersAdapter)}
    is_clip = read_config(folder)["model_type"] == "clip"
    adapter = PromptAdapter(
        **own,
        texts=texts,
        projection=_tensor(tensors, "visual_projection.weight", folder) if is_clip else None,
        scale=float(_tensor(tensors, "logit_scale", folder).exp()),
        bias=0.0 if is_clip else float(_tensor(tensors, "logit_bias", folder)),
    )
    alone = len(texts) == 1  # a share of one among one says nothing
    return replace(
        model,
        adapter=adapter,
        class_names=list(checked_prompts(prompts)),
        outputs=("number" if alone else "classes") if is_clip else "labels",
    )


def _tensor(tensors: dict[str, Tensor], key: str, folder: Path) -> Tensor:
    if key not in tensors:
        raise CheckpointError(f"{folder.name}: the tensor {key} is missing, so it takes no text prompts.")
    return tensors[key].float()


@torch.no_grad()
def embed_texts(folder: Path, tensors: dict[str, Tensor], prompts: Sequence[str]) -> Float[Tensor, "prompt width"]:
    """The texts as the model's text half embeds them, of length 1."""
    settings = read_config(folder)
    is_clip = settings["model_type"] == "clip"
    config = read_settings(settings, folder.name).text_config
    own = {key.removeprefix("text_model."): t for key, t in tensors.items() if key.startswith("text_model.")}
    tower, _ = fill(library().CLIPTextModel if is_clip else library().SiglipTextModel, config, own, folder.name)
    pooled = tower.eval()(**_tokenized(folder, prompts, config, is_clip)).pooler_output
    if is_clip:
        pooled = F.linear(pooled, _tensor(tensors, "text_projection.weight", folder))
    return pooled / pooled.norm(dim=-1, keepdim=True)


def _tokenized(folder: Path, prompts: Sequence[str], config: Any, is_clip: bool) -> Any:
    """As the family was trained: CLIP pads to the longest text, SigLIP to all its positions."""
    padding = True if is_clip else "max_length"
    try:
        tokenizer = library().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return tokenizer(
            list(prompts), padding=padding, truncation=True, max_length=config.max_position_embeddings,
            return_tensors="pt",
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise CheckpointError(f"The tokenizer in {folder.name} can't be read: {first_line(error)}.") from error
