from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from segtune.core import log


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    root = logging.getLogger("segtune")
    before = root.handlers[:], root.level, root.propagate
    root.handlers.clear()
    yield
    root.handlers[:], root.level, root.propagate = before[0], before[1], before[2]


def test_plain_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log.setup()
    log.setup()
    log.get_logger("segtune.engine.loop").info("epoch %d [red] <SEG>", 3)
    log.get_logger("other").warning("careful")
    log.get_logger().debug("unseen")
    captured = capsys.readouterr()
    assert not captured.out
    lines = captured.err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["epoch 3 [red] <SEG>", "warning: careful"]


def test_only_the_first_rank_speaks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    log.setup()
    log.get_logger().info("unseen")
    log.get_logger().error("seen")
    assert capsys.readouterr().err.count("\n") == 1
