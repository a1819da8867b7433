"""Small encoders of every family, and checkpoints of them as the hub would hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextV2Config,
    ConvNextV2ForImageClassification,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    ResNetConfig,
    ResNetForImageClassification,
    Swinv2Config,
    Swinv2ForImageClassification,
)

from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.encoder import Encoder, build_encoder
from segtune.models.dense.network import DenseSegmenter, build_dense

CLASSES = ("background", "tree", "car")
VIT = {"hidden_size": 16, "num_hidden_layers": 5, "num_attention_heads": 2, "patch_size": 4, "image_size": 24}
STAGES = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 3, 1]}

# what the hub's checkpoints of a family were saved from: class and config
HUB: dict[str, tuple[Any, Any]] = {
    "dinov2": (Dinov2Model, lambda: Dinov2Config(**VIT)),
    "dinov2_with_registers": (Dinov2WithRegistersModel, lambda: Dinov2WithRegistersConfig(**VIT)),
    "dinov3_vit": (DINOv3ViTModel, lambda: DINOv3ViTConfig(**VIT, intermediate_size=32, num_register_tokens=2)),
    "dinov3_convnext": (DINOv3ConvNextModel, lambda: DINOv3ConvNextConfig(**STAGES, layer_scale_init_value=0.5)),
    "swinv2": (
        Swinv2ForImageClassification,
        lambda: Swinv2Config(embed_dim=8, depths=[1, 2, 3, 1], num_heads=[1, 2, 2, 2], window_size=4, image_size=64),
    ),
    "convnext": (ConvNextForImageClassification, lambda: ConvNextConfig(**STAGES, layer_scale_init_value=0.5)),
    "convnextv2": (ConvNextV2ForImageClassification, lambda: ConvNextV2Config(**STAGES)),
    "resnet": (
        ResNetForImageClassification,
        lambda: ResNetConfig(embedding_size=8, **STAGES, layer_type="basic"),
    ),
}  # fmt: skip
VITS = ("dinov2", "dinov2_with_registers", "dinov3_vit")
BLOCKS = {family: 5 if family in VITS else 7 for family in HUB}
SIZE = (64, 96)


def write_hub(directory: Path, family: str, seed: int = 0) -> Any:
    """Writes a checkpoint of a family with random weights (norms and biases too); returns the model."""
    cls, config = HUB[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config())
        for parameter in model.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    return model.eval()


def dense_config(encoder: str, **settings: Any) -> DenseModelConfig:
    return DenseModelConfig(**{"encoder": encoder, "image_size": SIZE, "width": 16, **settings})


def small_encoder(directory: Path, family: str, **settings: Any) -> Encoder:
    write_hub(directory, family)
    return build_encoder(dense_config(str(directory), **settings))


def small_model(directory: Path, family: str, **settings: Any) -> DenseSegmenter:
    write_hub(directory, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build_dense(dense_config(str(directory), **settings), CLASSES)


def pixels(batch: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
