"""Runs in double precision: in this process by `use_float64`; as a command, `python tests/float64.py train ...`.

Why: a gradient is not continuous. Where the input of a ReLU lies within rounding of zero, the last bit of a sum decides
on which side it falls, and the gradient jumps. The finest level of a small U-Net has 98,304 such inputs for four
pictures of 32 x 48 pixels, computed to about 1e-6 in float32. One of them was 5.9e-8 in float64 and -2.9e-7 in float32
on a processor with AVX-512; this alone moved the norm of the gradient by 2.9e-4. So two ways to compute one step
(batches of another size, two processes) agree in float32 on some processors and not on others.

In double precision the inputs are computed to about 1e-15, and a tie that close does not occur. What is left is the
rounding of the losses, which are computed in float32 behind every ReLU. A real dependence on how a batch is cut shows
all the same.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from segtune.core.types import Batch, DenseBatch
from segtune.experiment.session import Session

TOLERANCE = 1e-5
"""Relative: the losses are sums of thousands of float32 numbers, each rounded at 6e-8."""


def use_float64(patch: pytest.MonkeyPatch) -> None:
    """Every session that is opened from now on has a model in double precision, and so have its batches."""
    opened = Session.__init__

    def open_in_float64(session: Session, *arguments: Any, **settings: Any) -> None:
        opened(session, *arguments, **settings)
        session.model.double()

    patch.setattr(Session, "__init__", open_in_float64)
    for kind in (Batch, DenseBatch):
        patch.setattr(kind, "to", _in_float64(kind.to))


def _in_float64(move: Any) -> Any:
    def to(batch: Any, device: Any = None, dtype: torch.dtype | None = None) -> Any:
        return move(batch, device, torch.float64)

    return to


if __name__ == "__main__":
    from segtune.cli.main import run

    use_float64(pytest.MonkeyPatch())
    run()
