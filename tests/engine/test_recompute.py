from __future__ import annotations

import pytest
import torch
import transformers.modeling_layers
from tests.factory import LAYERS, batch_of, groups, tiny_loaded

from segtune.core.errors import ConfigError
from segtune.engine.loading import Loaded
from segtune.engine.recompute import enter_training, language_layers, recompute_layers
from segtune.losses.config import LossConfig
from segtune.losses.objective import weighted_total
from segtune.losses.terms import ReasoningObjective
from segtune.models.config import LoraSettings, TrainSettings

EVERYTHING = TrainSettings.model_validate({part: "full" for part in TrainSettings.model_fields if part != "seg_token"})
ROWS_ALONE = TrainSettings(llm="frozen")


def _gradients(loaded: Loaded, which) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of one step, and how often a language layer ran."""
    recompute_layers(loaded.model, which)
    enter_training(loaded.model)
    runs = 0

    def ran(*_) -> None:
        nonlocal runs
        runs += 1

    # what stands inside a layer runs again where the layer is recomputed; a hook on the layer itself does not
    hooks = [layer.self_attn.o_proj.register_forward_hook(ran) for layer in language_layers(loaded.model)]
    batch, objective = batch_of(loaded, groups(2)), ReasoningObjective(LossConfig(), loaded.model.seg_id)
    torch.manual_seed(7)
    sums = objective.sums(loaded.model(batch), batch)
    weighted_total(sums, objective.weights, objective.counts(batch)).backward()
    for hook in hooks:
        hook.remove()
    return {name: p.grad for name, p in loaded.model.named_parameters() if p.grad is not None}, runs


@pytest.mark.parametrize("train", [TrainSettings(), EVERYTHING, ROWS_ALONE], ids=["lora", "everything", "rows"])
def test_gradients_are_those_without_it(train):
    """Dropout too: it draws the same a second time."""
    settings = {"train": train, "lora": LoraSettings(dropout=0.3)}
    plain, runs = _gradients(tiny_loaded(**settings), "none")
    assert runs == LAYERS
    assert plain
    for which, again in (("all", LAYERS), (1, 1), (LAYERS, LAYERS)):
        gradients, runs = _gradients(tiny_loaded(**settings), which)
        assert runs == LAYERS + again, which
        assert gradients.keys() == plain.keys()
        assert all(torch.equal(gradients[name], plain[name]) for name in plain), which


def test_only_the_first_layers_are_wrapped():
    model = tiny_loaded().model
    recompute_layers(model, 1)
    kind = transformers.modeling_layers.GradientCheckpointingLayer
    on = [layer for layer in model.modules() if isinstance(layer, kind) and layer.gradient_checkpointing]
    assert on == language_layers(model)[:1]
    assert len(language_layers(model)) == LAYERS
    recompute_layers(model, "all")
    assert all(layer.gradient_checkpointing for layer in model.modules() if isinstance(layer, kind))
    recompute_layers(model, "none")
    assert not any(layer.gradient_checkpointing for layer in model.modules() if isinstance(layer, kind))


def test_evaluation_recomputes_nothing_and_frozen_layers_drop_nothing():
    model = tiny_loaded(train=ROWS_ALONE).model
    recompute_layers(model, "all")
    enter_training(model)
    for layer in language_layers(model):
        assert layer.training
        assert not any(part.training for part in layer.children())
    model.eval()
    assert not any(layer.training for layer in language_layers(model))


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="more layers") as caught:
        recompute_layers(tiny_loaded().model, LAYERS + 1)
    assert f"1 to {LAYERS}" in caught.value.expected
