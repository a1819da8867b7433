"""Frozen parts in 16 bits, and scores in the precision of training."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from tests.factory import batch_of, groups, tiny_loaded

from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.inference import MODES, answer_batch
from segtune.engine.loading import export_base, load
from segtune.models.config import TrainSettings

FROZEN = TrainSettings(mask_decoder="frozen")


def _dtypes(part: torch.nn.Module) -> set[torch.dtype]:
    return {parameter.dtype for parameter in part.parameters()}


@pytest.mark.parametrize(
    ("train", "encoder", "decoder"),
    [
        (TrainSettings(), torch.bfloat16, torch.float32),
        (FROZEN, torch.bfloat16, torch.bfloat16),
        (TrainSettings(mask_encoder="full"), torch.float32, torch.float32),
    ],
)
def test_frozen_parts_of_the_mask_model_have_the_dtype_of_frozen_weights(train, encoder, decoder):
    loaded = tiny_loaded(train=train, dtype="bfloat16")
    sam = loaded.model.mask_model.sam
    assert _dtypes(sam.vision_encoder) == {encoder}
    assert _dtypes(sam.mask_decoder) == {decoder}
    loaded.score_in("bf16")
    for mode in MODES:
        answers = answer_batch(loaded.model, batch_of(loaded, groups(2)), loaded.conversation, mode, max_new_tokens=4)
        assert len(answers) == 4


def test_adapters_of_a_narrow_mask_model_have_32_bits():
    train = TrainSettings(mask_encoder="lora", mask_decoder="lora")
    sam = tiny_loaded(train=train, dtype="bfloat16").model.mask_model.sam
    for part in (sam.vision_encoder, sam.mask_decoder):
        kinds = {"lora_" in name: parameter.dtype for name, parameter in part.named_parameters()}
        assert kinds == {True: torch.float32, False: torch.bfloat16}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_is_scored_in_the_precision_of_its_training(precision, tmp_path):
    """The logits are those of the same autocast, to the bit, after saving and loading."""
    loaded = tiny_loaded()
    loaded.score_in(precision)
    batch = batch_of(loaded, groups(2))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        expected = loaded.model(batch).masks.logits
    save_checkpoint(tmp_path / "checkpoint", loaded.model, {**loaded.about(), "epoch": 1, "step": 1, "metrics": {}})
    again = load(str(tmp_path / "checkpoint"))
    assert again.precision == precision
    with torch.no_grad(), again.model.scoring_autocast():
        assert torch.equal(again.model(batch).masks.logits, expected)
    with torch.no_grad():
        same = torch.equal(again.model(batch).masks.logits, expected)
    assert same == (precision == "fp32")


def test_fp16_is_scored_in_float32_on_a_cpu():
    loaded = tiny_loaded()
    loaded.score_in("fp16")
    with loaded.model.scoring_autocast():
        assert not torch.is_autocast_enabled("cpu")


def test_an_exported_base_has_whole_weights(tmp_path):
    loaded = tiny_loaded(dtype="bfloat16")
    export_base(loaded, tmp_path / "base")
    weights = load_file(tmp_path / "base" / "mask_model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
