"""From pixels to the tokens that enter layer 0: patch vectors, prefix tokens, positions; the projection's filters."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from explorer.errors import ModelError, QueryError
from explorer.models.adapters import TransformersAdapter
from explorer.models.backbone import Model


@dataclass(frozen=True, eq=False)
class Tokens:
    """What a model makes of an image before its first layer."""

    grid: tuple[int, int]  # (rows, cols) of patches
    prefix_tokens: tuple[str, ...]
    vectors: Float[np.ndarray, "patch width"]  # each patch after the patch projection
    entering: Float[np.ndarray, "token width"]  # what layer 0 gets, prefix tokens first
    positions: Float[np.ndarray, "patch width"] | None  # what is added to each patch vector; None where nothing is

    @property
    def norms(self) -> Float[np.ndarray, "row col"]:
        """Length of every patch vector."""
        return np.linalg.norm(self.vectors, axis=1).reshape(self.grid)

    def index(self, patch: tuple[int, int]) -> int:
        """Index of a patch (row, col) among the patches; QueryError where it lies outside the grid."""
        (row, col), (rows, cols) = patch, self.grid
        if not (0 <= row < rows and 0 <= col < cols):
            raise QueryError(f"Patch {row}, {col} lies outside the grid of {rows} rows and {cols} columns.")
        return row * cols + col

    def position_similarity(self, patch: tuple[int, int]) -> Float[np.ndarray, "row col"] | None:
        """Cosine similarity of one patch's position embedding to every patch's; None without any."""
        index = self.index(patch)
        if self.positions is None:
            return None
        lengths = np.linalg.norm(self.positions, axis=1).clip(1e-12)
        cosines = self.positions @ self.positions[index] / (lengths * lengths[index])
        return cosines.reshape(self.grid).astype(np.float32)


@torch.no_grad()
def make_tokens(model: Model, image: Image.Image) -> Tokens:
    """The tokens of an image that was fitted to the model (Recording.image, Model.fit)."""
    pixels = model.pixels(image)
    grid = model.grid(image.height, image.width)
    entering = embed(model, pixels)
    vectors = patch_vectors(model, pixels)
    positions = _addition(model, pixels, vectors, entering)
    return Tokens(
        grid=grid,
        prefix_tokens=model.prefix_tokens,
        vectors=vectors.float().cpu().numpy(),
        entering=entering.float().cpu().numpy(),
        positions=None if positions is None else positions.float().cpu().numpy(),
    )


def _addition(model: Model, pixels: Tensor, vectors: Tensor, entering: Tensor) -> Tensor | None:
    """What is added to the patch vectors, "patch width"; None for nothing, or where it isn't a plain addition."""
    prefix = len(model.prefix_tokens)
    added = entering[prefix:] - vectors
    noise = 1e-4 * vectors.abs().max()
    if added.abs().max() <= noise:
        return None
    black = torch.zeros_like(pixels)
    again = embed(model, black)[prefix:] - patch_vectors(model, black)
    return added if (added - again).abs().max() <= noise else None


def embed(model: Model, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "token width"]:
    """All tokens as they come to the first block, by the library's own code.

    A norm that some models (CLIP) apply once more before their first block is not part of it. Raises ModelError where a
    model puts its tokens together in a way that isn't known here.
    """
    module: Any = model.module
    if isinstance(model.adapter, TransformersAdapter):
        return _transformers_embed(model.adapter, module, pixels)
    if hasattr(module, "embeds"):  # NaFlexViT
        out = module.embeds(pixels)
    elif hasattr(module, "_pos_embed"):
        out = module._pos_embed(module.patch_embed(pixels))
    elif hasattr(module, "patch_embed") and hasattr(module, "cls_token"):
        out = _join(module, module.patch_embed(pixels))
    else:
        raise ModelError(f"{model.name} puts its tokens together in its own way, so the steps to them can't be shown.")
    return (out[0] if isinstance(out, tuple) else out)[0]


def _join(module: Any, patches: Tensor) -> Tensor:
    """BEiT and models with relative positions: the cls token, then the patches, plus positions where there are any."""
    patches = _flat(patches)
    tokens = patches if module.cls_token is None else torch.cat([module.cls_token, patches], dim=1)
    positions = getattr(module, "pos_embed", None)
    return tokens if positions is None else tokens + positions


def _transformers_embed(adapter: TransformersAdapter, module: nn.Module, pixels: Tensor) -> Tensor:
    embeddings = adapter.backbone(module).embeddings
    taken = inspect.signature(embeddings.forward).parameters
    keywords = {name: value for name, value in adapter.keywords(module, pixels).items() if name in taken}
    out = embeddings(pixels, **keywords)
    return (out[0] if isinstance(out, tuple) else out)[0]


def patch_vectors(model: Model, pixels: Float[Tensor, "1 3 height width"]) -> Float[Tensor, "patch width"]:
    """Every patch after the patch projection, before anything is added."""
    module: Any = model.module
    if hasattr(module, "patch_embed"):
        return _flat(module.patch_embed(pixels))[0]
    kernel, bias = projection(model)
    return F.conv2d(pixels, kernel, bias, stride=model.patch_size)[0].flatten(1).T


def _flat(patches: Float[Tensor, "1 ... width"]) -> Float[Tensor, "1 patch width"]:
    """Patches that lie in rows and columns, or in a row already, in a row."""
    return patches.flatten(1, 2) if patches.ndim == 4 else patches


def projection(model: Model) -> tuple[Float[Tensor, "width 3 patch patch"], Float[Tensor, " width"] | None]:
    """The patch projection as a convolution: its kernel, and its bias if it has one.

    Raises ModelError where the model sees the image through more than one linear step (hybrids).
    """
    side = model.patch_size
    for part in model.module.modules():
        if isinstance(part, nn.Conv2d) and part.in_channels == 3 and part.kernel_size == part.stride == (side, side):
            return part.weight, part.bias
        if isinstance(part, nn.Linear) and part.in_features == 3 * side * side:
            return part.weight.unflatten(1, (side, side, 3)).permute(0, 3, 1, 2), part.bias  # NaFlexViT: colours last
    raise ModelError(f"{model.name} has no single patch projection: a convolutional network stands before its tokens.")


@torch.no_grad()
def filters(model: Model, count: int = 24) -> Float[np.ndarray, "filter patch patch 3"]:
    """The main filters of the patch projection as RGB pictures, float32 in 0..1.

    Principal components of the kernel over its output channels, strongest first, each scaled to its own range
    (Dosovitskiy et al. 2021, figure 7).
    """
    kernel = projection(model)[0].float().cpu()
    flat = kernel.flatten(1)
    components = torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False).Vh[:count]
    components = components * components.sum(dim=1, keepdim=True).sign()  # a component's sign is free: bright wins
    low, high = components.amin(1, keepdim=True), components.amax(1, keepdim=True)
    pictures = ((components - low) / (high - low).clamp_min(1e-12)).unflatten(1, tuple(kernel.shape[1:]))
    return pictures.permute(0, 2, 3, 1).numpy()


def position_kinds(model: Model) -> tuple[str, ...]:
    """How else than by addition the model tells places apart: "rotary", "relative", both or none."""
    names = [type(part).__name__.lower() for part in model.module.modules()]
    parameters = [name for name, _ in model.module.named_parameters()]
    rotary = any("rope" in name or "rotary" in name for name in names)
    relative = any("relpos" in name for name in names) or any("relative_position" in name for name in parameters)
    return tuple(kind for kind, found in (("rotary", rotary), ("relative", relative)) if found)
