"""What stands between the two models: the `<SEG>` projection and the connector for shared features."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SegProjection(nn.Module):
    """The hidden state of `<SEG>` becomes a sparse prompt: Linear, ReLU, Linear (LISA's `text_hidden_fcs`).

    Args:
        width: H, the width of the language model.
        prompt_width: D, the width of the mask decoder.
        hidden: Hidden width; the reference uses H.
    """

    def __init__(self, width: int, prompt_width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden or width), nn.ReLU(), nn.Linear(hidden or width, prompt_width)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Float `[N, H]` hidden states to float `[N, D]` prompts, in the projection's own dtype."""
        return self.layers(states.to(next(self.layers.parameters()).dtype))


class Connector(nn.Module):
    """The vision tower's patch grid becomes the mask decoder's feature map (the ModifiedLISA way).

    1x1 convolution, GroupNorm, 3x3 convolution, GroupNorm, bilinear to the decoder's grid. The image is then encoded
    once, and no second encoder is kept in memory.

    Args:
        tower_width: C, the width of the vision tower.
        width: D, the width of the mask decoder.
        grid: Side of the decoder's feature map.
    """

    def __init__(self, tower_width: int, width: int, grid: int) -> None:
        super().__init__()
        groups = 32 if width % 32 == 0 else 1
        self.grid = grid
        self.reduce = nn.Conv2d(tower_width, width, kernel_size=1, bias=False)
        self.reduce_norm = nn.GroupNorm(groups, width)
        self.mix = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.mix_norm = nn.GroupNorm(groups, width)

    def forward(self, features: Tensor) -> Tensor:
        """Float `[G, P, C]` tower features, P a square number, to float `[G, D, grid, grid]`."""
        groups, patches, channels = features.shape
        side = int(patches**0.5)
        if side * side != patches:
            raise ValueError(f"the connector needs a square patch grid; found {patches} patches")
        grid = features.to(self.reduce.weight.dtype).transpose(1, 2).reshape(groups, channels, side, side)
        mixed = self.mix_norm(self.mix(self.reduce_norm(self.reduce(grid))))
        return F.interpolate(mixed, size=(self.grid, self.grid), mode="bilinear", align_corners=False)
