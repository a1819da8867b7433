"""Where labelled images come from and how they are drawn; free of torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config
from segtune.data.config import ImageConfig, SynthConfig


class DenseAugmentConfig(Config):
    """Joint augmentation of image and labels, drawn from (seed, epoch, index), so that workers change nothing."""

    flip: float = Field(0.0, ge=0, le=1, description="chance of a mirror image, left for right; see mirror")
    flip_vertical: float = Field(0.0, ge=0, le=1, description="chance of a mirror image, top for bottom; see mirror")
    mirror: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto: classes that differ by a side change places, and there is no mirror image where one has no "
        "partner; always: labels stay as they are; never: no mirror image",
    )
    zoom: tuple[float, float] = Field(
        (1.0, 1.0), description="things become so many times as large, at a place that is drawn; below 1: as small"
    )
    stretch: float = Field(0.0, ge=0, le=1, description="things become up to 1 + stretch times as wide or as tall")
    rotate: float = Field(0.0, ge=0, le=180, description="largest turn, in degrees")
    color: float = Field(0.0, ge=0, lt=1, description="largest relative change of brightness, contrast and saturation")

    @model_validator(mode="after")
    def _from_small_to_large(self) -> Self:
        low, high = self.zoom
        if not 0.1 <= low <= high <= 10:
            raise ValueError(f"zoom must be two numbers of 0.1 to 10, the smaller first (found {[low, high]})")
        return self

    @property
    def closest(self) -> float:
        """The largest factor by which a thing may grow along an axis."""
        return self.zoom[1] * (1 + self.stretch) ** 0.5


class DenseDataConfig(Config):
    """Labelled images of a run, by name (`KIND:DIR@SPLIT`); data with questions become classes through their words."""

    train: str = Field(description="training data, e.g. masks:photos@train")
    val: str | None = Field(None, description="validation data; none means that nothing is scored")
    root: str | None = Field(None, description="directory before relative paths")
    words: dict[str, tuple[str, ...]] = Field(
        {}, description="data with questions: words of each class, in place of classes.json; background: [] is class 0"
    )
    exclude: tuple[str, ...] = Field((), description="classes whose pixels are ignored; the others move up")
    background: bool | None = Field(
        None, description="whether class 0 is the background; none: it is where it is called so"
    )
    balanced: bool = Field(False, description="images that hold rare classes come more often")
    class_weights: Literal["none", "inverse"] = Field(
        "none", description="weights of classes in the loss; inverse: by 1 / their share of the pixels"
    )
    weight_range: tuple[float, float] = Field(
        (1.0, 10.0), description="inverse: from the commonest class to the rarest; the background has weight 1"
    )
    max_train_images: int | None = Field(None, ge=1, description="train on the first so many images")
    max_val_images: int | None = Field(None, ge=1, description="score only the first so many images")
    max_bad_fraction: float = Field(0.1, ge=0, le=1, description="share of unusable items above which a run refuses")
    max_shared_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of validation pictures also in training above which a run refuses",
    )
    image: ImageConfig = ImageConfig()
    num_workers: int = Field(0, ge=0)
    cache: bool = Field(True, description="keep decoded images in memory, shrunk as far as the model allows")
    cache_gb: float = Field(2.0, gt=0, description="at most so many GB (1e9 bytes); what is beyond is read each time")
    augment: DenseAugmentConfig = DenseAugmentConfig()
    synth: SynthConfig = SynthConfig()
    stream_length: int = Field(2048, ge=1, description="images that a drawn stream calls an epoch")
    stream_queries: int = Field(4, ge=1, description="targets of each image of a drawn stream")

    @model_validator(mode="after")
    def _a_range_of_weights(self) -> Self:
        low, high = self.weight_range
        if not 0 < low <= high:
            raise ValueError(f"weight_range must be two positive numbers, the smaller first (found {[low, high]})")
        return self

    @property
    def cache_bytes(self) -> int:
        """The memory that may hold decoded images; 0 without a cache."""
        return int(self.cache_gb * 1e9) if self.cache else 0
