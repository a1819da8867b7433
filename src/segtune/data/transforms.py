"""From a group in original pixels to the tensors of one model.

The square pad is ours (transformers' PIL processors of CLIP and LLaVA would centre-crop); mean, standard deviation,
size and filter are the processors' own, and a test compares the results with theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from segtune.core.errors import DataError
from segtune.core.input_spec import InputSpec, PixelSpec
from segtune.core.records import IGNORE, Example, Group
from segtune.core.types import Geometry
from segtune.data.conversation import Conversation, Turn
from segtune.ops.geometry import fit, to_model
from segtune.ops.masks import require_target


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One group, ready to be collated.

    Attributes:
        vlm_pixels: float32 `[3, Hv, Wv]`.
        mask_pixels: float32 `[3, s, s]`, or None with shared features.
        geometry: Of the mask space.
        turns: One per example.
        targets: uint8 `[q, s, s]`, model pixels.
        examples: The examples in original pixels.
        group_id: Id of the picture.
    """

    vlm_pixels: Tensor
    mask_pixels: Tensor | None
    geometry: Geometry
    turns: tuple[Turn, ...]
    targets: Tensor
    examples: tuple[Example, ...]
    group_id: str


def pixels(image: np.ndarray, spec: PixelSpec) -> Tensor:
    """Resizes, places and normalises an image.

    Args:
        image: uint8 `[h, w, 3]`, RGB, original pixels.
        spec: How the encoder wants it.

    Returns:
        float32 `[3, size, size]`. A `center` pad has the mean colour (0 after normalisation), a `corner` pad is 0
        after normalisation too, as Segment Anything has it.
    """
    geometry = fit(image.shape[:2], spec.size, spec.placement)  # type: ignore[arg-type]
    height, width = geometry.resized
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling(spec.resample)))
    rows, columns = geometry.visible
    top, left = geometry.offset
    seen = resized[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    mean, std = np.asarray(spec.mean, dtype=np.float32), np.asarray(spec.std, dtype=np.float32)
    square = np.zeros((spec.size, spec.size, 3), dtype=np.float32)
    square[rows, columns] = (seen.astype(np.float32) / 255.0 - mean) / std
    return torch.from_numpy(square).permute(2, 0, 1).contiguous()


class Transform:
    """Turns groups into samples for one model.

    Args:
        spec: What the model wants.
        conversation: Writes the turns.
    """

    def __init__(self, spec: InputSpec, conversation: Conversation) -> None:
        self.spec, self.conversation = spec, conversation

    def __call__(self, group: Group, answers: tuple[str, ...], *, with_image: bool = True) -> Sample:
        """Prepares one group.

        Args:
            group: Image and examples in original pixels.
            answers: The answer of each example.
            with_image: Whether the language model sees the image; the mask decoder always does.

        Returns:
            The sample; padding is `IGNORE` in its targets.

        Raises:
            DataError: There is no query, one is empty, or a target is no mask of this image.
        """
        if not group.examples:
            raise DataError("nothing is asked about this image", where=group.id, expected="at least one query")
        for example in group.examples:
            if not example.query.text.strip():
                raise DataError(
                    "this query is empty", where=example.id, expected="words", found=repr(example.query.text)
                )
            require_target(example.target, group.image.shape[:2], example.id)  # type: ignore[arg-type]
        space = self.spec.mask_space
        geometry = fit(group.image.shape[:2], space.size, space.placement)  # type: ignore[arg-type]
        targets = [to_model(torch.from_numpy(e.target), geometry, IGNORE) for e in group.examples]
        return Sample(
            vlm_pixels=pixels(group.image, self.spec.vlm),
            mask_pixels=pixels(group.image, self.spec.mask) if self.spec.mask else None,
            geometry=geometry,
            turns=tuple(
                self.conversation.turn(e.query, answer, with_image=with_image, where=e.id)
                for e, answer in zip(group.examples, answers, strict=True)
            ),
            targets=torch.stack(targets),
            examples=group.examples,
            group_id=group.id,
        )
