"""A base that was exported is what the run was: its dtype, its precision, the length of its answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.factory import tiny_base, tiny_loaded

from segtune.core.errors import CheckpointError
from segtune.core.files import read_json, write_json
from segtune.engine.loading import build, export_base, load
from segtune.models.config import ModelConfig


def test_an_exported_base_keeps_dtype_precision_and_the_length_of_answers(tmp_path: Path) -> None:
    loaded = build(ModelConfig(base=str(tiny_base()), dtype="bfloat16"), None)
    loaded.max_new_tokens = 7
    loaded.score_in("bf16")
    export_base(loaded, tmp_path / "base")
    again = load(str(tmp_path / "base"))
    assert (again.config.dtype, again.precision, again.max_new_tokens) == ("bfloat16", "bf16", 7)
    assert again.model.autocast_dtype == torch.bfloat16
    assert again.model.vlm.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("key", "value"),
    [("dtype", "int3"), ("precision", "fp7"), ("precision", ["fp32"]), ("max_new_tokens", "many"), ("seg_hidden", {})],
)
def test_a_base_with_settings_that_cannot_be_is_refused(tmp_path: Path, key: str, value: object) -> None:
    export_base(tiny_loaded(), tmp_path / "base")
    about = tmp_path / "base" / "segtune.json"
    write_json(about, {**read_json(about), key: value})
    with pytest.raises(CheckpointError, match="this base is damaged") as caught:
        load(str(tmp_path / "base"))
    assert str(about) in str(caught.value.where)
    assert key in str(caught.value)
