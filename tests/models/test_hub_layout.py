"""Both halves by path, in the hub's own layout: loaded, trained a step, saved, loaded again and asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tests.factory import TEXTS, batch_of, groups
from tests.models.hub_layout import PADDED, SIDE, write_llava, write_sam

from segtune.core.input_spec import SEG_TOKEN
from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.config import OptimConfig
from segtune.engine.loading import Loaded, build, load
from segtune.engine.optim import build_optimizer
from segtune.engine.predictor import Predictor
from segtune.engine.step import train_step
from segtune.losses.config import LossConfig
from segtune.losses.terms import ReasoningObjective
from segtune.models.config import ModelConfig
from segtune.models.trainable import train_mode

PATCHES = (SIDE // 14) ** 2


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Both checkpoints, and the weights of the first."""
    directory = tmp_path_factory.mktemp("hub")
    state = write_llava(directory / "llava-1.5-7b-hf", TEXTS * 3)
    write_sam(directory / "sam-vit-base")
    return directory, state


def _config(directory: Path, **changes) -> ModelConfig:
    parts = {"vlm": str(directory / "llava-1.5-7b-hf"), "mask_model": str(directory / "sam-vit-base")}
    return ModelConfig.model_validate({**parts, "lora": {"dropout": 0.0}, **changes})


def _built(directory: Path, **changes) -> Loaded:
    torch.manual_seed(0)
    loaded = build(_config(directory, **changes), None)
    loaded.model.eval()
    return loaded


def test_old_weight_names_arrive_whole(hub):
    directory, state = hub
    loaded = _built(directory, train={"llm": "frozen", "seg_token": False})
    own = loaded.model.vlm.llava.state_dict()
    assert own.keys() == state.keys()
    seg_id = loaded.model.seg_id
    for name, value in state.items():
        here = own[name]
        assert here.dtype == torch.float32, "half precision is not inherited from the file"
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            assert here.shape[0] == PADDED, "padded rows are neither cut off nor added to"
            rest = torch.arange(PADDED) != seg_id
            assert torch.equal(here[rest], value[rest].float()), name
        else:
            assert torch.equal(here, value.float()), name


@pytest.mark.parametrize("shared_twice", [True, False])
def test_shared_positional_frequencies_may_be_stored_once_or_twice(hub, tmp_path, shared_twice):
    write_sam(tmp_path / "sam", shared_twice=shared_twice)
    sam = _built(hub[0], mask_model=str(tmp_path / "sam")).model.mask_model.sam
    expected = _built(hub[0]).model.mask_model.sam.shared_image_embedding.positional_embedding
    assert torch.equal(sam.shared_image_embedding.positional_embedding, expected)
    assert torch.equal(sam.prompt_encoder.shared_embedding.positional_embedding, expected)


def test_tokens_and_prompt_are_those_of_the_hub_model(hub):
    loaded = _built(hub[0])
    tokenizer, model = loaded.conversation.tokenizer, loaded.model
    config = model.vlm.llava.config
    assert tokenizer.convert_tokens_to_ids("<image>") == config.image_token_id
    assert tokenizer.pad_token_id == config.image_token_id + 1
    assert model.seg_id == tokenizer.convert_tokens_to_ids(SEG_TOKEN) == config.image_token_id + 2
    assert (tokenizer.bos_token_id, model.eos_id) == (1, 2)
    batch = batch_of(loaded, groups(2))
    for row, ids in enumerate(batch.input_ids.tolist()):
        assert ids[0] == 1
        assert ids.count(1) == 1
        assert ids.count(config.image_token_id) == PATCHES
        answer = [label for label in batch.labels[row].tolist() if label >= 0]
        assert (answer.count(model.seg_id), answer[-1]) == (1, 2)
    spec = loaded.parts.input_spec
    assert (spec.num_image_tokens, spec.vlm.size, spec.mask.size) == (PATCHES, SIDE, 128)
    length = int(batch.prompt_lengths[0])
    text = tokenizer.decode(batch.input_ids[0, :length])
    assert text.replace(" ", "").startswith("<s>USER:<image>")
    assert text.endswith("Please output segmentation mask. ASSISTANT:")


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_a_step_a_checkpoint_and_a_prediction(hub, tmp_path, mask_features):
    loaded = _built(hub[0], mask_features=mask_features)
    start = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    train_mode(loaded.model)
    report = train_step(
        loaded.model, [batch_of(loaded, groups(2))], build_optimizer(loaded.model, OptimConfig()), rate=1e-2, clip=1.0,
        objective=ReasoningObjective(LossConfig(), loaded.model.seg_id), accelerator=Accelerator(cpu=True),
        observe=lambda *_: None,
    )  # fmt: skip
    assert not report.skipped
    loaded.model.eval()
    moved = {name for name, p in loaded.model.named_parameters() if not torch.equal(start[name], p)}
    assert {name for name, p in loaded.model.named_parameters() if p.requires_grad} >= moved
    assert any("lora_B" in name for name in moved)
    assert any("lm_head" in name for name in moved)

    about = {
        "model": loaded.config.model_dump(mode="json"), "base": loaded.config.vlm, "fingerprint": loaded.fingerprint,
        "conversation": loaded.conversation.wording.model_dump(mode="json"),
    }  # fmt: skip
    save_checkpoint(tmp_path / "run" / "checkpoints" / "best", loaded.model, about)
    again = load(str(tmp_path / "run"))
    again.model.eval()
    for (name, before), after in zip(loaded.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(before, after), name
    image = groups(1)[0].image
    first, second = (
        Predictor(x.model, x.conversation, x.transform, max_new_tokens=4).predict(image, "the red box")
        for x in (loaded, again)
    )
    assert first.text == second.text
    np.testing.assert_array_equal(first.masks, second.masks)
    assert second.mask.shape == image.shape[:2]
