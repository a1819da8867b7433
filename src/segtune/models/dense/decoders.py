"""From the maps of an encoder to one fine map that the heads read: U-Net, DPT and linear.

Every decoder takes maps in the encoder's order (fine to coarse; for a ViT early to late, all of one stride) and says
how many `channels` its own map has and at which `stride`, in model pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.layers import NORMS, ConvNormAct, Norm, resized


def build_decoder(config: DenseModelConfig, channels: Sequence[int], strides: Sequence[int]) -> Decoder:
    """The decoder that a config asks for.

    Args:
        config: Kind, width and skips.
        channels: Of the encoder's maps.
        strides: Of the encoder's maps, in model pixels.
    """
    norm = NORMS[config.norm]
    if config.decoder == "unet":
        return UnetDecoder(
            channels, strides, config.width, norm, narrowest=config.narrowest, pixel_skips=config.pixel_skips
        )
    if config.decoder == "dpt":
        return DptDecoder(channels, strides, config.width, norm)
    return LinearDecoder(channels, strides, config.width)


class Decoder(nn.Module):
    """Base of the decoders.

    Attributes:
        channels: Of the map it gives.
        stride: Of that map, in model pixels; a fraction where a patch does not divide into eight.
    """

    channels: int
    stride: float

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Decodes.

        Args:
            features: Float maps `[B, C_i, h_i, w_i]` of the encoder.
            pixels: Float `[B, 3, h, w]`, model pixels, normalised.

        Returns:
            Float `[B, channels, h', w']`, low-res.
        """
        raise NotImplementedError


class UnetDecoder(Decoder):
    """Joins maps coarse to fine with skips, as a U-Net does (Ronneberger et al., arXiv 1505.04597).

    Every map is projected by a 1x1 convolution. From the coarsest on, the state is up-sampled to the next finer map,
    the two are stacked and pass two 3x3 convolutions; one more stands at the end, which with the head's own makes two.
    The coarsest map and the first join have `width` channels, every finer one half of them, at least `narrowest`.

    The depths of a ViT all have stride s: projected, they are brought to s/8, s/4, s/2 and s by up-sampling, the
    earliest to the finest. A pyramid may have skips from the pixels too, at the strides 1, 2, ... finer than its own.

    Args:
        channels: Of the encoder's maps.
        strides: Of the encoder's maps, in model pixels.
        width: Channels of the coarsest level.
        norm: Makes every normalisation.
        narrowest: Channels that no level goes below, unless `width` is less.
        pixel_skips: Whether a pyramid has skips from the pixels.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        width: int,
        norm: Norm,
        *,
        narrowest: int,
        pixel_skips: bool,
    ) -> None:
        super().__init__()
        pyramid = len(set(strides)) > 1
        count = len(channels)
        self.factors = [1] * count if pyramid else [2 ** (count - 1 - level) for level in range(count)]
        extra = (strides[0].bit_length() - 1) if pyramid and pixel_skips else 0
        widths = _widths(width, count + extra, narrowest)
        self.stem = PixelStem(widths[:extra], norm)
        self.projections = nn.ModuleList(
            ConvNormAct(inputs, outputs, norm, kernel=1)
            for inputs, outputs in zip(channels, widths[extra:], strict=True)
        )
        # joins[i] makes level i out of the level i + 1 and the skip at i
        self.joins = nn.ModuleList(
            nn.Sequential(ConvNormAct(coarse + fine, fine, norm), ConvNormAct(fine, fine, norm))
            for fine, coarse in pairwise(widths)
        )
        self.last = ConvNormAct(widths[0], widths[0], norm)
        self.channels = widths[0]
        self.stride = 1.0 if extra else strides[0] / self.factors[0]

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Decodes; shapes as in `Decoder.forward`."""
        skips = self.stem(pixels)
        for map_, projection, factor in zip(features, self.projections, self.factors, strict=True):
            height, width = map_.shape[-2:]
            skips.append(resized(projection(map_), (height * factor, width * factor)))
        state = skips.pop()
        for join in reversed(self.joins):
            skip = skips.pop()
            state = join(torch.cat([resized(state, tuple(skip.shape[-2:])), skip], dim=1))
        return self.last(state)


