"""What of a dense model trains: declared as a number of blocks, applied, shown as a table and asserted.

Decoder and heads always train; of the encoder nothing, the last N blocks, or everything. "The last N blocks" are
exactly these and the norms behind any of them; what comes before (patches, positions, earlier blocks) stays as it is.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from segtune.core.errors import ConfigError
from segtune.models.dense.network import DenseSegmenter
from segtune.models.trainable import component_of

Blocks = Literal["all"] | int
"""How much of the encoder trains: 0, its last N blocks, or `all` of it."""


def unfreeze(model: DenseSegmenter, blocks: Blocks) -> None:
    """Sets `requires_grad` of every parameter as declared, and the modes of the modules with it.

    A mask token, which no forward uses, stays frozen with `all` too.

    Args:
        model: Changed in place.
        blocks: 0 freezes the encoder, N trains its last N blocks and the norms behind them, `all` everything.

    Raises:
        ConfigError: The encoder has fewer blocks, or this is no number of blocks.
    """
    trained = _declared(model, blocks)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    model.train(model.training)


def require_frozen_as_declared(model: DenseSegmenter, blocks: Blocks) -> None:
    """Asserts that a model trains what was declared and nothing else; called at every boundary of stages.

    Args:
        model: As it is about to train or to be scored.
        blocks: The declaration.

    Raises:
        ConfigError: The encoder has fewer blocks than declared.
        AssertionError: A parameter trains that should not, or the reverse; or a module that should stand still is in
            training mode; or one that trains is not, in a model that is. The names are given.
    """
    trained = _declared(model, blocks)
    wrong = [name for name, parameter in model.named_parameters() if parameter.requires_grad != (name in trained)]
    modes = _declared_modes(model, blocks)
    wrong_mode = [name for name, module in model.named_modules() if module.training != modes[name]]
    for what, names in (("requires_grad", wrong), ("training mode", wrong_mode)):
        if names:
            raise AssertionError(
                f"declared: blocks={blocks}; of another {what}: {', '.join(names[:8])}"
                + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            )


def _declared(model: DenseSegmenter, blocks: Blocks) -> set[str]:
    """The names of the parameters that train under a declaration."""
    encoder = model.encoder
    count = len(encoder.blocks)
    if blocks != "all" and (isinstance(blocks, str | bool) or not 0 <= blocks <= count):
        raise ConfigError(
            "no such number of blocks to unfreeze", where=f"unfreeze={blocks}",
            expected=f"0 to {count} (the encoder has {count} blocks), or all",
        )  # fmt: skip
    if blocks == "all":
        chosen = {id(parameter) for _, parameter in encoder.trainable_parameters()}
    else:
        chosen = {id(parameter) for part in encoder.last_blocks(blocks) for parameter in part.parameters()}
    return {
        name
        for name, parameter in model.named_parameters()
        if component_of(name) != "encoder" or id(parameter) in chosen
    }


def _declared_modes(model: DenseSegmenter, blocks: Blocks) -> dict[str, bool]:
    """For every module by name, whether it should be in training mode now."""
    parts: list[nn.Module] = [] if blocks == "all" else model.encoder.last_blocks(blocks)
    awake = {id(module) for part in parts for module in part.modules()}
    return {
        name: model.training and (blocks == "all" or not f"{name}.".startswith("encoder.") or id(module) in awake)
        for name, module in model.named_modules()
    }
