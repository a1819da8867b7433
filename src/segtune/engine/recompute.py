"""Gradient checkpointing: activations of a layer are dropped in the forward and computed anew in the backward.

The mechanism is that of transformers, non-reentrant; here is only which layers use it.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from segtune.core.errors import ConfigError
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import train_mode


def recompute_layers(model: nn.Module, which: str | int) -> None:
    """Switches gradient checkpointing on or off.

    Args:
        model: Changed in place.
        which: `none`; `all` layers, those of both image encoders too; or the number of the language model's first
            layers, each of which saves the activations inside one layer and costs one more forward of it.

    Raises:
        ConfigError: The language model has fewer layers, or the model none that can be recomputed.
    """
    language = language_layers(model)
    if isinstance(which, int) and which > len(language):
        raise ConfigError(
            "more layers than the language model has", where="train.gradient_checkpointing",
            expected=f"none, all, or 1 to {len(language)}", found=str(which),
        )  # fmt: skip
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if which == "all" and not layers:
        raise ConfigError(
            "this model has no layers whose activations could be computed anew", where="train.gradient_checkpointing",
            expected="none, or an encoder that is a ViT", found="all", fix="set train.gradient_checkpointing=none",
        )  # fmt: skip
    chosen = {"none": [], "all": layers}[which] if isinstance(which, str) else language[:which]
    for layer in layers:
        layer.gradient_checkpointing = any(layer is one for one in chosen)
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def language_layers(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of the language model, first to last; a dense model has none."""
    if not isinstance(model, ReasoningSegmenter):
        return []
    language = model.vlm.llava.model.language_model
    return [module for module in language.modules() if isinstance(module, GradientCheckpointingLayer)]


def enter_training(model: ReasoningSegmenter) -> None:
    """Training mode, with layers that are frozen but recomputed told so.

    transformers recomputes only layers in training mode, and `train_mode` leaves frozen ones in evaluation mode. But
    gradients of the `<SEG>` row flow through frozen layers too, and their activations are what fills the memory. The
    flag of the layer itself decides nothing else: dropout has its own.
    """
    train_mode(model)
    for layer in language_layers(model):
        layer.training = layer.training or bool(layer.gradient_checkpointing)