class PixelStem(nn.Module):
    """Convolutions on the pixels themselves: thin things survive there that an encoder's first stride loses.

    Two at every stride, as in a U-Net's own encoder: a single one sees 3 x 3 pixels at the finest, too few to tell a
    pole from any other edge.

    Args:
        widths: Channels at the strides 1, 2, 4, ...; none at all makes no maps.
        norm: Makes every normalisation.
    """

    def __init__(self, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        inputs = (3, *widths)
        self.layers = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(before, after, norm, stride=1 if level == 0 else 2), ConvNormAct(after, after, norm)
            )
            for level, (before, after) in enumerate(zip(inputs, widths, strict=False))
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Float `[B, 3, h, w]` to a map per width, fine to coarse."""
        maps = []
        for layer in self.layers:
            pixels = layer(pixels)
            maps.append(pixels)
        return maps


class DptDecoder(Decoder):
    """The dense prediction transformer's decoder (Ranftl, Bochkovskiy and Koltun 2021, arXiv 2103.13413, section 3).

    *Reassemble*: the four depths of a ViT are projected and resampled to s/4, s/2, s and 2s by transposed and strided
    convolutions; the maps of a pyramid have such strides already. *Fusion*: from the coarsest on, a residual unit on
    the skip, the sum with the state, another residual unit, up-sampling by two, a 1x1 convolution. A 3x3 convolution
    stands before the head. Tokens other than patches are ignored; by default GroupNorm takes the place of BatchNorm;
    all reassembled maps have `width` channels, where the paper's grow with depth before they are brought to one.

    Args:
        channels: Of the encoder's maps.
        strides: Of the encoder's maps, in model pixels.
        width: Channels everywhere.
        norm: Makes every normalisation.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int, norm: Norm) -> None:
        super().__init__()
        resample = not len(set(strides)) > 1
        self.reassemble = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, kernel_size=1),
                _resampling(width, level) if resample else nn.Identity(),
                nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False),
            )
            for level, inputs in enumerate(channels)
        )
        self.fusions = nn.ModuleList(
            _Fusion(width, norm, skip=level < len(channels) - 1) for level in range(len(channels))
        )
        self.last = ConvNormAct(width, width, norm)
        self.channels = width
        self.stride = strides[0] / 8 if resample else strides[0] / 2

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Decodes; shapes as in `Decoder.forward`."""
        maps = [layer(map_) for layer, map_ in zip(self.reassemble, features, strict=True)]
        state = None
        for level in reversed(range(len(maps))):
            fine = maps[level - 1].shape[-2:] if level else [2 * side for side in maps[0].shape[-2:]]
            state = self.fusions[level](maps[level], state, (fine[0], fine[1]))
        return self.last(state)


def _resampling(width: int, level: int) -> nn.Module:
    """What brings the depth `level` (0 is the earliest) of a ViT to s/4, s/2, s or 2s."""
    if level < 2:
        factor = 4 >> level
        return nn.ConvTranspose2d(width, width, kernel_size=factor, stride=factor)
    return nn.Identity() if level == 2 else nn.Conv2d(width, width, kernel_size=3, stride=2, padding=1)


class _Residual(nn.Module):
    """RefineNet's residual convolution unit with norms: x + conv(relu(conv(relu(x)))), `[B, C, h, w]` to the same."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ReLU(), nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False), norm(width)]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """The sum of the map and what the layers make of it."""
        return features + self.layers(features)


class _Fusion(nn.Module):
    """A fusion block: the skip is refined and added to the state, both are refined and up-sampled."""

    def __init__(self, width: int, norm: Norm, *, skip: bool) -> None:
        super().__init__()
        # the coarsest level has no state to be added to
        self.refine_skip = _Residual(width, norm) if skip else nn.Identity()
        self.refine = _Residual(width, norm)
        self.project = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, skip: Tensor, state: Tensor | None, size: tuple[int, int]) -> Tensor:
        """From the skip and the state, both `[B, C, h, w]`, to `[B, C, *size]`."""
        refined = self.refine_skip(skip)
        # the projection is linear and pointwise, so it is done before up-sampling, where there are fewer places
        return resized(self.project(self.refine(refined if state is None else refined + state)), size)


class LinearDecoder(Decoder):
    """A linear classifier on all maps: each is projected by a 1x1 convolution, brought to the finest stride and added.

    With the head's 1x1 convolution this is linear in the maps, of rank `width` at most, without any norm: what it
    reaches says how much the encoder knows by itself.

    Args:
        channels: Of the encoder's maps.
        strides: Of the encoder's maps, in model pixels.
        width: Channels of the sum.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(inputs, width, kernel_size=1) for inputs in channels)
        self.channels, self.stride = width, float(strides[0])

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Tensor:
        """Decodes; shapes as in `Decoder.forward`."""
        size = (features[0].shape[-2], features[0].shape[-1])
        maps = [resized(layer(map_), size) for layer, map_ in zip(self.projections, features, strict=True)]
        return torch.stack(maps).sum(dim=0)


def _widths(width: int, levels: int, narrowest: int) -> list[int]:
    """Channels of the U-Net's levels, fine to coarse: `width` at the two coarsest, then halves down to a floor."""
    floor = min(width, narrowest)
    return [max(width >> max(levels - 2 - level, 0), floor) for level in range(levels)]
