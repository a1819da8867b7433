"""What a recipe asks of the machine, checked before anything is read or built."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from segtune.core.errors import CheckpointError, ConfigError
from segtune.core.log import get_logger
from segtune.engine.config import OptimConfig, TrainConfig
from segtune.engine.optim import require_optimizer
from segtune.engine.processes import is_first, together
from segtune.models.trainable import component_of

_log = get_logger(__name__)


ALLOCATOR = "PYTORCH_ALLOC_CONF"
"""The environment variable that PyTorch's allocator reads. Version 2.9 has it and passes this setting over."""

OLD_ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
"""Its name before, which later versions still read, some with a warning."""


def allocator_settings(
    environment: Mapping[str, str], *, torch_version: str, cuda: bool, platform: str
) -> dict[str, str]:
    """What to add to the environment so that memory on a GPU breaks into fewer pieces.

    Batches differ in length, and with PyTorch's default every new length leaves gaps that fit no later one; segments
    that grow are filled again. On a card of 8 GB that decides whether a run fits.

    Args:
        environment: What is set already. A person's own settings of the allocator are left as they are, whatever they
            say and under whichever of the two names.
        torch_version: As `torch.__version__`; it decides the name.
        cuda: Whether there is an NVIDIA GPU and a PyTorch built for it.
        platform: As `sys.platform`; only Linux has such segments.

    Returns:
        One variable, or none.
    """
    if not cuda or not platform.startswith("linux") or ALLOCATOR in environment or OLD_ALLOCATOR in environment:
        return {}
    major, minor = (int(part) for part in torch_version.split(".")[:2])
    return {ALLOCATOR if (major, minor) >= (2, 10) else OLD_ALLOCATOR: "expandable_segments:True"}


def prepare_allocator() -> None:
    """Makes the allocator of this process take memory in segments that grow, where there is a GPU that has them.

    To be called before anything is put on a GPU: once the allocator has read its settings it reads them no more.
    """
    built = torch.version.cuda is not None and not torch.cuda.is_initialized()
    wanted = allocator_settings(
        os.environ, torch_version=torch.__version__, cuda=built and torch.cuda.is_available(), platform=sys.platform
    )
    os.environ.update(wanted)
    for name, value in wanted.items():
        _log.debug("set %s=%s", name, value)


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


def require_float32(model: nn.Module, precision: str) -> None:
    """Refuses, or warns of, what trains in 16 bits.

    The scaler of fp16 cannot work with it ("Attempting to unscale FP16 gradients"). With the others it can be done, but
    a step of less than about a 256th of a weight is rounded away, so that it learns worse or not at all.

    Args:
        model: With everything that trains marked so.
        precision: `train.precision`.

    Raises:
        ConfigError: With fp16 something trains in another type than float32; its components are named.
    """
    other = {
        f"{component_of(name)} in {str(p.dtype).removeprefix('torch.')}"
        for name, p in model.named_parameters()
        if p.requires_grad and p.dtype != torch.float32
    }
    found, mend = ", ".join(sorted(other)), "set model.dtype=float32, or train adapters (model.train.llm=lora)"
    if other and precision == "fp16":
        raise ConfigError(
            "with train.precision=fp16 everything that trains must be float32", where="model.dtype", found=found,
            fix=mend,
        )  # fmt: skip
    if other and is_first():
        _log.warning("model.dtype is meant for frozen weights: %s would lose small steps of training; %s", found, mend)


@together()
def require_one_model(fingerprints: Sequence[str]) -> None:
    """Makes sure that all processes start from one model; on several machines they may have read different files.

    Args:
        fingerprints: Those of the frozen weights in every process.

    Raises:
        CheckpointError: They differ.
    """
    different = list(dict.fromkeys(fingerprints))
    if len(different) > 1:
        raise CheckpointError(
            "the processes have loaded different models", where="model.base", expected=f"one base, {different[0]}",
            found=", ".join(different), fix="bring the same files to all machines",
        )  # fmt: skip
