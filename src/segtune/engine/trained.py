"""What a checkpoint holds of a model: the parameters that train in any stage, and what belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import Tensor, nn

from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import ADAPTERS, BRIDGE, canonical_name, component_of


def trained_names(model: nn.Module) -> frozenset[str]:
    """The names of the parameters that train now."""
    return frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def trained_state(model: nn.Module, trained: Collection[str] | None = None) -> dict[str, Tensor]:
    """What a checkpoint holds apart from adapters, by canonical name.

    Args:
        model: The model.
        trained: Names of the parameters that train in any stage; None for those that train now.

    Returns:
        These parameters, always the bridge, and the buffers of modules with such parameters (what a batch norm has
        seen); on the CPU, and views of the model where it is there.
    """
    return {name: value.detach().cpu().contiguous() for name, value in kept_tensors(model, trained).items()}


def kept_tensors(model: nn.Module, trained: Collection[str] | None) -> dict[str, Tensor]:
    """The model's own parameters and buffers that a checkpoint holds by name; arguments as in `trained_state`."""
    return {canonical_name(name): value for name, value in _kept(model, trained)}


def adapted_part(model: nn.Module) -> nn.Module:
    """The part of a model whose adapters go into PEFT's own files."""
    return model.vlm.vlm if isinstance(model, ReasoningSegmenter) else model


def _kept(model: nn.Module, trained: Collection[str] | None) -> Iterator[tuple[str, Tensor]]:
    chosen = trained_names(model) if trained is None else trained
    first = {name for name, _ in model.named_parameters()}  # one that two modules share has one name
    for path, module in model.named_modules():
        place = f"{path}." if path else ""
        named = ((f"{place}{name}", value) for name, value in module.named_parameters(recurse=False))
        own = [(name, value) for name, value in named if name in first]
        kept = [
            (n, v) for n, v in own if component_of(n) in BRIDGE or (n in chosen and component_of(n) not in ADAPTERS)
        ]
        yield from kept
        if kept:
            lasting = module._buffers.keys() - module._non_persistent_buffers_set
            yield from ((f"{place}{name}", b) for name, b in module.named_buffers(recurse=False) if name in lasting)
