"""Where data comes from and how it is drawn; free of torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segtune.core.config import Config


class AugmentConfig(Config):
    """Joint augmentation of image and masks, drawn from (seed, epoch, index), so that workers change nothing."""

    flip: float = Field(0.0, ge=0, le=1, description="chance of a mirror image; see mirror")
    mirror: Literal["auto", "always", "never"] = Field(
        "auto", description="auto: no mirror image where a text or explanation says a side; always: whatever they say"
    )
    crop: float = Field(0.0, ge=0, lt=1, description="largest share of each side cut away; some target always stays")
    scale: float = Field(
        0.0, ge=0, le=1, description="things become up to 1 + scale times as large or as small; every target stays"
    )
    color: float = Field(0.0, ge=0, lt=1, description="largest relative change of brightness, contrast and saturation")


class ImageConfig(Config):
    """How picture files are read, in training, evaluation, prediction and `segtune data check` alike."""

    max_pixels: int = Field(
        50_000_000, ge=1, description="largest picture that is decoded, width x height; larger ones are refused"
    )
    grey_bits: int = Field(
        16, ge=8, le=16, description="bits that grey files of 16 bits use: 2^bits - 1 becomes white; often 12"
    )


USUAL_IMAGES = ImageConfig()
"""How pictures are read unless told otherwise."""


class SynthConfig(Config):
    """The embedded dataset, drawn where its directory does not exist yet."""

    scenes: int = Field(400, ge=10, description="scenes over all splits")
    seed: int = Field(0, description="of the drawing; another seed is another dataset")


class DataConfig(Config):
    """Datasets of a run, by name (`KIND:DIR@SPLIT`)."""

    train: str = Field(description="training data, e.g. reasonseg:photos@train")
    val: str | None = Field(None, description="validation data; none means that nothing is scored")
    root: str | None = Field(None, description="directory before relative paths")
    synth: SynthConfig = SynthConfig()
    stream_length: int = Field(2048, ge=1, description="images that a drawn stream calls an epoch")
    queries_per_image: int | None = Field(None, ge=1, description="queries drawn per image and step; none means all")
    explain: float = Field(0.0, ge=0, le=1, description="chance to answer with the explanation, where there is one")
    easing_epochs: int = Field(
        0, ge=0, description="epochs over which a stream goes from single words to its whole grammar"
    )
    text_only_epochs: int = Field(
        0, ge=0, description="epochs over which images enter the prompts, none in the first half: words come first"
    )
    max_train_samples: int | None = Field(None, ge=1, description="train on the first so many pairs of image and query")
    max_val_samples: int | None = Field(None, ge=1, description="score only the first so many pairs of image and query")
    max_bad_fraction: float = Field(0.1, ge=0, le=1, description="share of unusable items above which a run refuses")
    max_shared_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="share of validation pictures also in training above which a run refuses",
    )
    image: ImageConfig = ImageConfig()
    num_workers: int = Field(0, ge=0, description="processes that prepare batches, to train, validate and score")
    augment: AugmentConfig = AugmentConfig()
