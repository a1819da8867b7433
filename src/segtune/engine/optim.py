"""The optimiser over exactly what trains, and its state as tensors and numbers (never a pickle)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segtune.core.errors import CheckpointError
from segtune.engine.config import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that train; vectors (biases, norms, embeddings of one token) get no weight decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter name: `NAME|exp_avg`, `NAME|exp_avg_sq`, `NAME|step`."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}|{key}": value.detach().cpu().contiguous()
        for parameter, entry in optimizer.state.items()
        for key, value in entry.items()
    }


def load_optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor], where: str
) -> None:
    """Puts the optimiser's state back.

    Raises:
        CheckpointError: The state is not that of these parameters.
    """
    trained = {name: p for group in optimizer.param_groups for name, p in _named(model, group["params"]).items()}
    entries: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name, _, field = key.rpartition("|")
        entries.setdefault(name, {})[field] = value
    if entries.keys() - trained.keys() or (entries and trained.keys() - entries.keys()):
        wrong = sorted(entries.keys() ^ trained.keys())[:8]
        raise CheckpointError("this optimiser state belongs to other parameters", where=where, found=", ".join(wrong))
    for name, entry in entries.items():
        parameter = trained[name]
        optimizer.state[parameter] = {
            field: value.clone() if field == "step" else value.to(parameter.device, copy=True)
            for field, value in entry.items()
        }


def _named(model: nn.Module, parameters: list[nn.Parameter]) -> dict[str, nn.Parameter]:
    wanted = {id(parameter) for parameter in parameters}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in wanted}
