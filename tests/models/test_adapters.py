from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from peft.tuners.lora import LoraLayer
from tests.factory import LAYERS, LLAVA, NO_DROPOUT, ROWS, SAM, batch_of, groups, plain_loaded, tiny_loaded
from tests.models.counts import TINY
from torch import nn
from transformers import LlavaForConditionalGeneration

from segtune.core.errors import CheckpointError, ConfigError
from segtune.engine.config import OptimConfig
from segtune.engine.loading import NOTHING_TRAINS, folded
from segtune.engine.optim import build_optimizer
from segtune.engine.step import train_step
from segtune.losses.config import LossConfig
from segtune.losses.terms import ReasoningObjective
from segtune.models.adapters import _before_the_features, adapter_state, load_adapter_state, merge_adapters
from segtune.models.config import LoraSettings, TrainSettings
from segtune.models.trainable import component_of, train_mode

EVERY_TARGET = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _step(loaded) -> None:
    """One optimiser step."""
    train_mode(loaded.model)
    optimizer = build_optimizer(loaded.model, OptimConfig(lr=1e-2))
    report = train_step(
        loaded.model, [batch_of(loaded, groups(2))], optimizer, rate=1e-2, clip=1.0,
        objective=ReasoningObjective(LossConfig(), loaded.model.seg_id), accelerator=Accelerator(cpu=True),
        observe=lambda *_: None,
    )  # fmt: skip
    assert not report.skipped
    loaded.model.eval()


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), EVERY_TARGET])
def test_adapters_stand_in_the_language_model_and_nowhere_else(targets):
    model = tiny_loaded(lora=LoraSettings(targets=targets, dropout=0.0)).model
    adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert len(adapted) == LAYERS * len(targets)
    assert all(".model.language_model.layers." in name for name in adapted)
    for part in (model.vlm.llava.model.vision_tower, model.mask_model):
        projections = [m for name, m in part.named_modules() if name.endswith(("q_proj", "v_proj"))]
        assert projections
        assert all(type(module) is nn.Linear for module in projections)


def test_all_targets_by_one_word():
    named, short = (tiny_loaded(lora=LoraSettings(targets=t, dropout=0.0)).model for t in (EVERY_TARGET, "all"))
    assert [n for n, _ in named.named_parameters()] == [n for n, _ in short.named_parameters()]


def test_one_target_needs_no_brackets():
    assert LoraSettings.model_validate({"targets": "q_proj"}).targets == ("q_proj",)


SEEN = (
    LLAVA.vision_config.num_hidden_layers + 1 + LLAVA.vision_feature_layer
)  # layers of the tower whose output is used
TOWERS = (2 * SEEN, SAM.vision_config.num_hidden_layers)
ENCODERS = {"vision_tower": "lora", "mask_encoder": "lora"}
ENDS = {"projector": "lora", "mask_decoder": "lora"}


@pytest.mark.parametrize(
    ("parts", "places", "counts", "components"),
    [
        (ENCODERS, ("vision_tower.", "sam.vision_encoder."), TOWERS, {"vision_lora", "mask_lora"}),
        # two layers; queries and values of three attentions in each of two blocks and of one at the end
        (ENDS, ("multi_modal_projector.", "sam.mask_decoder."), (2, 14), {"projector_lora", "decoder_lora"}),
    ],
)
def test_adapters_stand_in_what_was_declared_alone(parts, places, counts, components):
    train = NOTHING_TRAINS.model_copy(update=parts)
    loaded = tiny_loaded(train=train, lora=LoraSettings(vision_targets=("q_proj", "fc1"), dropout=0.0))
    adapted = [name for name, module in loaded.model.named_modules() if isinstance(module, LoraLayer)]
    assert tuple(sum(part in name for name in adapted) for part in places) == counts
    assert len(adapted) == sum(counts)
    _step(loaded)
    moved = {component_of(n) for n, p in loaded.model.named_parameters() if "lora_B" in n and bool(p.detach().any())}
    assert moved == components == {component_of(n) for n, p in loaded.model.named_parameters() if p.requires_grad}
    batch = batch_of(loaded, groups(2))
    with torch.no_grad():
        before = loaded.model(batch)
        loaded.model.vlm.vlm, sam = folded(loaded)
        after = loaded.model(batch)
    assert sam is loaded.model.mask_model.sam
    assert not any("lora_" in name for name, _ in loaded.model.named_parameters())
    torch.testing.assert_close(after.masks.logits, before.masks.logits, rtol=1e-4, atol=1e-3)


