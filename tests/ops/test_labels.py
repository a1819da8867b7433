from __future__ import annotations

import numpy as np
import pytest

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE
from segtune.ops.labels import binary_table


def test_a_binary_target_from_the_classes() -> None:
    labels = np.array([[0, 1, 2, 3, IGNORE], [254, 2, 2, 0, 1]], np.uint8)
    target = binary_table([2, 1])[labels]
    assert target.dtype == np.uint8
    np.testing.assert_array_equal(target, [[0, 1, 1, 0, IGNORE], [0, 1, 1, 0, 1]])


@pytest.mark.parametrize("foreground", [[], [IGNORE], [-1], [1, 300]])
def test_a_foreground_that_is_no_class_is_refused(foreground: list[int]) -> None:
    with pytest.raises(ConfigError, match="binary_classes"):
        binary_table(foreground)
