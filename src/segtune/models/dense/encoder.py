"""The encoder: a transformers backbone that gives maps, knows its blocks, and keeps still where it is frozen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING
from transformers.utils import cached_file

from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.files import apply_umask
from segtune.core.paths import expanded
from segtune.models.dense.config import EMBEDDED, DenseModelConfig
from segtune.models.dense.families import Arrangement, Family, family_of, require_fitting_size
from segtune.models.dense.tiny import TINY
from segtune.models.pretrained import guarded, load_pretrained, may_fetch, read_pretrained
from segtune.models.quiet import hide_loading_bars, hide_loading_reports

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PREPROCESSOR = "preprocessor_config.json"

# Only masked pretraining uses it: no forward here gives it a gradient, and DDP refuses parameters that get none.
_NEVER_TRAINED = "mask_token"


class Encoder(nn.Module):
    """A backbone of transformers.

    What of it trains is read off `requires_grad`, and `train()` follows: training mode for the blocks and norms that
    train and for nothing else, so that buffers, dropout and stochastic depth of the rest stand still. (DINOv3 jitters
    its rotary positions in training mode; here that happens only where all of it trains.)

    Args:
        backbone: A Backbone class out of `families.FAMILIES`.
        mean: Of red, green and blue, of pixels between 0 and 1: what is taken off before the encoder sees them.
        std: What they are divided by then.

    Attributes:
        channels: Of the maps.
        strides: Of the maps, in model pixels: growing for a pyramid, all the same for a ViT.
    """

    def __init__(self, backbone: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.family = family_of(backbone.config, backbone.config.model_type)
        self.backbone, self.mean, self.std = backbone, mean, std
        self.channels: tuple[int, ...] = tuple(backbone.channels)
        self.strides = self.family.strides(backbone.config)

    @property
    def arrangement(self) -> Arrangement:
        """Blocks and norms, as they lie in the backbone now."""
        return self.family.arrange(self.backbone)

    @property
    def blocks(self) -> tuple[nn.ModuleList, ...]:
        """What is unfrozen one after another, first to last: layers of a ViT, layers of all stages of a pyramid.

        The down-sampling that opens a stage belongs to the stage's first block.
        """
        return self.arrangement.blocks

    def last_blocks(self, count: int) -> list[nn.Module]:
        """The last `count` blocks and the norms behind any of them.

        Such norms are a ViT's final one, and those of the maps of ConvNeXt's stages.
        """
        blocks, norms = self.arrangement.blocks, self.arrangement.norms
        first = len(blocks) - count
        return [*blocks[first:], *(norm for index, norm in norms if index >= first)]

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Everything that training may move: all parameters but the mask token, which no forward uses here."""
        for name, parameter in self.named_parameters():
            if not name.endswith(_NEVER_TRAINED):
                yield name, parameter

    def train(self, mode: bool = True) -> Self:
        """Training mode for what trains, evaluation mode for the rest; `train(False)` as everywhere."""
        super().train(False)
        if not mode:
            return self
        if all(parameter.requires_grad for _, parameter in self.trainable_parameters()):
            return super().train(True)
        for module in self.last_blocks(len(self.blocks)):
            if any(parameter.requires_grad for parameter in module.parameters()):
                module.train(True)
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Encodes.

        Args:
            pixels: Float `[B, 3, h, w]`, model pixels, normalised by `mean` and `std`.

        Returns:
            Float maps `[B, C_i, h_i, w_i]`: of a pyramid all stages, fine to coarse; of a ViT the depths 1/4, 1/2,
            3/4 and last, each behind the final norm.
        """
        return list(self.backbone(pixels).feature_maps)

    def describe(self) -> dict[str, Any]:
        """What it takes to build it again without its weights, as plain data; `encoder_from_description` reads it."""
        config = json.loads(self.backbone.config.to_json_string(use_diff=False))
        return {"config": config, "mean": list(self.mean), "std": list(self.std)}

    def save(self, directory: Path) -> None:
        """Writes config, weights and normalisation in the hub's layout, to be named as `model.encoder` later.

        Args:
            directory: Made if absent.
        """
        hide_loading_bars()
        self.backbone.save_pretrained(directory)
        document = {"image_mean": list(self.mean), "image_std": list(self.std)}
        (directory / _PREPROCESSOR).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        apply_umask(directory)


def build_encoder(config: DenseModelConfig) -> Encoder:
    """The encoder that a config names, with its weights or with random ones.

    Random weights are drawn by transformers' own initialisation, from torch's global generator.

    Args:
        config: Name, weights, stochastic depth and image size.

    Raises:
        ConfigError: The model cannot be an encoder, or not of this image size, or has no stochastic depth; or the name
            is that of a directory which does not exist.
        CheckpointError: It cannot be read, or its weights do not fit; the names are given.
    """
    name, own, family = _described(config)
    own.out_indices = family.out_indices(own)
    if own.model_type == "swinv2":
        # its windows shift only where a map is larger than one; no weight depends on this
        own.image_size = list(config.image_size)
    mean, std = (IMAGENET_MEAN, IMAGENET_STD) if name in EMBEDDED else _normalisation(name)
    if not config.loads_weights:
        return Encoder(_random_backbone(own), mean, std)
    hide_loading_bars()
    hide_loading_reports()
    backbone = load_pretrained(
        MODEL_FOR_BACKBONE_MAPPING[type(own)], name, torch.float32, config=own, unneeded=family.unneeded,
        unused=family.unused,
    )  # fmt: skip
    return Encoder(backbone.train(), mean, std)


def require_encoder(config: DenseModelConfig) -> None:
    """Makes sure that the encoder that a config names can be one, without its weights; raises as `build_encoder`."""
    _described(config)


def _described(config: DenseModelConfig) -> tuple[str, Any, Family]:
    """The name of an encoder, its transformers config and its family, all checked."""
    name = config.encoder if config.encoder in EMBEDDED else str(expanded(config.encoder))
    own = _read_config(name)
    family = family_of(own, name)
    require_fitting_size(family, own, config.image_size, name)
    _set_drop_path(own, config.drop_path, name)
    return name, own, family


def encoder_from_description(description: dict[str, Any]) -> Encoder:
    """An encoder with random weights, as `Encoder.describe` tells it: how a checkpoint is built again.

    Args:
        description: Plain data.

    Raises:
        CheckpointError: It is no description of an encoder.
    """
    where = "the encoder's description"
    try:
        plain = dict(description["config"])
        own = guarded(lambda: CONFIG_MAPPING[plain["model_type"]].from_dict(plain), where)
        mean, std = (_three(description[key], key, where) for key in ("mean", "std"))
    except (KeyError, TypeError) as error:
        raise CheckpointError("no encoder is described here", where=where, found=str(error)) from error
    family_of(own, where)
    try:
        return Encoder(_random_backbone(own), mean, std)
    except Exception as error:  # sizes and types that no layer can have fail wherever they are first used
        raise CheckpointError("no encoder can be built as described here", where=where, found=str(error)) from error


def _random_backbone(own: Any) -> Any:
    return MODEL_FOR_BACKBONE_MAPPING[type(own)]._from_config(own, dtype=torch.float32).train()


def _read_config(name: str) -> Any:
    """The transformers config of an encoder, ours to change."""
    if name in EMBEDDED:
        return type(TINY[name]).from_dict(TINY[name].to_dict())
    if not Path(name).is_dir() and (name.startswith((".", "/")) or name.count("/") != 1):
        raise ConfigError(
            "there is no such encoder", where=f"model.encoder={name}",
            expected=f"{', '.join(EMBEDDED)}, a directory, or a hub id like facebook/dinov2-small",
        )  # fmt: skip
    own = read_pretrained(AutoConfig, name)
    # of a ViT every map is wanted behind the final norm and as a grid, whatever the checkpoint was used for before
    for key in ("apply_layernorm", "reshape_hidden_states"):
        if hasattr(own, key):
            setattr(own, key, True)
    return own


def _set_drop_path(own: Any, rate: float, name: str) -> None:
    if hasattr(own, "drop_path_rate"):
        own.drop_path_rate = rate
    elif rate:
        raise ConfigError(
            f"the encoder {name} has no stochastic depth", where=f"model.drop_path={rate}", expected="0",
            fix="set model.drop_path=0, or use model.dropout",
        )  # fmt: skip


def _normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from the preprocessor beside a checkpoint; ImageNet's where there is none."""
    options = {"local_files_only": not may_fetch(), "_raise_exceptions_for_missing_entries": False}
    file = guarded(lambda: cached_file(name, _PREPROCESSOR, **options), name)
    if file is None:
        return IMAGENET_MEAN, IMAGENET_STD
    document = guarded(lambda: json.loads(Path(file).read_text(encoding="utf-8")), str(file))
    mean = _three(document.get("image_mean", IMAGENET_MEAN), "image_mean", str(file))
    return mean, _three(document.get("image_std", IMAGENET_STD), "image_std", str(file))


def _three(values: Any, key: str, where: str) -> tuple[float, ...]:
    numbers = isinstance(values, list | tuple) and all(isinstance(value, int | float) for value in values)
    if not numbers or len(values) != 3 or ("std" in key and min(values) <= 0):
        raise CheckpointError(
            f"{key} is no normalisation of three colours", where=where, expected="three numbers", found=repr(values)
        )
    return tuple(float(value) for value in values)
