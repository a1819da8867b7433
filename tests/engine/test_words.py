"""What is read without weights asks as the loaded model does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.factory import tiny_loaded

from segtune.core.errors import CheckpointError
from segtune.core.input_spec import ConversationConfig
from segtune.core.records import Query
from segtune.data.conversation import Conversation
from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.loading import RUN_BASE, build
from segtune.engine.words import read_conversation
from segtune.models.config import ModelConfig
from segtune.models.weights import base_directory

QUERY = Query("the <SEG> of the large red car", is_sentence=False)


def _facts(conversation: Conversation) -> tuple[object, ...]:
    turn = conversation.turn(QUERY, "It is <SEG>.")
    return turn, conversation.wording, conversation._room, len(conversation.tokenizer)


def _halves() -> dict[str, str]:
    place = base_directory("segtune/tiny")
    return {"vlm": str(place / "vlm"), "mask_model": str(place / "mask_model")}


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("wording", [None, ConversationConfig(short="Find {query}.")])
@pytest.mark.parametrize("from_parts", [False, True])
def test_it_is_the_conversation_of_the_loaded_model(
    size: int | None, wording: ConversationConfig | None, from_parts: bool
) -> None:
    parts = _halves() if from_parts else {"base": "segtune/tiny"}
    config = ModelConfig.model_validate({**parts, "img_size": size})
    assert _facts(read_conversation(config, wording)) == _facts(build(config, wording).conversation)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    wrong = {**_halves(), "vlm": _halves()["mask_model"]}
    with pytest.raises(CheckpointError, match="this is no checkpoint for Llava"):
        read_conversation(ModelConfig.model_validate(wrong), None)


@pytest.mark.parametrize("size", [None, 160])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_run_to_start_from_brings_its_wording(tmp_path: Path, drawn: bool, size: int | None) -> None:
    loaded = tiny_loaded()
    about = loaded.about() | {"conversation": ConversationConfig(short="Find {query}.").model_dump(mode="json")}
    if drawn:
        shutil.copytree(base_directory("segtune/tiny"), tmp_path / "base")
        about["model"] = {**about["model"], "base": RUN_BASE}
    save_checkpoint(tmp_path / "checkpoints" / "best", loaded.model, about)
    config = ModelConfig(base=str(tmp_path), img_size=size, seg_hidden=loaded.config.seg_hidden)
    read = read_conversation(config, None)
    assert read.wording.short == "Find {query}."
    if not drawn:  # the weights are not of that base
        assert _facts(read) == _facts(build(config, None).conversation)
