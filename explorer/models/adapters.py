"""What differs between timm and transformers models: how tokens and logits come out, and which sizes go in."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from explorer.errors import SizeError


def _check_fixed(fixed_size: tuple[int, int] | None, height: int, width: int) -> None:
    if fixed_size and (height, width) != fixed_size:
        rows, cols = fixed_size
        raise SizeError(
            f"This model takes only {cols}x{rows} pixels, not {width}x{height}: choose size {min(fixed_size)} "
            "and fit crop or squash."
        )


@dataclass(frozen=True)
class TimmAdapter:
    """forward_features gives normed tokens; forward_head pools and classifies them."""

    classifies: bool
    fixed_size: tuple[int, int] | None = None  # (height, width) of models that can't interpolate their positions

    def forward(self, module: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        timm_module: Any = module
        features = timm_module.forward_features(pixels)
        tokens = features.flatten(1, -2)  # some models give "1 row col width"
        return tokens, timm_module.forward_head(features) if self.classifies else None

    def check_size(self, module: nn.Module, height: int, width: int) -> None:
        _check_fixed(self.fixed_size, height, width)


@dataclass(frozen=True)
class TransformersAdapter:
    """The base model gives tokens; `pooling` says what its classifier, if any, reads."""

    base: str  # attribute of the module that holds the backbone, "" where the module is the backbone
    options: tuple[str, ...]  # keyword arguments of its forward that are switched on
    pooling: str | None = None  # a key of POOLINGS, None where the model doesn't classify
    norm_after: str = ""  # a norm that the backbone applies to its pooled token only
    fixed_size: tuple[int, int] | None = None

    def forward(self, module: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        backbone = self.backbone(module)
        out = backbone(pixel_values=pixels, **self.keywords(module, pixels))
        tokens = out.last_hidden_state
        if self.norm_after:
            tokens = getattr(backbone, self.norm_after)(tokens)
        return tokens, POOLINGS[self.pooling](module, out) if self.pooling else None

    def backbone(self, module: nn.Module) -> Any:
        """The part of the module that turns pixels into tokens."""
        return getattr(module, self.base) if self.base else module

    def keywords(self, module: nn.Module, pixels: Tensor) -> dict[str, Any]:
        """What the backbone's forward takes beside the pixels, "1 3 height width"."""
        keywords: dict[str, Any] = dict.fromkeys(self.options, True)
        if "noise" in keywords:
            # A masked autoencoder shuffles patches by sorting noise, even when it masks none: rising noise keeps order.
            patch = self.backbone(module).config.patch_size
            patches = (pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
            keywords["noise"] = torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
        return keywords

    def check_size(self, module: nn.Module, height: int, width: int) -> None:
        _check_fixed(self.fixed_size, height, width)


def _first(module: Any, out: Any) -> Tensor:
    return module.classifier(out.last_hidden_state[:, 0])


def _first_and_mean(module: Any, out: Any) -> Tensor:
    tokens = out.last_hidden_state
    prefix = 1 + getattr(module.config, "num_register_tokens", 0)
    return module.classifier(torch.cat([tokens[:, 0], tokens[:, prefix:].mean(dim=1)], dim=1))


def _mean(module: Any, out: Any) -> Tensor:
    return module.classifier(out.last_hidden_state.mean(dim=1))


def _mean_after_first(module: Any, out: Any) -> Tensor:
    return module.classifier(out.last_hidden_state[:, 1:].mean(dim=1))


def _pooler(module: Any, out: Any) -> Tensor:
    return module.classifier(out.pooler_output)


def _two_tokens(module: Any, out: Any) -> Tensor:
    tokens = out.last_hidden_state
    return (module.cls_classifier(tokens[:, 0]) + module.distillation_classifier(tokens[:, 1])) / 2


POOLINGS = {
    "first": _first,
    "first_and_mean": _first_and_mean,
    "mean": _mean,
    "mean_after_first": _mean_after_first,
    "pooler": _pooler,
    "two_tokens": _two_tokens,
}
