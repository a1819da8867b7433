"""What stands between the two models: from hidden states to prompts, and the connector for shared features.

Both ways to make prompts are called alike. Neither looks beyond the state that predicts `<SEG>`, so that a mask drawn
while an answer grows is the mask of the finished answer.
"""

from __future__ import annotations

import torch
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

    def forward(self, states: Tensor, real: Tensor, query: Tensor, position: Tensor) -> Tensor:
        """Makes one prompt per mask.

        Args:
            states: float `[Q, T, H]`, the hidden states of every query.
            real: bool `[Q, T]`, False on padding.
            query: int64 `[N]`, the query of each mask.
            position: int64 `[N]`, where the state stands that predicts its `<SEG>`.

        Returns:
            float `[N, 1, D]`, in the projection's own dtype.
        """
        return self.layers(states[query, position].to(next(self.layers.parameters()).dtype))[:, None]


class QueryTokens(nn.Module):
    """K learned tokens that attend to the fused states of image and words become K sparse prompts.

    The way of the first ModifiedLISA. A mask's tokens see the real tokens of its query up to the state that predicts
    its `<SEG>`: two masks of one answer differ in what had been said before each.

    Args:
        width: H, the width of the language model.
        prompt_width: D, the width of the mask decoder and of the attention.
        count: K.
        hidden: Hidden width of the final perceptron; H if None.
    """

    def __init__(self, width: int, prompt_width: int, count: int, hidden: int | None = None) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, prompt_width))
        heads = next(heads for heads in (8, 4, 2, 1) if prompt_width % heads == 0)
        self.attention = nn.MultiheadAttention(prompt_width, heads, kdim=width, vdim=width, batch_first=True)
        self.norm = nn.LayerNorm(prompt_width)
        self.layers = nn.Sequential(
            nn.Linear(prompt_width, hidden or width), nn.ReLU(), nn.Linear(hidden or width, prompt_width)
        )

    def forward(self, states: Tensor, real: Tensor, query: Tensor, position: Tensor) -> Tensor:
        """Makes K prompts per mask, float `[N, K, D]`; arguments as in `SegProjection.forward`."""
        tokens = self.tokens.expand(len(query), -1, -1)
        if not len(query):
            return tokens
        seen = real[query] & (torch.arange(states.shape[1], device=states.device) <= position[:, None])
        context = states[query].to(tokens.dtype)
        attended, _ = self.attention(tokens, context, context, key_padding_mask=~seen, need_weights=False)
        return self.layers(self.norm(tokens + attended))


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
