"""The dense segmenter: encoder, decoder, and a head for classes, for a binary mask, or for both.

The forward is the same in training, evaluation and prediction; whoever wants a loss computes it from the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segtune.core.config import nearest
from segtune.core.errors import ConfigError
from segtune.core.types import DenseBatch, DenseOutput
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.decoders import Decoder, build_decoder
from segtune.models.dense.encoder import Encoder, build_encoder
from segtune.models.dense.families import fitting_size
from segtune.models.dense.layers import Head


class DenseSegmenter(nn.Module):
    """A class, and whether it is foreground, for every pixel.

    Args:
        encoder: From pixels to maps.
        decoder: From maps to one fine map.
        classes: The names of the classes, in the order of the labels.
        binary_classes: Those whose union is the binary foreground; no binary head if empty.
        multiclass: Whether there is a head for all classes.
        dropout: Share of the decoder's channels dropped before the heads, in training.

    Attributes:
        binary_indices: The labels of `binary_classes`, ascending: what makes the binary mask out of an index mask.
        sided_classes: Those that a text of the training data called by a side; set by whoever knows the texts.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        classes: tuple[str, ...],
        *,
        binary_classes: tuple[str, ...] = (),
        multiclass: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.classes, self.binary_classes = classes, binary_classes
        self.sided_classes: tuple[str, ...] = ()
        self.binary_indices = tuple(sorted(classes.index(name) for name in binary_classes))
        self.class_head = Head(decoder.channels, len(classes), dropout) if multiclass else None
        self.binary_head = Head(decoder.channels, 1, dropout) if binary_classes else None

    @property
    def stride(self) -> float:
        """Model pixels per low-res pixel of the output; a fraction where a patch does not divide into eight."""
        return self.decoder.stride

    def fitting_size(self, size: tuple[float, float]) -> tuple[int, int]:
        """The image size (height, width) nearest to a wanted one that the encoder takes, in model pixels."""
        return fitting_size(self.encoder.family, self.encoder.backbone.config, size)

    def forward(self, batch: DenseBatch) -> DenseOutput:
        """Segments a batch; its labels are not looked at."""
        return self.decode(batch.pixels)

    def decode(self, pixels: Tensor) -> DenseOutput:
        """Segments images.

        Args:
            pixels: Float `[B, 3, h, w]`, model pixels, normalised by the encoder's `mean` and `std`.

        Returns:
            Logits float32 `[B, C, h', w']` and `[B, h', w']`, low-res; they cover the whole image.
        """
        # Channels last in memory: convolutions keep that order, and on CPUs and GPUs alike they are faster in it.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.decoder(self.encoder(pixels), pixels)
        return DenseOutput(
            classes=self.class_head(features) if self.class_head is not None else None,
            binary=self.binary_head(features)[:, 0] if self.binary_head is not None else None,
        )


def build_dense(config: DenseModelConfig, classes: Sequence[str], encoder: Encoder | None = None) -> DenseSegmenter:
    """Builds a dense model; decoder and heads start from PyTorch's own initialisation.

    Args:
        config: What it is made of.
        classes: The names of the data's classes, in the order of their labels.
        encoder: Taken instead of the config's own, with its weights (a checkpoint is built again without the files
            that its training started from: `encoder_from_description`).

    Raises:
        ConfigError: The heads do not fit the classes, or the encoder is none or does not fit the image size.
        CheckpointError: The encoder's weights cannot be read or do not fit.
    """
    names = tuple(classes)
    require_heads(config, names)
    encoder = build_encoder(config) if encoder is None else encoder
    return DenseSegmenter(
        encoder,
        build_decoder(config, encoder.channels, encoder.strides),
        names,
        binary_classes=config.binary_classes,
        multiclass=config.multiclass,
        dropout=config.dropout,
    )


def require_heads(config: DenseModelConfig, classes: tuple[str, ...]) -> None:
    """Refuses heads that the data have no classes for.

    Args:
        config: The heads.
        classes: The names of the data's classes.

    Raises:
        ConfigError: Fewer than two classes, a class of `binary_classes` that is none of the data's (the nearest is
            named), or a binary foreground of all classes, which every pixel belongs to.
    """
    where, found = "model.binary_classes", ", ".join(classes)
    if len(classes) < 2:
        raise ConfigError("nothing to tell apart", where="data", expected="two classes or more", found=found or "none")
    for name in config.binary_classes:
        if name not in classes:
            meant = nearest(name, classes, 1)
            raise ConfigError(
                f"the data have no class {name!r}", where=where, expected=f"some of: {found}", found=name,
                fix=f"did you mean {meant[0]!r}?" if meant else "",
            )  # fmt: skip
    if set(config.binary_classes) == set(classes):
        raise ConfigError(
            "the binary foreground is everything", where=where, expected="some of the classes", found="all of them",
            fix="leave the background out",
        )  # fmt: skip