def test_rank_stabilised_adapters_are_scaled_by_the_root_of_the_rank():
    for stabilised, scale in ((False, 16.0 / 4), (True, 16.0 / 2)):
        settings = LoraSettings(r=4, alpha=16.0, rank_stabilised=stabilised)
        layers = [m for m in tiny_loaded(lora=settings).model.modules() if isinstance(m, LoraLayer)]
        assert {layer.scaling["default"] for layer in layers} == {scale}


@pytest.mark.parametrize(
    ("part", "key", "known"),
    [
        ("vision_tower", "vision_targets", "fc1"),
        ("projector", "projector_targets", "linear_1"),
        ("mask_encoder", "mask_targets", "qkv"),
        ("mask_decoder", "decoder_targets", "q_proj"),
    ],
)
def test_targets_that_a_part_lacks_are_refused(part, key, known):
    with pytest.raises(ConfigError, match="gate_proj") as caught:
        tiny_loaded(train=TrainSettings(**{part: "lora"}), lora=LoraSettings(**{key: ("gate_proj",)}))
    assert caught.value.where == f"model.lora.{key}"
    assert known in caught.value.expected


@pytest.mark.parametrize("targets", [("q_prj",), ("q_proj", "fc1"), ("out_proj",), ("qkv",), ("lm_head",)])
def test_targets_that_are_no_projections_of_the_language_model_are_refused(targets):
    with pytest.raises(ConfigError, match=targets[-1]) as caught:
        tiny_loaded(lora=LoraSettings(targets=targets))
    assert "q_proj" in caught.value.expected
    assert "fc1" not in caught.value.expected


def test_without_a_wish_there_is_no_adapter():
    llava = plain_loaded().model.vlm
    assert llava.vlm is llava.llava
    assert adapter_state(llava.vlm) == {}


@pytest.mark.parametrize("llm", ["lora", "frozen"])
def test_only_the_seg_rows_of_embedding_and_head_train(llm):
    settings = NOTHING_TRAINS.model_copy(update={"llm": llm, "seg_token": True})
    before = plain_loaded().model.vlm.llava
    loaded = tiny_loaded(train=settings)
    _step(loaded)
    seg_id = loaded.model.seg_id
    after = merge_adapters(loaded.model.vlm.vlm)
    pairs = {
        "embedding": (before.get_input_embeddings().weight, after.get_input_embeddings().weight),
        "head": (before.lm_head.weight, after.lm_head.weight),
    }
    others = torch.arange(ROWS) != seg_id
    for name, (old, new) in pairs.items():
        assert torch.equal(old[others], new[others]), name
        assert float((old[seg_id] - new[seg_id]).abs().max().detach()) > 1e-4, name
    for name, module in before.model.vision_tower.named_parameters():
        assert torch.equal(module, after.model.vision_tower.get_parameter(name)), name


def test_the_seg_row_of_the_head_moves_towards_saying_seg():
    loaded = tiny_loaded(train=NOTHING_TRAINS.model_copy(update={"seg_token": True}))
    batch = batch_of(loaded, groups(2), "<SEG>.")
    first = torch.zeros(len(batch.labels), dtype=torch.long).scatter_(0, torch.arange(4), batch.prompt_lengths)

    def chance() -> float:
        with torch.no_grad():
            logits = loaded.model(batch).answer_logits.log_softmax(-1)
        steps = len(loaded.conversation.answer("<SEG>."))
        return float(logits[::steps, loaded.model.seg_id].mean())

    assert bool((batch.labels.gather(1, first[:, None]) == loaded.model.seg_id).all())
    before = chance()
    for _ in range(3):
        _step(loaded)
    assert chance() > before


