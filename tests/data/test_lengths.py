"""A text that does not fit the context of a model is told by its file, before anything is trained."""

from __future__ import annotations

import json

import pytest
from tests.factory import plain_loaded, tiny_base

from segtune.cli.main import main
from segtune.core.errors import DataError
from segtune.data.lengths import require_fitting_texts
from segtune.data.prepare import FirstSamples, Subset
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.data.sources.synthetic.stream import AttributeStream

LONG = "the box " * 300  # 600 words: allowed in data, too long for the 512 positions of the tiny model


@pytest.fixture(scope="module")
def conversation():
    return plain_loaded().conversation


def test_every_file_is_named(tmp_path, write_pair, conversation) -> None:
    for index in range(4):
        write_pair(tmp_path / "train", f"a{index}", colour=index, text=["a box", LONG if index % 2 else "a disc"])
    source = ReasonSeg(tmp_path, "train")
    with pytest.raises(DataError, match="2 longer texts") as caught:
        require_fitting_texts(source, conversation)
    assert "a1.json" in str(caught.value)
    assert "a3.json" in str(caught.value)
    assert "a0.json" not in str(caught.value)
    require_fitting_texts(Subset(source, [0, 2]), conversation)
    require_fitting_texts(FirstSamples(source, 3), conversation)
    with pytest.raises(DataError, match=r"a1\.json"):
        require_fitting_texts(FirstSamples(source, 4), conversation)


def test_explanations_count_where_they_are_answers(tmp_path, write_pair, conversation) -> None:
    write_pair(tmp_path / "train", "a", text=["a box"])
    (tmp_path / "explanatory").mkdir()
    entry = {"image": "a.png", "query": "a box", "outputs": LONG}
    (tmp_path / "explanatory/train.json").write_text(json.dumps([entry]))
    source = ReasonSeg(tmp_path, "train")
    require_fitting_texts(source, conversation)
    with pytest.raises(DataError, match="do not fit the context"):
        require_fitting_texts(source, conversation, explain=True)


def test_a_stream_is_passed_over(conversation) -> None:
    require_fitting_texts(AttributeStream(4, 0, 2, "train", 0), conversation)


def test_a_check_for_a_model(tmp_path, write_pair, capsys) -> None:
    write_pair(tmp_path / "train", "a", text=["a box"])
    write_pair(tmp_path / "val", "b", text=[LONG])
    arguments = ["data", "check", str(tmp_path)]
    assert main(arguments) == 0
    assert main([*arguments, "--model", str(tiny_base())]) == 3
    assert "b.json" in capsys.readouterr().err
    assert main(["data", "check", f"{tmp_path}@train", "--model", str(tiny_base())]) == 0
