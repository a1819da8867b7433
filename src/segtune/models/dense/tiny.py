"""The two embedded encoders: a real DINOv2 and a real ResNet, small enough to train on a CPU.

Only sizes differ from the large ones. Their weights are drawn by transformers' own initialisation, except that the
ViT's standard deviation is 1 / sqrt(width): DINOv2's 0.02 is meant for widths of 768 and more, and at 96 a network
learns the same two pictures in twice as many steps. `Encoder.save` writes one that has been trained, in the hub's
layout, to be named as a directory afterwards.
"""

from __future__ import annotations

from transformers import Dinov2Config, PreTrainedConfig, ResNetConfig


def tiny_vit() -> Dinov2Config:
    """A DINOv2 of 0.78 M parameters: 8 blocks, 96 wide, patches of 8, positions for 128 x 128 model pixels.

    Positions are interpolated to any other size, as DINOv2 does. It has no mask token, which only pretraining by
    masking needs.
    """
    return Dinov2Config(
        hidden_size=96, num_hidden_layers=8, num_attention_heads=3, mlp_ratio=3, patch_size=8, image_size=128,
        initializer_range=96**-0.5, use_mask_token=False,
    )  # fmt: skip


def tiny_cnn() -> ResNetConfig:
    """A ResNet of 0.49 M parameters: 5 basic layers in 4 stages, strides 4, 8, 16, 32."""
    return ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 96, 128], depths=[1, 1, 1, 1], layer_type="basic", hidden_act="relu"
    )


TINY: dict[str, PreTrainedConfig] = {"segtune/tiny-vit": tiny_vit(), "segtune/tiny-cnn": tiny_cnn()}
