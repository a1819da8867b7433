"""One optimiser step, to be read aloud."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from segtune.engine.buffers import BufferSnapshot, preserved_buffers
from segtune.engine.optim import set_rate
from segtune.engine.processes import add_gradients
from segtune.losses.objective import Objective, add_counts, means, weighted_total

Observer = Callable[[Any, Any], None]
"""Is called with each output and its batch."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did. Tensors are detached and still on the device: reading them is what waits for it.

    Attributes:
        terms: The mean of each term over the whole window, and `loss`, their weighted sum.
        grad_norm: Before clipping.
        skipped: True where loss, gradient or a buffer was not finite: weights, optimiser and buffers are as before.
    """

    terms: dict[str, Tensor]
    grad_norm: Tensor
    skipped: bool


def train_step(
    model: torch.nn.Module,
    window: Sequence[Any],
    optimizer: torch.optim.Optimizer,
    *,
    rate: float,
    clip: float,
    objective: Objective,
    accelerator: Accelerator,
    observe: Observer,
) -> StepReport:
    """Makes one optimiser step over a window of micro-batches and reports on it.

    A step that is skipped leaves neither weights nor optimiser nor buffers changed, and so does one that ends by an
    exception, whichever (a signal, too little memory).

    Args:
        model: The model; every process has a whole copy with the same weights.
        window: Micro-batches of this process, possibly none; the step is the same however they are cut or dealt out.
        optimizer: Over what trains; with fp16 prepared by `accelerator`.
        rate: Main learning rate of this step.
        clip: Largest gradient norm.
        objective: The losses: terms, counts and weights.
        accelerator: Device, precision and processes.
        observe: Called with each output, for metrics; what it has seen of a skipped step must not count.
    """
    with preserved_buffers(model, accelerator.device) as buffers:
        try:
            return _train_step(model, window, optimizer, rate, clip, objective, accelerator, observe, buffers)
        except BaseException:
            optimizer.zero_grad(set_to_none=True)  # half a window's gradients must not reach the next step
            raise


def _train_step(
    model: torch.nn.Module,
    window: Sequence[Any],
    optimizer: torch.optim.Optimizer,
    rate: float,
    clip: float,
    objective: Objective,
    accelerator: Accelerator,
    observe: Observer,
    buffers: BufferSnapshot,
) -> StepReport:
    """The step itself; see `train_step`."""
    # a) Count what the losses are averaged over, in all micro-batches of all processes, before anything runs.
    own = torch.tensor(list(add_counts(objective, window).values()), dtype=torch.float64, device=accelerator.device)
    counts = dict(zip(objective.weights, accelerator.reduce(own, "sum").tolist(), strict=True))

    sums = {term: torch.zeros((), device=accelerator.device) for term in objective.weights}
    for batch in window:
        batch = batch.to(accelerator.device)
        # b) Forward.
        with accelerator.autocast():
            output = model(batch)
        # c) Losses as sums; divided by the global counts, micro-batches simply add up.
        parts = objective.sums(output, batch)
        total = weighted_total(parts, objective.weights, counts)
        # d) Backward.
        accelerator.backward(total)
        for term in sums:
            sums[term] += parts[term].detach()
        observe(output, batch)

    # e) Add up the gradients of all processes; clip; step where everything is finite, on all processes or on none.
    add_gradients(parameters := [p for g in optimizer.param_groups for p in g["params"]])
    grad_norm = accelerator.clip_grad_norm_(parameters, clip)
    own = torch.stack([*sums.values(), buffers.broken()])  # each process has buffers of its own
    *added, broken = accelerator.reduce(own, "sum")  # in one go: what costs is to wait for each other
    terms = means(dict(zip(sums, added, strict=True)), counts)
    terms["loss"] = weighted_total(terms, objective.weights)
    finite = torch.isfinite(terms["loss"]) & torch.isfinite(grad_norm) & (broken == 0)
    skipped = not bool(finite)
    if not skipped:
        set_rate(optimizer, rate)
        optimizer.step()
    else:
        buffers.restore()
        if accelerator.scaler is not None:
            accelerator.scaler.update()  # fp16: the scale was too large; the next step has half of it
    optimizer.zero_grad(set_to_none=True)
    # f) Report.
    return StepReport(terms=terms, grad_norm=grad_norm.detach(), skipped=skipped)
