"""The typed containers in which data, models, losses and engine meet.

Letters in shapes, everywhere in the package: G groups (images) in a batch, Q queries, T tokens, P image tokens per
image, H width of the language model, V vocabulary, N masks, D width of the mask decoder, s side of the model square,
l side of the low-res mask. A mask belongs to a query (`mask_query`), a query to a group (`group_index`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from segtune.core.records import Example, LabelledImage


def _convert(value: Any, device: torch.device | str | None, dtype: torch.dtype | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value.to(device=device, dtype=dtype if value.is_floating_point() else None, non_blocking=True)


class _Movable:
    """`.to` and `.pin_memory` for frozen containers, which Accelerate passes through untouched."""

    __slots__ = ()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """A copy with every tensor on `device`; `dtype` touches only floating-point tensors."""
        changed = {f.name: _convert(getattr(self, f.name), device, dtype) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **changed)  # type: ignore[type-var]

    def pin_memory(self) -> Self:
        """A copy in page-locked host memory, for fast transfer to an accelerator."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        pinned = {name: value.pin_memory() for name, value in tensors.items() if isinstance(value, Tensor)}
        return replace(self, **pinned)  # type: ignore[type-var]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one image lies in its model square.

    Attributes:
        original: (height, width) in original pixels.
        resized: (height, width) of the whole image after scaling, in model pixels.
        offset: (y, x) of the resized image's corner in the square; negative where a crop cuts it off.
        size: Side of the model square, in model pixels.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]
    size: int

    @property
    def visible(self) -> tuple[slice, slice]:
        """Rows and columns of the model square that hold image."""
        (height, width), (top, left) = self.resized, self.offset
        rows = slice(max(top, 0), min(top + height, self.size))
        columns = slice(max(left, 0), min(left + width, self.size))
        return rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class Images(_Movable):
    """The pictures of a batch, each once.

    Attributes:
        vlm_pixels: float `[G, 3, Hv, Wv]`, normalised for the vision tower.
        mask_pixels: float `[G, 3, s, s]`, normalised for the mask encoder; None with shared features.
        geometries: G geometries of the *mask* space (how logits get back to original pixels).
    """

    vlm_pixels: Tensor
    mask_pixels: Tensor | None
    geometries: tuple[Geometry, ...]

    def __len__(self) -> int:
        return len(self.geometries)


@dataclass(frozen=True, slots=True, eq=False)
class Batch(_Movable):
    """Groups of queries, ready for a model.

    Attributes:
        images: The pictures, each once.
        input_ids: int64 `[Q, T]`, prompt and answer, padded on the right.
        attention_mask: int64 `[Q, T]`, 0 on padding.
        labels: int64 `[Q, T]`, -100 outside the answers.
        prompt_lengths: int64 `[Q]`, tokens before the answer.
        group_index: int64 `[Q]`, which picture each query is about.
        targets: uint8 `[Q, s, s]`, model pixels, 0, 1, 255 = ignore.
        examples: The Q examples in original pixels, kept for scoring.
        group_ids: The G ids of the pictures.
    """

    images: Images
    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    prompt_lengths: Tensor
    group_index: Tensor
    targets: Tensor
    examples: tuple[Example, ...]
    group_ids: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the samples."""
        return tuple(example.id for example in self.examples)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Batch:
        """A copy with every tensor, those of the images too, on `device`."""
        moved = {f.name: _convert(getattr(self, f.name), device, dtype) for f in fields(self)}
        return replace(self, **{**moved, "images": self.images.to(device, dtype)})

    def pin_memory(self) -> Batch:
        """A copy in page-locked host memory."""
        pinned = {f.name: getattr(self, f.name) for f in fields(self)}
        pinned = {name: value.pin_memory() for name, value in pinned.items() if isinstance(value, Tensor)}
        return replace(self, **pinned, images=self.images.pin_memory())


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures(_Movable):
    """What the encoders say about the pictures of a batch; computed once per picture and reused.

    Attributes:
        tokens: float `[G, P, H]`, projected into the language model's space.
        mask_features: float `[G, D, l/4, l/4]`, what the mask decoder looks at.
    """

    tokens: Tensor
    mask_features: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Masks(_Movable):
    """Decoded masks.

    Attributes:
        logits: float32 `[N, l, l]`, low-res.
        scores: float32 `[N]`, the decoder's own estimate of the IoU (meaningful once it has been trained).
        query: int64 `[N]`, the query each mask answers, ascending.
    """

    logits: Tensor
    scores: Tensor
    query: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationOutput(_Movable):
    """What one forward returns, in training and in evaluation alike. No loss inside.

    Attributes:
        answer_logits: float `[A, V]`, next-token logits at the positions that predict an answer token, in the order
            of `ops.tokens.answer_positions`.
        masks: One mask per `<SEG>` of the answers.
    """

    answer_logits: Tensor
    masks: Masks

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SegmentationOutput:
        """A copy on `device`."""
        return SegmentationOutput(_convert(self.answer_logits, device, dtype), self.masks.to(device, dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """What the model said by itself, and the masks it asked for.

    Attributes:
        texts: Q answers, special tokens other than `<SEG>` left out.
        token_ids: Q tuples of the generated ids.
        masks: One mask per generated `<SEG>`; a query may have none.
    """

    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    masks: Masks


@dataclass(frozen=True, slots=True, eq=False)
class DenseBatch(_Movable):
    """Labelled images, ready for a dense model.

    Attributes:
        pixels: float `[B, 3, h, w]`, normalised for the encoder; model pixels, the whole image (or a crop of it)
            resized to one size without padding.
        labels: uint8 `[B, h, w]`, model pixels: class indices and `core.records.IGNORE`.
        items: The B images and labels in original pixels, kept for scoring.
    """

    pixels: Tensor
    labels: Tensor
    items: tuple[LabelledImage, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the images."""
        return tuple(item.id for item in self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True, eq=False)
class DenseOutput(_Movable):
    """What one forward of a dense model returns, in training and in evaluation alike. No loss inside.

    Attributes:
        classes: float `[B, C, h', w']` logits of the classes, low-res; None without that head.
        binary: float `[B, h', w']` logits of the binary mask (above 0 is foreground), low-res; None without that head.
    """

    classes: Tensor | None
    binary: Tensor | None
