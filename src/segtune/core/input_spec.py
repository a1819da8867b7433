"""What a model wants as input: the numbers that the data layer needs and only the model layer knows.

The two layers never import each other; this frozen container is how they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config

SEG_TOKEN = "<SEG>"


class ConversationConfig(Config):
    """How a query becomes a prompt and what the answer is. Kept with a checkpoint: it must not change afterwards.

    The default wording is the one that the released reference checkpoints are scored with.
    """

    short: str = Field("What is {query} in this image? Please output segmentation mask.", description="for phrases")
    long: str = Field("{query} Please output segmentation mask.", description="for sentences")
    answers: tuple[str, ...] = Field(
        ("It is <SEG>.", "Sure, <SEG>.", "Sure, it is <SEG>.", "<SEG>."),
        min_length=1,
        description="training draws one of them",
    )
    explained_answer: str = Field(
        "It is {explanation}. <SEG>.", description="where training answers with a source's explanation"
    )
    forced_answer: str = Field("<SEG>.", description="the answer put into the model's mouth in forced mode")

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> Self:
        """A wording without its place would train for hours on questions that nobody asked."""
        wanted = {"{query}": ("short", "long"), SEG_TOKEN: ("explained_answer", "forced_answer")}
        for place, names in wanted.items():
            for name in names:
                if place not in getattr(self, name):
                    raise ValueError(f"{name} must hold {place} (found {getattr(self, name)!r})")
        if without := [answer for answer in self.answers if SEG_TOKEN not in answer]:
            raise ValueError(f"every one of answers must hold {SEG_TOKEN} (found {without[0]!r})")
        return self


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """How pixels enter an encoder.

    Attributes:
        size: Side of the square, in model pixels.
        mean: Per-channel mean, RGB, of values in [0, 1].
        std: Per-channel standard deviation.
        resample: PIL resampling filter (2 bilinear, 3 bicubic).
        placement: How an image lies in the square (see `ops.geometry.fit`).
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: int
    placement: Literal["corner", "center", "crop"]


@dataclass(frozen=True, slots=True)
class TextSpec:
    """What turns a query into token ids, apart from the tokenizer: the part of an `InputSpec` that needs no weights.

    Attributes:
        num_image_tokens: P, placeholders per image.
        image_token: The placeholder's text.
        conversation: The wording.
        max_positions: As in `InputSpec`.
    """

    num_image_tokens: int
    image_token: str
    conversation: ConversationConfig
    max_positions: int | None = None


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Everything that turns a group into tensors, apart from the tokenizer.

    Attributes:
        vlm: Pixels for the vision tower.
        mask: Pixels for the mask encoder; None with shared features.
        num_image_tokens: P, placeholders per image.
        image_token: The placeholder's text.
        conversation: The wording.
        max_positions: The longest sequence of tokens, placeholders among them, that the language model knows; None
            where it has no bound.
    """

    vlm: PixelSpec
    mask: PixelSpec | None
    num_image_tokens: int
    image_token: str
    conversation: ConversationConfig
    max_positions: int | None = None

    @property
    def mask_space(self) -> PixelSpec:
        """The square in which masks live: the mask encoder's, or the vision tower's with shared features."""
        return self.mask or self.vlm
