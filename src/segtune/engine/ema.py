"""An exponential moving average of the weights that train: what is validated and kept as best, not what is stepped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from segtune.core.errors import CheckpointError
from segtune.models.trainable import canonical_name


class Ema:
    """The averaged weights of a model, in float32.

    A high decay averages over 1 / (1 - decay) steps. In the beginning there are fewer, so the decay of step t is
    min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage.

    Args:
        model: Its weights that train are averaged, beginning with what they are now.
        decay: In (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {canonical_name(name): p for name, p in model.named_parameters() if p.requires_grad}
        self._averages = {name: p.detach().float().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights in after an optimiser step.

        Args:
            step: Optimiser steps made before it in this stage, from 0.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, weight in self._weights.items():
            self._averages[name].lerp_(weight.float(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own, bit for bit, outside."""
        own = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self._put(self._averages)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._weights.items():
            weight.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """The averages by canonical name, float32 on the CPU."""
        return {name: value.cpu().contiguous() for name, value in self._averages.items()}

    def load(self, state: Mapping[str, Tensor], where: str) -> None:
        """Puts saved averages back.

        Raises:
            CheckpointError: They are those of other weights, or no float32; up to eight are named.
        """
        wrong = self._averages.keys() ^ state.keys()
        wrong |= {
            name
            for name in self._averages.keys() & state.keys()
            if (self._averages[name].shape, torch.float32) != (state[name].shape, state[name].dtype)
        }
        if wrong:
            raise CheckpointError(
                "these averaged weights belong to other parameters", where=where, found=", ".join(sorted(wrong)[:8])
            )
        for name, value in state.items():
            self._averages[name].copy_(value)
