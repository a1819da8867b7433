"""For all tests: what the mark `quant` means, and no precision that one test leaves to the next."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Iterator

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of quantised weights is skipped by name where bitsandbytes, the extra `quant`, is not installed."""
    if item.get_closest_marker("quant") and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("needs bitsandbytes: pip install 'segtune[quant]'")


def pytest_configure(config: pytest.Config) -> None:
    """Under `nohup` SIGHUP is ignored, by every process that a test starts too; a run respects that."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_precision_is_left_behind() -> Iterator[None]:
    """Accelerate remembers a precision: an `Accelerator(cpu=True)` would silently take that of the test before."""
    yield
    state = sys.modules.get("accelerate.state")
    if state is not None:
        state.AcceleratorState._reset_state()
