"""How much memory this process has needed."""

from __future__ import annotations

import resource
import sys

import torch


def peak_memory() -> tuple[float, str]:
    """Peak memory of this process in GB (1e9 bytes) and what that means: allocated on an accelerator, or resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9, "cuda peak allocated"
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024) / 1e9, "peak resident size"
