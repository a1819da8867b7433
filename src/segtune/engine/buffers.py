"""The buffers that a forward pass moves, kept so that a step that is not made leaves them as they were.

A batch norm in training mode takes every batch into its running statistics during the forward pass, long before loss
and gradient are known. A step that is skipped or given up has to take that back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_Place = tuple[nn.Module, str, Tensor]
"""A module, the name of its buffer, and the tensor that was there."""


class BufferSnapshot:
    """A copy of the buffers of all modules in training mode; those in evaluation mode do not move.

    Args:
        model: Its buffers are copied, in one piece for each type and device.
        device: Where `broken` is counted.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._device = device
        self._groups: list[tuple[list[_Place], Tensor]] = []
        places: dict[tuple[torch.dtype, torch.device], list[_Place]] = {}
        for module in model.modules():
            for name, buffer in module._buffers.items() if module.training else ():
                if buffer is not None and buffer.numel():
                    places.setdefault((buffer.dtype, buffer.device), []).append((module, name, buffer))
        for group in places.values():
            self._groups.append((group, _flat([buffer for _, _, buffer in group])))

    @torch.no_grad()
    def restore(self) -> None:
        """Puts every buffer back, bit for bit; also one that the module has replaced by another tensor."""
        for group, kept in self._groups:
            parts = kept.split([buffer.numel() for _, _, buffer in group])
            for (module, name, buffer), part in zip(group, parts, strict=True):
                buffer.copy_(part.view_as(buffer))
                module._buffers[name] = buffer

    @torch.no_grad()
    def broken(self) -> Tensor:
        """How many values were finite and no longer are: float32 `[]` on the device, 0 where nothing moves.

        A loss and a gradient can be finite while a running variance has overflowed: the batch norm divides by it.
        """
        count = torch.zeros((), device=self._device)
        for group, kept in self._groups:
            if kept.is_floating_point():
                now = _flat([module._buffers[name] for module, name, _ in group])
                count = count + (torch.isfinite(kept) & ~torch.isfinite(now)).sum().to(self._device)
        return count


@contextmanager
def preserved_buffers(model: nn.Module, device: torch.device) -> Iterator[BufferSnapshot]:
    """Restores the buffers where the work inside ends by an exception, whichever: a signal, too little memory.

    Args:
        model: In the mode in which it is about to run.
        device: Where the training is.

    Yields:
        The copy, to be restored where the work turns out to be in vain without an exception.
    """
    snapshot = BufferSnapshot(model, device)
    try:
        yield snapshot
    except BaseException:
        snapshot.restore()
        raise


def _flat(tensors: list[Tensor | None]) -> Tensor:
    """All values in one tensor `[n]` of its own memory."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors if tensor is not None])
