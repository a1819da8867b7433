"""The optimiser over exactly what trains, and its state as tensors and numbers (never a pickle)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from segtune.core.config import nearest
from segtune.core.errors import CheckpointError, ConfigError
from segtune.engine.config import OptimConfig
from segtune.models.trainable import COMPONENTS, component_of

_OF_BITSANDBYTES = {"adamw8bit": "AdamW8bit", "paged_adamw": "PagedAdamW", "paged_adamw8bit": "PagedAdamW8bit"}
_MOMENTS = ("exp_avg", "exp_avg_sq", "state1", "state2")
"""Fields of the state that have the parameter's shape: PyTorch's names, then those of bitsandbytes."""


def build_optimizer(model: nn.Module, config: OptimConfig, resting: Collection[str] = ()) -> torch.optim.Optimizer:
    """AdamW over the parameters that train; vectors (biases, norms, `<SEG>` rows) get no weight decay.

    Each group of parameters has a `share`, its peak rate over `optim.lr`, by which `set_rate` sets its rate.

    Args:
        model: With everything that trains marked so.
        config: The optimiser and its numbers.
        resting: As in `rate_shares`.

    Raises:
        ConfigError: `optim.rates` names what does not train, or the optimiser is not installed.
    """
    shares = rate_shares(model, config, resting)
    trained = [(name, component_of(name), p) for name, p in model.named_parameters() if p.requires_grad]
    spared = {name for name, component, p in trained if p.ndim <= 1 or component == "seg_token"}
    groups = [
        {
            "params": [p for name, component, p in trained if shares[component] == share and (name in spared) == spare],
            "weight_decay": 0.0 if spare else config.weight_decay,
            "lr": config.lr * share,
            "share": share,
        }
        for spare in (False, True)
        for share in dict.fromkeys(shares.values())
    ]
    # one pass over memory instead of a dozen; on a GPU Accelerate's gradient scaler expects the plain one
    fast = {"fused": True} if config.name == "adamw" and all(p.device.type == "cpu" for _, _, p in trained) else {}
    return optimizer_class(config.name)([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, **fast)


def prepared(accelerator: Accelerator, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimiser of a stage, with the loss scale of `accelerator` where there is one (fp16).

    Accelerate unscales the gradients of every optimiser that it has ever prepared: with that of the stage before it
    would divide those of a parameter that trains in both by the scale twice. So it forgets the earlier ones, and a
    stage makes the same steps after another one and after a resume.

    Args:
        accelerator: Of the run.
        optimizer: As `build_optimizer` makes it.
    """
    accelerator.free_memory()
    return accelerator.prepare_optimizer(optimizer, device_placement=False)


def rate_shares(model: nn.Module, config: OptimConfig, resting: Collection[str] = ()) -> dict[str, float]:
    """The peak rate of each component that trains, as a share of `optim.lr`.

    Args:
        model: With everything that trains marked so.
        config: Its `lr` and `rates`.
        resting: Components that train in other stages of the run: a rate for them is no mistake.

    Raises:
        ConfigError: `optim.rates` names no component, or one that does not train; the nearest is named.
    """
    trained = list(dict.fromkeys(component_of(name) for name, p in model.named_parameters() if p.requires_grad))
    for name in config.rates:
        if name not in trained and name not in resting:
            near = nearest(name, trained, 1)
            raise ConfigError(
                "a learning rate for what does not train", where=f"optim.rates.{name}", expected=", ".join(trained),
                found=f"{name}, which is frozen or absent" if name in COMPONENTS else f"no component {name!r}",
                fix=f"did you mean {near[0]}?" if near else "model.train says what trains",
            )  # fmt: skip
    return {name: config.rates.get(name, config.lr) / config.lr for name in trained}


def optimizer_class(name: str) -> Any:
    """The class of an optimiser; bitsandbytes is imported only where it is asked for.

    Raises:
        ConfigError: bitsandbytes is needed and not there.
    """
    if name == "adamw":
        return torch.optim.AdamW
    try:
        import bitsandbytes
    except ImportError as error:
        raise ConfigError(
            f"the optimiser {name} needs bitsandbytes, which cannot be imported", where="optim.name", found=str(error),
            fix="install it with `pip install 'segtune[quant]'`, or set optim.name=adamw",
        ) from error  # fmt: skip
    return getattr(bitsandbytes.optim, _OF_BITSANDBYTES[name])


def require_optimizer(name: str, device: torch.device) -> None:
    """Makes sure that an optimiser works on a device, by letting it make one step there.

    Args:
        name: `optim.name`.
        device: Where it will work.

    Raises:
        ConfigError: It is not installed, or does not support the device.
    """
    if name not in _OF_BITSANDBYTES:
        return
    kind = optimizer_class(name)
    parameter = nn.Parameter(torch.zeros(100_000, device=device))  # smaller ones are neither paged nor in 8 bits
    parameter.grad = torch.ones_like(parameter)
    try:
        with warnings.catch_warnings():
            # it falls back to ordinary memory where it has no pages, and says so in a warning alone
            warnings.filterwarnings("error", message=".*not supported")
            kind([parameter]).step()
    except Exception as error:  # whatever a kernel that is not there raises
        raise ConfigError(
            f"bitsandbytes does not support {name} on this machine", where="optim.name",
            expected=f"an optimiser for the device {device.type}", found=str(error).splitlines()[0],
            fix="set optim.name=adamw" + (" or adamw8bit" if name.startswith("paged") else ""),
        ) from error  # fmt: skip


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of every group: the main rate times the group's share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def watch_steps(optimizer: Any, told: Callable[[], None]) -> None:
    """Tells when an optimiser begins to move its parameters.

    Args:
        optimizer: As built, or as Accelerate has wrapped it; None does nothing.
        told: Called before every step.
    """
    if (plain := getattr(optimizer, "optimizer", optimizer)) is not None:
        plain.register_step_pre_hook(lambda *_: told())


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state by parameter name.

    Returns:
        `NAME|exp_avg`, `NAME|exp_avg_sq` and `NAME|step`, or the fields of bitsandbytes; for a parameter that no step
        has touched yet (the head for IoU estimates never gets a gradient) an empty `NAME|`, so that its absence
        cannot be mistaken for damage.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in _trained(model, optimizer).items():
        entry = optimizer.state.get(parameter) or {"": torch.zeros(0)}
        state |= {f"{name}|{key}": _as_tensor(value) for key, value in entry.items() if not key.startswith("qmap")}
    return state