EVERYWHERE = dict.fromkeys(("vision_tower", "projector", "llm", "mask_encoder", "mask_decoder"), "lora")
ALL = {f"{part}targets": "all" for part in ("", "vision_", "projector_", "mask_", "decoder_")}


@pytest.mark.parametrize("layer", [-1, -2, -3, 1, [-3, -2]])
def test_every_adapter_learns_whatever_layer_of_the_tower_is_read(layer, monkeypatch):
    """In the first step an adapter's B moves where a gradient reaches it, and nowhere else."""
    read = LlavaForConditionalGeneration.from_pretrained.__func__

    def read_with_layer(cls, *arguments, **settings):
        settings["config"].vision_feature_layer = layer
        return read(cls, *arguments, **settings)

    if not isinstance(layer, list):  # of several layers the features are wider, which only the projector minds
        monkeypatch.setattr(LlavaForConditionalGeneration, "from_pretrained", classmethod(read_with_layer))
        train = TrainSettings.model_validate(EVERYWHERE)
        loaded = tiny_loaded(train=train, lora=LoraSettings(dropout=0.0, **ALL))
        assert loaded.model.vlm.llava.config.vision_feature_layer == layer
        _step(loaded)
        still = [n for n, p in loaded.model.named_parameters() if "lora_B" in n and not bool(p.detach().any())]
        assert still == []
    layers = [layer] if isinstance(layer, int) else layer
    count = LLAVA.vision_config.num_hidden_layers
    config = SimpleNamespace(vision_feature_layer=layer, vision_config=LLAVA.vision_config)
    names = [f"vision_tower.encoder.layers.{number}.q_proj" for number in range(count)] + ["vision_tower.head.q_proj"]
    kept = _before_the_features(SimpleNamespace(config=config), names)  # type: ignore[arg-type]
    assert kept == names[: max(number if number >= 0 else count + 1 + number for number in layers)]


def test_folding_adapters_in_changes_no_answer():
    loaded = tiny_loaded(lora=LoraSettings(targets=EVERY_TARGET, dropout=0.0))
    _step(loaded)
    batch = batch_of(loaded, groups(2))
    with torch.no_grad():
        before = loaded.model(batch)
        loaded.model.vlm.vlm = merge_adapters(loaded.model.vlm.vlm)
        after = loaded.model(batch)
    assert not any("lora_" in name or "token_adapter" in name for name, _ in loaded.model.named_parameters())
    torch.testing.assert_close(after.answer_logits, before.answer_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.masks.logits, before.masks.logits, rtol=1e-4, atol=1e-3)


def test_adapters_are_put_back_as_they_were():
    loaded, fresh = tiny_loaded(), tiny_loaded(seed=5)
    _step(loaded)
    state = adapter_state(loaded.model.vlm.vlm)
    assert sum(value.numel() for value in state.values()) == TINY["lora"] + TINY["seg_token"], (
        "no embedding matrix among them"
    )
    load_adapter_state(fresh.model.vlm.vlm, state, "here")
    again = adapter_state(fresh.model.vlm.vlm)
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


def test_other_adapters_are_refused_by_name():
    state = adapter_state(tiny_loaded().model.vlm.vlm)
    name = next(name for name in state if "lora_A" in name)
    target = tiny_loaded()
    before = {n: p.detach().clone() for n, p in target.model.named_parameters()}
    wrong = {
        "missing": {k: v for k, v in state.items() if k != name},
        "unexpected": {**state, f"{name}.more": torch.zeros(1)},
        "shape": {**state, name: torch.zeros(3, 3)},
    }
    for word, changed in wrong.items():
        with pytest.raises(CheckpointError, match=word) as caught:
            load_adapter_state(target.model.vlm.vlm, changed, "adapter.safetensors")
        assert name in caught.value.found
        assert caught.value.where == "adapter.safetensors"
    assert all(torch.equal(before[n], p) for n, p in target.model.named_parameters())


def test_another_rank_is_refused():
    state = adapter_state(tiny_loaded(lora=NO_DROPOUT.model_copy(update={"r": 4})).model.vlm.vlm)
    with pytest.raises(CheckpointError, match="shape"):
        load_adapter_state(tiny_loaded().model.vlm.vlm, state, "here")
