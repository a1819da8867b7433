"""How a dense model is scored and asked; free of torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Literal

from pydantic import Field

from segtune.core.config import Config
from segtune.core.errors import ConfigError
from segtune.ops.sides import class_mirror

Side = Annotated[int, Field(ge=1)]
Scale = Annotated[float, Field(ge=0.1, le=10)]


Mirror = Literal["auto", "always"]
"""What is done about classes that say a side; see `TtaConfig.mirror`."""


class TtaConfig(Config):
    """Test-time augmentation: the probabilities of several views of an image are averaged."""

    flip: bool = Field(False, description="the mirror image too, left for right")
    flip_vertical: bool = Field(False, description="the mirror image too, top for bottom; with flip, all four")
    mirror: Mirror = Field(
        "auto",
        description="auto: classes that differ by a side change places in the mirror image, and a mirror image is "
        "refused where one has no partner; always: channels stay as they are",
    )
    scales: tuple[Scale, ...] = Field(
        (1.0,), min_length=1, description="sizes of what the encoder sees, as multiples of its own; nearest that fits"
    )

    @property
    def mirrors(self) -> tuple[tuple[int, ...], ...]:
        """The axes of `[..., h, w]` by which each view is mirrored in turn; the first is the view as it is."""
        across, over = ((), (-1,)) if self.flip else ((),), ((), (-2,)) if self.flip_vertical else ((),)
        return tuple((*one, *other) for one in over for other in across)

    def order(
        self, classes: Sequence[str], binary: Collection[str] = (), sided: Collection[str] = ()
    ) -> tuple[int, ...]:
        """Of which class the mirror image's answer for each class speaks.

        Args:
            classes: The names of the classes.
            binary: The names of those that make up the foreground, where the model tells it.
            sided: The names of those that a text of the training data called by a side.

        Raises:
            ConfigError: A mirror image that is asked for would answer for the wrong class.
        """
        if self.mirror == "always" or not (self.flip or self.flip_vertical):
            return tuple(range(len(classes)))
        found = class_mirror(classes, sided)
        foreground = {classes.index(name) for name in binary}
        across = found.across
        if not across and {found.order[label] for label in foreground} != foreground:
            across = "the foreground has a class of one side without that of the other"
        refused = {"flip": self.flip and across, "flip_vertical": self.flip_vertical and found.over}
        for key, reason in refused.items():
            if reason:
                raise ConfigError(
                    "a mirror image would be taken for what it is not",
                    where=f"tta.{key}",
                    expected="classes that are the same in a mirror image, or in pairs as left_hand and right_hand",
                    found=reason,
                    fix=f"set eval.tta.{key}=false or eval.tta.mirror=always for a training; leave "
                    f"--{key.replace('_', '-')} away or add --mirror always for a command",
                )
        return found.order


class DenseInferenceConfig(Config):
    """From an image to the class and the foreground of each of its pixels."""

    batch_size: int = Field(8, ge=1, description="images or windows per batch")
    tta: TtaConfig = TtaConfig()
    window: tuple[Side, Side] | None = Field(
        None,
        description="height and width of sliding windows, in original pixels: as large as the photographs that the "
        "model was trained on, so that it sees things at the size it knows; none shows it the whole image",
    )
    overlap: float = Field(0.5, ge=0, le=0.9, description="share of a window that its neighbour covers too, at least")

    @property
    def whole(self) -> bool:
        """Whether the model sees every image once, as its loader has prepared it (or mirrored)."""
        return self.window is None and self.tta.scales == (1.0,)


class DenseEvalConfig(DenseInferenceConfig):
    """Scoring."""

    overlays: int = Field(12, ge=0, description="pictures written per evaluation: best, median and worst images")
    final: bool = Field(True, description="score the best checkpoint at the end of training")
    before: bool = Field(False, description="score the model before training too")
