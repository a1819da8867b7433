"""The stream: other scenes every epoch, the same for the same seed, one fixed validation set."""

from __future__ import annotations

import numpy as np
import pytest

from segtune.core.errors import ConfigError
from segtune.data.sources.synthetic.attributes import CONTENT_WORDS
from segtune.data.sources.synthetic.stream import AttributeStream


def test_groups_are_valid() -> None:
    stream = AttributeStream(20, seed=3, queries=4)
    assert len(stream) == 20
    for index in range(20):
        group = stream.group(index, epoch=2)
        assert [one.id for one in group.examples] == list(stream.ids(index))
        for one in group.examples:
            assert one.target.shape == group.image.shape[:2]
            assert one.target.dtype == np.uint8
            assert set(np.unique(one.target)) == {0, 1}
            assert one.query.text
            assert one.query.kind
        assert len({one.query.text for one in group.examples}) == 4


def test_the_epoch_draws_other_scenes_and_the_seed_decides() -> None:
    stream = AttributeStream(5, seed=3)
    first = stream.group(1, epoch=0)
    again = AttributeStream(5, seed=3).group(1, epoch=0)
    assert first.image.tobytes() == again.image.tobytes()
    assert [one.query for one in first.examples] == [one.query for one in again.examples]
    pictures = {stream.group(1, epoch).image.tobytes() for epoch in range(4)}
    pictures |= {AttributeStream(5, seed=4).group(1).image.tobytes(), stream.group(2).image.tobytes()}
    assert len(pictures) == 6


def test_validation_is_fixed_and_apart_from_training() -> None:
    val = AttributeStream(10, seed=3, split="val")
    assert val.group(2, epoch=0).image.tobytes() == val.group(2, epoch=7).image.tobytes()
    train = AttributeStream(10, seed=3)
    seen = {train.group(index, epoch).image.tobytes() for index in range(10) for epoch in range(3)}
    assert not seen & {val.group(index).image.tobytes() for index in range(10)}


def _words(epoch: int, split: str = "train") -> list[str]:
    stream = AttributeStream(40, seed=3, split=split, easing_epochs=8)
    return [one.query.text.removeprefix("the ") for index in range(40) for one in stream.group(index, epoch).examples]


def test_the_beginning_is_single_words_and_the_grammar_comes_evenly() -> None:
    def is_single(text: str) -> bool:
        word, *rest = text.removeprefix("thing excluding ").split()
        return word in CONTENT_WORDS and rest in ([], ["thing"])

    single = [np.mean([is_single(text) for text in _words(epoch)]) for epoch in range(10)]
    longest = [max(len(text.split()) for text in _words(epoch)) for epoch in range(10)]
    assert single[:5] == [1] * 5
    assert single[4] > single[5] > single[6] > single[7] > single[9]
    assert longest[4] == 3 < longest[5] < longest[9]
    assert _words(0, "val") == _words(9, "val") != _words(0), "validation asks everything from the start"


def test_wrong_arguments_are_refused() -> None:
    for wrong in ({"split": "test"}, {"queries": 0}, {"length": 0}, {"seed": -1}):
        with pytest.raises(ConfigError):
            AttributeStream(**({"length": 3, "seed": 0} | wrong))
    with pytest.raises(IndexError):
        AttributeStream(3, seed=0).group(3)
