"""What a dense model is made of; free of torch, so that a recipe is checked in no time."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import MOST_WIDE, Config, nearest

OWN_PREFIX = "segtune/"
EMBEDDED = ("segtune/tiny-vit", "segtune/tiny-cnn")
"""Encoders whose architecture comes with the package; they have no weights to load."""

Decoder = Literal["unet", "dpt", "linear"]
Side = Annotated[int, Field(ge=1, le=MOST_WIDE)]
NotNegative = Annotated[int, Field(ge=0)]


class DenseModelConfig(Config):
    """An encoder, a decoder and its heads. How many classes there are, and their names, comes from the data."""

    encoder: str = Field(
        "segtune/tiny-cnn", min_length=1, description="segtune/tiny-vit, segtune/tiny-cnn, a hub id or a directory"
    )
    pretrained: bool | None = Field(
        None, description="load the encoder's weights; default yes, but not for segtune/tiny-*, which have none"
    )
    start: str | None = Field(
        None, description="a dense run or checkpoint with the same classes, whose weights training starts from"
    )
    decoder: Decoder = Field("unet", description="unet, dpt (arXiv 2103.13413) or linear")
    width: int = Field(
        128, ge=8, le=MOST_WIDE, description="channels of the decoder; the U-Net halves them with every finer level"
    )
    narrowest: int = Field(
        16,
        ge=1,
        le=MOST_WIDE,
        description="unet: channels that no level goes below; thin things are seen at the finest, at some cost",
    )
    pixel_skips: bool = Field(
        True, description="unet on a pyramid: skips from the pixels themselves, at strides finer than the encoder's"
    )
    norm: Literal["group", "batch"] = Field(
        "group", description="of the decoder's layers: GroupNorm, or BatchNorm, which needs batches of several images"
    )
    unfreeze: Literal["all"] | NotNegative = Field(
        "all", description="what of the encoder trains: 0, its last N blocks, or all; train.stages may say it by stage"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of the decoder's channels dropped before the heads")
    drop_path: float = Field(0.0, ge=0, lt=1, description="stochastic depth of the encoder (arXiv 1603.09382)")
    image_size: tuple[Side, Side] = Field(
        (120, 160), description="height and width of what the encoder sees, in model pixels; must fit the encoder"
    )
    multiclass: bool = Field(True, description="a head for all classes")
    binary_classes: tuple[str, ...] = Field(
        (), description="a head for one binary mask, whose foreground is the union of these classes; none if empty"
    )

    @property
    def loads_weights(self) -> bool:
        """Whether the encoder starts from weights that somebody has trained."""
        return self.encoder not in EMBEDDED if self.pretrained is None else self.pretrained

    @model_validator(mode="after")
    def _known_encoder(self) -> Self:
        if self.encoder.startswith(OWN_PREFIX) and self.encoder not in EMBEDDED:
            meant = nearest(self.encoder, EMBEDDED, 1) or EMBEDDED
            raise ValueError(f"no encoder is called {self.encoder}; did you mean {' or '.join(meant)}?")
        if self.pretrained and self.encoder in EMBEDDED:
            raise ValueError(
                f"{self.encoder} has no weights to load: leave pretrained out, or name the directory of an encoder"
            )
        return self

    @model_validator(mode="after")
    def _at_least_one_head(self) -> Self:
        if not self.multiclass and not self.binary_classes:
            raise ValueError("a model without a head: set multiclass=true, or name classes in binary_classes")
        twice = sorted({name for name in self.binary_classes if self.binary_classes.count(name) > 1})
        if twice:
            raise ValueError(f"binary_classes names twice: {', '.join(twice)}")
        return self
