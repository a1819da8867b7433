from __future__ import annotations

import math

import pytest

from segtune.engine.watch import Watch, is_better


def _waits(values, **kind) -> list[int]:
    watch, waits = Watch(), []
    for value in values:
        watch = watch.after(value, **kind)
        waits.append(watch.waited)
    return waits


def test_values_since_the_best_are_counted():
    assert _waits([0.1, 0.3, 0.2, 0.3, 0.31], highest=True) == [0, 0, 1, 2, 0]
    assert _waits([3.0, 2.0, 2.5, 1.0], highest=False) == [0, 0, 1, 0]


def test_a_gain_must_exceed_min_gain():
    # 0.31 is no gain of 0.1 over 0.25; 0.36 is one, over 0.25 and not over 0.31
    assert _waits([0.25, 0.31, 0.36], highest=True, min_gain=0.1) == [0, 1, 0]


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_an_undefined_value_is_no_gain(nothing):
    assert _waits([nothing, 0.5, nothing], highest=True) == [1, 0, 1]
    assert not is_better(nothing, None, highest=True)
    assert is_better(0.0, nothing, highest=True)
