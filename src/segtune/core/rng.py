"""Randomness without state: every random number comes from a seed and the names of what it is for.

Nothing is stored and nothing restored: the augmentation of sample 7 in epoch 3 is a function of
(seed, "augment", 3, 7), so that a resumed run, another number of workers or another order of work draws the same.
"""

from __future__ import annotations

import hashlib
import operator

import numpy as np


def derive(seed: int, *keys: int | str) -> int:
    """A seed for one purpose.

    Args:
        seed: The seed of the run.
        keys: What it is for, most general first, as in `derive(seed, "augment", epoch, index)`. An integer and the
            text of it (`1`, `"1"`) are different keys.

    Returns:
        An integer in [0, 2**63), the same on every machine and Python version.

    Raises:
        TypeError: A key that is neither text nor an integer.
    """
    digest = hashlib.sha256()
    for key in (seed, *keys):
        kind, text = ("s", key) if isinstance(key, str) else ("i", str(operator.index(key)))
        data = text.encode()
        digest.update(f"{kind}{len(data)}:".encode() + data)  # the length keeps ("ab", "c") and ("a", "bc") apart
    return int.from_bytes(digest.digest()[:8], "big") >> 1


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """A fresh NumPy generator for one purpose; arguments as in `derive`."""
    return np.random.Generator(np.random.PCG64(derive(seed, *keys)))
