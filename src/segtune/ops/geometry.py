"""The three pixel spaces of a mask and the way between them.

*original* pixels are those of the photograph (after EXIF orientation), *model* pixels those of the square that an
encoder sees after resizing and padding (or cropping), *low-res* pixels those in which a mask decoder answers. One
`Geometry` describes the way for one image; it is written once here and used by the transforms (image and target in),
by the losses (target to low-res) and by evaluation and prediction (logits out).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from segtune.core.types import Geometry

Placement = Literal["corner", "center", "crop"]

OUTSIDE_LOGIT = -32.0
"""The logit of original pixels that the model never saw (a centre crop leaves some): surely background."""


def fit(original: tuple[int, int], size: int, placement: Placement) -> Geometry:
    """Places an image of `original` size into a square of side `size`.

    Args:
        original: (height, width) in original pixels.
        size: Side of the model square, in model pixels.
        placement: `corner` scales the long side to `size` and pads right and below (Segment Anything's rule);
            `center` does the same with the image in the middle (the square pad of LLaVA-1.5); `crop` scales the
            short side to `size` and keeps the middle (CLIP's rule, as the reference system has it).

    Returns:
        The geometry. Sides are rounded as `int(side * scale + 0.5)` and never below one pixel; those of a crop are
        cut to whole pixels, and of an odd rest the smaller half goes above and left, as CLIP's processor does it.
    """
    height, width = original
    if placement == "crop":
        short = min(height, width)
        resized = (size * height // short, size * width // short)
        offset = (-((resized[0] - size) // 2), -((resized[1] - size) // 2))
        return Geometry(original=original, resized=resized, offset=offset, size=size)
    scale = size / max(height, width)
    resized = (max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5)))
    offset = (0, 0) if placement == "corner" else ((size - resized[0]) // 2, (size - resized[1]) // 2)
    return Geometry(original=original, resized=resized, offset=offset, size=size)


def to_model(target: Tensor, geometry: Geometry, outside: int) -> Tensor:
    """Brings a target mask from original to model pixels.

    Args:
        target: uint8 `[h, w]` in original pixels, any label values.
        geometry: The image's geometry.
        outside: The value of model pixels that hold no image (padding).

    Returns:
        uint8 `[size, size]` in model pixels, nearest neighbour.
    """
    resized = F.interpolate(target[None, None].float(), size=geometry.resized, mode="nearest-exact")[0, 0]
    square = torch.full((geometry.size, geometry.size), outside, dtype=torch.uint8, device=target.device)
    rows, columns = geometry.visible
    top, left = geometry.offset
    square[rows, columns] = resized[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left].to(
        torch.uint8
    )
    return square


def to_original(logits: Tensor, geometry: Geometry) -> Tensor:
    """Brings mask logits from low-res to original pixels.

    The order is Segment Anything's: bilinear to the model square, cut the padding off, bilinear to the original size.

    Args:
        logits: float `[n, l, l]`, low-res.
        geometry: The image's geometry.

    Returns:
        float32 `[n, h, w]` logits in original pixels; pixels outside a crop hold `OUTSIDE_LOGIT`.
    """
    square = F.interpolate(
        logits[:, None].float(), size=(geometry.size, geometry.size), mode="bilinear", align_corners=False
    )
    rows, columns = geometry.visible
    (height, width), (top, left) = geometry.resized, geometry.offset
    seen = square[:, :, rows, columns]
    if seen.shape[-2:] != (height, width):
        canvas = seen.new_full((*seen.shape[:2], height, width), OUTSIDE_LOGIT)
        canvas[:, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = seen
        seen = canvas
    return F.interpolate(seen, size=geometry.original, mode="bilinear", align_corners=False)[:, 0]


def seen_pixels(geometry: Geometry, device: torch.device | str | None = None) -> Tensor:
    """The original pixels that lie in the model square: all of them, unless a crop cut some away.

    Args:
        geometry: The image's geometry.
        device: Where the result is wanted.

    Returns:
        bool `[h, w]` in original pixels; false too where `to_original` mixes `OUTSIDE_LOGIT` into a logit.
    """
    (height, width), (rows, columns) = geometry.resized, geometry.visible
    if (rows.stop - rows.start, columns.stop - columns.start) == (height, width):
        return torch.ones(geometry.original, dtype=torch.bool, device=device)
    return to_original(torch.zeros((1, 1, 1), device=device), geometry)[0] == 0


def soften(targets: Tensor, size: int, ignore: int) -> tuple[Tensor, Tensor]:
    """Brings model-space targets to another resolution as covered fractions.

    Args:
        targets: uint8 `[n, s, s]`, model pixels, 0, 1 and `ignore`.
        size: Side of the wanted masks.
        ignore: The value that counts neither for nor against.

    Returns:
        Two float32 `[n, size, size]`: the fraction of each pixel's counted area that is target, and the fraction of
        its area that counts at all (its weight in a loss). Where nothing counts the first is 0.
    """
    counted = (targets != ignore).float()
    wanted = (targets == 1).float()
    if targets.shape[-1] != size:
        counted = F.adaptive_avg_pool2d(counted[:, None], size)[:, 0]
        wanted = F.adaptive_avg_pool2d(wanted[:, None], size)[:, 0]
    return wanted / counted.clamp_min(1e-6), counted