def _as_tensor(value: Tensor | int) -> Tensor:
    """A number as a tensor too: bitsandbytes counts its steps in plain ones."""
    return value.detach().cpu().contiguous() if isinstance(value, Tensor) else torch.tensor(value)


def load_optimizer_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Tensor],
    where: str,
    steps: int | None = None,
) -> None:
    """Puts the optimiser's state back.

    Args:
        model: The model.
        optimizer: As built.
        state: What `optimizer_state` gave.
        where: The file, for the message.
        steps: How many steps it can have made at most.

    Raises:
        CheckpointError: The state is not that of these parameters, or has fields, shapes, types or numbers that it
            cannot have; up to eight are named.
    """
    trained = _trained(model, optimizer)
    entries: dict[str, dict[str, Tensor]] = {name: {} for name in trained}
    wrong = trained.keys() - {key.rpartition("|")[0] for key in state}
    for key, value in state.items():
        name, _, field = key.rpartition("|")
        if name not in trained or (field in _MOMENTS and value.shape != trained[name].shape):
            wrong.add(name)
        elif field:
            entries[name][field] = value
    if wrong:
        raise CheckpointError(
            "this optimiser state belongs to other parameters", where=where, found=", ".join(sorted(wrong)[:8])
        )
    own = isinstance(optimizer, torch.optim.AdamW)
    problems = [
        f"{name}|{problem}"
        for name, entry in entries.items()
        if entry and (problem := _wrong_step(entry, steps) or (own and _wrong_moments(entry, trained[name])))
    ]
    names = {id(parameter): name for name, parameter in trained.items()}
    for place, group, parameter in _placed(optimizer):
        name = names[id(parameter)]
        if not entries[name] or problems:
            continue
        if own:
            optimizer.state[parameter] = {
                field: value.clone() if field == "step" else value.to(parameter.device, copy=True)
                for field, value in entries[name].items()
            }
        elif problem := _load_bitsandbytes(optimizer, place, group, parameter, entries[name]):
            problems.append(f"{name}|{problem}")
    if problems:
        raise CheckpointError(
            "this optimiser state has values that it cannot have", where=where, found="; ".join(problems[:8]),
            fix="it was changed; use another checkpoint",
        )  # fmt: skip


def _wrong_step(entry: Mapping[str, Tensor], steps: int | None) -> str:
    """What is wrong with the number of steps of a parameter; empty where nothing is."""
    step = entry.get("step")
    if step is None:
        return "step is missing"
    if step.numel() != 1 or step.dtype not in (torch.float32, torch.int64):
        return f"step is {str(step.dtype).removeprefix('torch.')} of shape {tuple(step.shape)}"
    number = float(step)
    return "" if number >= 1 and number.is_integer() and number <= (steps or number) else f"step is {number:g}"


def _wrong_moments(entry: Mapping[str, Tensor], parameter: nn.Parameter) -> str:
    """What is wrong with the moments of AdamW; empty where nothing is."""
    if entry.keys() != {"step", "exp_avg", "exp_avg_sq"}:
        return f"{', '.join(sorted(entry.keys() ^ {'step', 'exp_avg', 'exp_avg_sq'}))} missing or unknown"
    for field in ("exp_avg", "exp_avg_sq"):
        if entry[field].dtype != parameter.dtype:
            return f"{field} is {entry[field].dtype} instead of {parameter.dtype}".replace("torch.", "")
    if entry["step"].shape != () or entry["step"].dtype != torch.float32:
        return "step is no number of float32"
    return "exp_avg_sq is negative" if bool((entry["exp_avg_sq"] < 0).any()) else ""


def _load_bitsandbytes(
    optimizer: Any, place: tuple[int, int], group: dict[str, Any], parameter: nn.Parameter, entry: dict[str, Tensor]
) -> str:
    """Fills the state that bitsandbytes makes itself, because only it knows what is paged and the maps of its codes.

    Returns:
        What is wrong with the saved state; empty where nothing is.
    """
    optimizer.init_state(group, parameter, *place)
    made = optimizer.state[parameter]
    fields = {field for field in made if not field.startswith("qmap")}
    if fields != entry.keys():
        return f"{', '.join(sorted(fields ^ entry.keys()))} missing or unknown"
    for field, value in entry.items():
        if field == "step":
            made["step"] = int(value)
        elif made[field].shape != value.shape or made[field].dtype != value.dtype:
            return f"{field} is {value.dtype} {tuple(value.shape)}".replace("torch.", "")
        else:
            made[field].copy_(value)
    return ""


def _placed(optimizer: torch.optim.Optimizer) -> Iterator[tuple[tuple[int, int], dict[str, Any], nn.Parameter]]:
    """Each parameter with its group, and the indices of both."""
    for g, group in enumerate(optimizer.param_groups):
        for p, parameter in enumerate(group["params"]):
            yield (g, p), group, parameter


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The parameters of an optimiser by their names in the model."""
    inside = {id(parameter) for _, _, parameter in _placed(optimizer)}
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in inside}
