"""From the classes of pixels to a binary mask: the one rule that losses and metrics share.

NumPy only; a torch tensor looks its values up in the same table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE


def binary_table(foreground: Sequence[int]) -> np.ndarray:
    """The binary value of every label: `binary_table(foreground)[labels]` is a binary target.

    Args:
        foreground: Indices of the classes that make up the foreground; at least one.

    Returns:
        uint8 `[256]`: 1 for the foreground, `IGNORE` for `IGNORE`, 0 for everything else.

    Raises:
        ConfigError: There is no foreground class, or one is no label.
    """
    wrong = [index for index in foreground if not 0 <= index < IGNORE]
    if wrong or not len(foreground):
        raise ConfigError(
            "the foreground of a binary mask is made of classes",
            where="binary_classes",
            expected=f"one class or more, indices 0 to {IGNORE - 1}",
            found=str(list(foreground)),
        )
    table = np.zeros(256, np.uint8)
    table[list(foreground)] = 1
    table[IGNORE] = IGNORE
    return table
