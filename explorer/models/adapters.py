"""What differs between timm and transformers models: how tokens and logits come out, and which sizes go in."""

from dataclasses import dataclass

from torch import Tensor, nn

from explorer.errors import ImageError


@dataclass(frozen=True)
class TimmAdapter:
    """forward_features gives normed tokens; forward_head pools and classifies them."""

    classifies: bool
    fixed_size: int | None = None  # for models that can't interpolate their positions

    def forward(self, module: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        tokens = module.forward_features(pixels)  # type: ignore[operator]
        return tokens, module.forward_head(tokens) if self.classifies else None  # type: ignore[operator]

    def check_size(self, module: nn.Module, height: int, width: int) -> None:
        if self.fixed_size and (height, width) != (self.fixed_size, self.fixed_size):
            raise ImageError(
                f"This model takes only {self.fixed_size}x{self.fixed_size} pixels, not {width}x{height}: "
                f"choose size {self.fixed_size} and fit crop or squash."
            )
