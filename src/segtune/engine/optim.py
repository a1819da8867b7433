"""The optimiser over exactly what trains, and its state as tensors and numbers (never a pickle)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segtune.core.errors import CheckpointError
from segtune.engine.config import OptimConfig
from segtune.models.trainable import component_of


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that train; vectors (biases, norms, `<SEG>` rows) get no weight decay."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    spared = {name for name, p in trained if p.ndim <= 1 or component_of(name) == "seg_token"}
    groups = [
        {"params": [p for name, p in trained if name not in spared], "weight_decay": config.weight_decay},
        {"params": [p for name, p in trained if name in spared], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter name.

    Returns:
        `NAME|exp_avg`, `NAME|exp_avg_sq` and `NAME|step`; for a parameter that no step has touched yet (the head for
        IoU estimates never gets a gradient) an empty `NAME|`, so that its absence cannot be mistaken for damage.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in _trained(model, optimizer).items():
        entry = optimizer.state.get(parameter) or {"": torch.zeros(0)}
        state |= {f"{name}|{key}": value.detach().cpu().contiguous() for key, value in entry.items()}
    return state


def load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], where: str
) -> None:
    """Puts the optimiser's state back.

    Raises:
        CheckpointError: The state is not that of these parameters; up to eight are named.
    """
    trained = _trained(model, optimizer)
    entries: dict[str, dict[str, Tensor]] = {name: {} for name in trained}
    wrong = trained.keys() - {key.rpartition("|")[0] for key in state}
    for key, value in state.items():
        name, _, field = key.rpartition("|")
        if name not in trained or (field.startswith("exp_") and value.shape != trained[name].shape):
            wrong.add(name)
        elif field:
            entries[name][field] = value
    if wrong:
        raise CheckpointError(
            "this optimiser state belongs to other parameters", where=where, found=", ".join(sorted(wrong)[:8])
        )
    for name, entry in entries.items():
        parameter = trained[name]
        if entry:
            optimizer.state[parameter] = {
                field: value.clone() if field == "step" else value.to(parameter.device, copy=True)
                for field, value in entry.items()
            }


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The parameters of an optimiser by their names in the model."""
    inside = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in inside}
