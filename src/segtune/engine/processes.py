"""Several processes that train or score together: who is first, what they tell each other, and how they fail as one.

A launcher (torchrun, `accelerate launch`) starts the same command several times; Accelerate says on which device each
of them works. The first one alone writes and prints. For a process that is alone nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn

from segtune.core.errors import ConfigError, Elsewhere, SegtuneError
from segtune.engine import heartbeat

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long one process waits for another that lives: the first one draws, checks and saves alone. One that ends is
noticed at once, and one that is stopped by `heartbeat`."""

BUCKET = 1 << 24
"""Gradients are added up in pieces of about so many numbers."""


def join() -> None:
    """Joins the other processes of this run, where a launcher has started several.

    Raises:
        ConfigError: The launcher did not start what it was asked for, or wants what is not supported.
    """
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted == 1:
        _refuse_a_lone_process()
        return
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if _is_set(f"ACCELERATE_USE_{name}"):
            raise ConfigError(
                f"processes that share one model by {name} are not supported", where="accelerate launch",
                expected="whole copies of the model", fix="choose multi-GPU in `accelerate config`, or use torchrun",
            )  # fmt: skip
    heartbeat.begin()  # before they meet: one of them may be stopped already
    # without being told so, Accelerate takes no CPU for a device and lets every process train for itself
    on_cpu = _is_set("ACCELERATE_USE_CPU") or torch.accelerator.current_accelerator(check_available=True) is None
    found = PartialState(cpu=on_cpu, timeout=PATIENCE).num_processes
    if found != wanted:
        raise ConfigError(
            "the processes did not find each other", where="WORLD_SIZE", expected=str(wanted), found=str(found)
        )


def _refuse_a_lone_process() -> None:
    """`accelerate launch --cpu --num_processes N` starts a single process in silence; these variables are its trace."""
    if {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and has started a single one, as it does with --cpu",
            where="accelerate launch --num_processes",
            fix="leave --cpu away and add --multi_gpu (without a GPU that works too), or use torchrun",
        )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on", "y", "t")


def rank() -> int:
    """The number of this process among those that work together, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def gather(value: T) -> list[T]:
    """What every process has, in their order; to be called by all of them.

    Args:
        value: What this one has; the others get a pickled copy.
    """
    if world() == 1:
        return [value]
    values: list[T] = [value] * world()
    dist.all_gather_object(values, value)
    values[rank()] = value
    return values


def largest(number: int) -> int:
    """The largest number that any process has; to be called by all of them."""
    if world() == 1:
        return number
    shared = torch.tensor(number, device=PartialState().device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared)


def from_first(work: Callable[[], T]) -> T:
    """Lets the first process do something while the others wait; to be called by all of them.

    Args:
        work: What it does; its result can be pickled.

    Returns:
        The result; in the other processes a copy.

    Raises:
        Elsewhere: It failed; the first process raises the error itself.
    """
    result: list[T] = []
    with together():
        if is_first():
            result.append(work())
    if world() > 1:
        shared: list[T | None] = [result[0] if result else None]
        dist.broadcast_object_list(shared, src=0)
        result = result or shared  # type: ignore[assignment]
    return result[0]


@contextmanager
def together() -> Iterator[None]:
    """What fails inside on one process fails on all of them, and is told once. Nothing inside may wait for another.

    Raises:
        SegtuneError: In the first process: what failed here or, when all went well here, what failed elsewhere.
        Elsewhere: In the others.
    """
    if world() == 1:
        yield
        return
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    told = None if failure is None else (str(failure) or repr(failure), getattr(failure, "exit_code", 1))
    failures = [(index, *one) for index, one in enumerate(gather(told)) if one is not None]
    if not failures:
        return
    if is_first() and failure is not None:
        raise failure
    index, message, code = failures[0]
    if not is_first():
        raise Elsewhere(message, code) from failure
    elsewhere = SegtuneError(f"process {index}: {message}")
    elsewhere.exit_code = code
    raise elsewhere


def add_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gives every process the sum of all processes' gradients; to be called by all of them.

    The model is not wrapped as DistributedDataParallel does it: that one needs as many backward passes on every
    process, and at the end of an epoch some have fewer micro-batches or none.

    Args:
        parameters: The same ones, in the same order, in every process. Without a gradient anywhere they keep none, so
            that the optimiser leaves them alone as it does in a single process.
    """
    if world() == 1 or not parameters:
        return
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
    dist.all_reduce(used, op=dist.ReduceOp.MAX)
    gradients = []
    for parameter in [p for p, one in zip(parameters, used.tolist(), strict=True) if one]:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def share_buffers(model: nn.Module) -> None:
    """Gives every process the first one's buffers of what trains (what a batch norm has seen in its share of an epoch).

    Without it each would validate a model of its own. To be called by all of them.

    Args:
        model: The same in every process but for these buffers.
    """
    if world() == 1:
        return
    for module in model.modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            for buffer in module.buffers(recurse=False):
                dist.broadcast(buffer, src=0)


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in their order, cut where the type changes or there are enough."""
    bucket: list[torch.Tensor] = []
    numbers = 0
    for tensor in tensors:
        if bucket and (bucket[0].dtype != tensor.dtype or numbers + tensor.numel() > BUCKET):
            yield bucket
            bucket, numbers = [], 0
        bucket.append(tensor)
        numbers += tensor.numel()
    if bucket:
        yield bucket
