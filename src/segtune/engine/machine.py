"""What a recipe asks of the machine, checked before anything is read or built."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from segtune.core.errors import ConfigError
from segtune.core.log import get_logger
from segtune.engine.config import OptimConfig, TrainConfig
from segtune.engine.optim import require_optimizer
from segtune.models.trainable import component_of

_log = get_logger(__name__)


def prepare_machine(train: TrainConfig, optim: OptimConfig, device: torch.device) -> None:
    """Refuses a precision or an optimiser that this machine does not have, and sets TF32.

    Args:
        train: Its precision and TF32.
        optim: Its optimiser.
        device: Where training will run.

    Raises:
        ConfigError: It cannot be done here; what can be is said.
    """
    if train.precision == "fp16" and device.type == "cpu":
        # Accelerate would take it and give neither autocast nor scaler.
        raise ConfigError(
            "fp16 needs an accelerator", where="train.precision", expected="fp32 or bf16 on a CPU", found="fp16",
            fix="set train.precision=fp32, or train on a machine with a GPU that PyTorch sees",
        )  # fmt: skip
    if train.precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError(
            "this GPU has no bf16", where="train.precision", found=torch.cuda.get_device_name(device),
            fix="set train.precision=fp16",
        )  # fmt: skip
    require_optimizer(optim.name, device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = train.tf32
        torch.backends.cudnn.allow_tf32 = train.tf32
    elif train.tf32:
        _log.warning("train.tf32 changes nothing here: only NVIDIA GPUs have TF32")


def accelerator_for(precision: str, *, cpu: bool = False) -> Accelerator:
    """Device, precision and processes of a run.

    Accelerate remembers the precision of the first run in a process and refuses every other; here each has its own.

    Args:
        precision: `train.precision`.
        cpu: Never an accelerator.
    """
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision, cpu=cpu)


def require_float32(model: nn.Module) -> None:
    """Makes sure that what trains is float32, as the scaler of fp16 needs it ("Attempting to unscale FP16 gradients").

    Raises:
        ConfigError: Something trains in another type; its components are named.
    """
    other = {
        f"{component_of(name)} in {str(p.dtype).removeprefix('torch.')}"
        for name, p in model.named_parameters()
        if p.requires_grad and p.dtype != torch.float32
    }
    if other:
        raise ConfigError(
            "with train.precision=fp16 everything that trains must be float32", where="model.dtype",
            found=", ".join(sorted(other)), fix="set model.dtype=float32, or train adapters (model.train.llm=lora)",
        )  # fmt: skip
