"""Scoring holds the masks of one query at a time, however many questions a picture has."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.factory import DrawnSource, plain_loaded

from segtune.data.loader import ScoringLoader
from segtune.engine import evaluator
from segtune.engine.inference import QueryAnswer, answer_batch, answers


def test_one_query_at_a_time_is_in_original_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = plain_loaded()
    loader = ScoringLoader(DrawnSource(2, 6), loaded.transform, batch_size=2, pad_id=0)
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def watched(*arguments: Any, **named: Any) -> Iterator[QueryAnswer]:
        nonlocal most
        for answer in answers(*arguments, **named):
            alive.append(weakref.ref(answer.logits))
            most = max(most, sum(one() is not None for one in alive))
            yield answer
            del answer

    monkeypatch.setattr(evaluator, "answers", watched)
    found = evaluator.evaluate_split(loaded.model, loader, loaded.conversation, "forced", max_new_tokens=2)
    assert len(found.scorer) == len(alive) == 12
    assert most <= 2  # the one that is scored, and the next


def test_one_after_another_is_all_at_once() -> None:
    loaded = plain_loaded()
    batch = next(iter(ScoringLoader(DrawnSource(1, 4), loaded.transform, batch_size=1, pad_id=0).batches()))
    loaded.model.eval()
    arguments = (loaded.model, batch, loaded.conversation, "forced")
    whole = answer_batch(*arguments, max_new_tokens=2)
    for one, other in zip(answers(*arguments, max_new_tokens=2), whole, strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        assert (one.text, one.scores, one.emitted) == (other.text, other.scores, other.emitted)
