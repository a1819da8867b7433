"""What differs between the backbones of transformers: their maps, the sizes they take, and where their blocks lie.

A family is a `model_type` of transformers. A ViT has one stride and a final norm behind all its blocks; a pyramid has
stages of growing stride, and its blocks are the layers of all stages in order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from segtune.core.errors import ConfigError

VIT_DEPTHS = 4
"""Maps that a ViT gives: after 1/4, 1/2, 3/4 and all of its blocks."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The parts of a backbone that are unfrozen one after another.

    Attributes:
        blocks: First to last. What opens a stage (its down-sampling) belongs to the first block behind it.
        norms: Pairs of a block's index and the norm that stands behind that block.
    """

    blocks: tuple[nn.ModuleList, ...]
    norms: tuple[tuple[int, nn.Module], ...]


@dataclass(frozen=True, slots=True)
class Family:
    """What has to be known about a `model_type`.

    Attributes:
        pyramid: Whether its maps have growing strides.
        first_stride: From a config to the finest stride, in model pixels.
        arrange: From a backbone to its blocks and norms.
        cuts: Whether a map that a down-sampling does not divide loses its border (then the size must fit the coarsest
            stride, else the finest).
        unneeded: Prefix of weights that a checkpoint may lack: norms that the backbone class adds, fresh at gain 1.
        unused: Pattern of weights that a checkpoint may have beyond the backbone: classifiers and norms before them.
    """

    pyramid: bool
    first_stride: Callable[[Any], int]
    arrange: Callable[[Any], Arrangement]
    cuts: bool = False
    unneeded: str | None = None
    unused: str = r"^classifier\."

    def strides(self, config: Any) -> tuple[int, ...]:
        """The strides of the maps, fine to coarse, in model pixels."""
        first = self.first_stride(config)
        return tuple(first * 2**stage for stage in range(len(config.depths))) if self.pyramid else (first,) * VIT_DEPTHS

    def out_indices(self, config: Any) -> list[int]:
        """Which of the backbone's stages are wanted; 0 is what comes before the first."""
        count = len(config.depths) if self.pyramid else config.num_hidden_layers
        if self.pyramid:
            return list(range(1, count + 1))
        return [-(-count * depth // VIT_DEPTHS) for depth in range(1, VIT_DEPTHS + 1)]

    def multiple_of(self, config: Any) -> int:
        """What height and width of an image must be multiples of, in model pixels."""
        strides = self.strides(config)
        return strides[-1] if self.cuts else strides[0]


def _patch(config: Any) -> int:
    """The side of a square patch; a backbone with other patches is refused."""
    size = config.patch_size
    sides = {int(side) for side in size} if isinstance(size, Iterable) else {int(size)}
    if len(sides) != 1:
        raise ConfigError("patches must be square", where="model.encoder", found=f"patch_size {size}")
    return sides.pop()


def _vit(layers: Iterable[nn.Module], norm: nn.Module) -> Arrangement:
    blocks = tuple(nn.ModuleList([layer]) for layer in layers)
    return Arrangement(blocks, ((len(blocks) - 1, norm),))


def _pyramid(stages: Iterable[tuple[list[nn.Module], Iterable[nn.Module], nn.Module | None]]) -> Arrangement:
    """From (what opens a stage, its layers, the norm of its map) of every stage."""
    blocks: list[nn.ModuleList] = []
    norms: list[tuple[int, nn.Module]] = []
    for opening, layers, norm in stages:
        first, *others = layers
        blocks += [nn.ModuleList([*opening, first]), *(nn.ModuleList([layer]) for layer in others)]
        if norm is not None:
            norms.append((len(blocks) - 1, norm))
    return Arrangement(tuple(blocks), tuple(norms))


def _dinov2(backbone: Any) -> Arrangement:
    return _vit(backbone.encoder.layer, backbone.layernorm)


def _dinov3_vit(backbone: Any) -> Arrangement:
    return _vit(backbone.model.layer, backbone.norm)


def _swinv2(backbone: Any) -> Arrangement:
    """A merging of patches closes its stage in the code and opens the next stage here."""
    stages = list(backbone.encoder.layers)
    merges = [None, *(stage.downsample for stage in stages)]
    return _pyramid(
        ([merge] if merge is not None else [], stage.blocks, None) for merge, stage in zip(merges, stages, strict=False)
    )


def _convnext(backbone: Any) -> Arrangement:
    return _pyramid(
        (list(stage.downsampling_layer), stage.layers, backbone.hidden_states_norms[f"stage{number}"])
        for number, stage in enumerate(backbone.encoder.stages, start=1)
    )


def _dinov3_convnext(backbone: Any) -> Arrangement:
    return _pyramid(
        # the patchifying stem is the first stage's down-sampling there, and no block of any other family
        (list(stage.downsample_layers) if number else [], stage.layers, None)
        for number, stage in enumerate(backbone.model.stages)
    )


def _resnet(backbone: Any) -> Arrangement:
    return _pyramid(([], stage.layers, None) for stage in backbone.encoder.stages)


_CONVNEXT = Family(
    True, _patch, _convnext, cuts=True, unneeded="hidden_states_norms.",
    unused=r"^classifier\.|^(convnext\.|convnextv2\.)?layernorm\.",
)  # fmt: skip

FAMILIES: dict[str, Family] = {
    "dinov2": Family(False, _patch, _dinov2),
    "dinov2_with_registers": Family(False, _patch, _dinov2),
    "dinov3_vit": Family(False, _patch, _dinov3_vit),
    "dinov3_convnext": Family(True, lambda config: 4, _dinov3_convnext, cuts=True, unused=r"^(model\.)?layer_norm\."),
    "swinv2": Family(
        True, _patch, _swinv2,
        unused=r"^classifier\.|^(swinv2\.)?layernorm\.|\.relative_(coords_table|position_index)$",
    ),
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "resnet": Family(True, lambda config: 8 if config.downsample_in_first_stage else 4, _resnet),
}  # fmt: skip
"""Every `model_type` that can be an encoder: it has a Backbone class in transformers, and its blocks are known here."""


def family_of(config: Any, where: str) -> Family:
    """The family of a transformers config.

    Args:
        config: Any config of transformers.
        where: The encoder's name, for the message.

    Raises:
        ConfigError: Its `model_type` is none that can be an encoder, or it does not read three channels, or it is a
            ViT with fewer blocks than maps are taken from it.
    """
    found = str(getattr(config, "model_type", "unknown"))
    if found not in FAMILIES:
        raise ConfigError(
            "this model cannot be an encoder", where=where, expected=f"a model type out of {', '.join(FAMILIES)}",
            found=f"model type {found}", fix="choose another model.encoder",
        )  # fmt: skip
    family = FAMILIES[found]
    if config.num_channels != 3:
        raise ConfigError(
            "the encoder must read RGB images", where=where, expected="3 channels", found=str(config.num_channels)
        )
    if not family.pyramid and config.num_hidden_layers < VIT_DEPTHS:
        raise ConfigError(
            "too few blocks to take maps from four depths", where=where, expected=f"{VIT_DEPTHS} blocks or more",
            found=str(config.num_hidden_layers),
        )  # fmt: skip
    return family


def require_fitting_size(family: Family, config: Any, size: tuple[int, int], where: str) -> None:
    """Refuses an image size that an encoder cannot take whole.

    Args:
        family: Of the encoder.
        config: Its transformers config.
        size: Height and width, in model pixels.
        where: The encoder's name, for the message.

    Raises:
        ConfigError: Height or width is no multiple of what it must be, smaller than the coarsest stride, or both are
            no larger (see `_with_room`); the nearest sizes that fit are named.
    """
    step, least = _steps(family, config)
    if all(side % step == 0 and side >= least for side in size) and _with_room(family, config, *size) == tuple(size):
        return
    below, above = ([max(least, side + extra - (side + extra) % step) for side in size] for extra in (0, step - 1))
    roomy = (_with_room(family, config, *each) for each in (below, above))
    near = list(dict.fromkeys(f"[{height}, {width}]" for height, width in roomy))
    raise ConfigError(
        f"the encoder {where} cannot see images of this size", where="model.image_size",
        expected=f"height and width that are multiples of {step}, at least {least} and one of them more",
        found=f"[{size[0]}, {size[1]}]", fix=f"the nearest that fit: {' or '.join(near)}",
    )  # fmt: skip


def fitting_size(family: Family, config: Any, size: tuple[float, float]) -> tuple[int, int]:
    """The image size nearest to a wanted one that an encoder can take whole.

    Args:
        family: Of the encoder.
        config: Its transformers config.
        size: Height and width, in model pixels, fractions allowed.

    Returns:
        Height and width, in model pixels; of two that are equally near the larger.
    """
    step, least = _steps(family, config)
    height, width = (max(least, step * math.floor(side / step + 0.5)) for side in size)
    return _with_room(family, config, height, width)


def _with_room(family: Family, config: Any, height: int, width: int) -> tuple[int, int]:
    """The size, made wider where the coarsest map would be a single position.

    Of one image a batch norm in training mode could not be computed from it, nor a group norm of one channel a group.
    """
    step, least = _steps(family, config)
    return height, (least + step if height <= least and width <= least else width)


def _steps(family: Family, config: Any) -> tuple[int, int]:
    """What height and width must be multiples of, and the least multiple, in model pixels."""
    step = family.multiple_of(config)
    return step, -(-max(family.strides(config)) // step) * step
