from __future__ import annotations

from functools import cache

import pytest
from tests.factory import NO_DROPOUT, plain_loaded, tiny_loaded
from tests.models.counts import TINY
from torch import nn

from segtune.core.errors import ConfigError
from segtune.engine.loading import NOTHING_TRAINS
from segtune.models.config import TrainSettings
from segtune.models.trainable import (
    COMPONENTS,
    FIXED,
    apply_trainable,
    canonical_name,
    component_of,
    render_table,
    require_trainable_as_declared,
    table,
    table_dict,
    train_mode,
)

ALL_FULL = {part: "full" for part in TrainSettings.model_fields if part not in ("seg_token",)}
WITHOUT_ADAPTERS = TrainSettings(llm="frozen", seg_token=False)


@cache
def _adapted(mask_features: str):
    return tiny_loaded(mask_features).model


def _trained(model: nn.Module) -> set[str]:
    return {component_of(name) for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_the_table_is_a_hand_count(mask_features):
    rows = table(_adapted(mask_features))
    absent = "connector" if mask_features == "encoder" else "mask_encoder"
    assert {row.component: row.total for row in rows} == {k: v for k, v in TINY.items() if k != absent}
    default = {"lora", "seg_token", "seg_projection", "connector", "mask_decoder"}
    for row in rows:
        assert row.trainable == (row.total if row.component in default else 0), row.component
        assert row.frozen == row.total - row.trainable
        assert row.bytes == 4 * row.total


def test_totals_and_text():
    rows = table(_adapted("encoder"))
    document = table_dict(rows)
    whole = sum(n for part, n in TINY.items() if part != "connector")
    assert (document["total"], document["bytes"]) == (whole, 4 * whole)
    assert document["trainable"] + document["frozen"] == whole
    assert document["components"]["lora"]["trainable"] == TINY["lora"]
    text = render_table(rows)
    assert f"{whole:,}" in text
    assert all(row.component in text for row in rows)


@pytest.mark.parametrize(
    ("part", "mask_features"),
    [(p, "encoder") for p in ("vision_tower", "projector", "llm", "embeddings", "seg_projection", "mask_encoder",
                              "prompt_encoder", "mask_decoder")] + [("connector", "shared")],
)  # fmt: skip
def test_each_switch_trains_its_component_and_no_other(part, mask_features):
    settings = NOTHING_TRAINS.model_copy(update={part: "full"})
    model = tiny_loaded(mask_features, settings).model
    assert _trained(model) == {part}
    fixed = model.mask_model.sam.shared_image_embedding.positional_embedding.numel() if part == "prompt_encoder" else 0
    assert {row.component: row.trainable for row in table(model) if row.trainable} == {part: TINY[part] - fixed}


def test_the_switches_of_the_language_model():
    lora = tiny_loaded(train=NOTHING_TRAINS.model_copy(update={"llm": "lora"})).model
    assert _trained(lora) == {"lora"}
    rows = tiny_loaded(train=NOTHING_TRAINS.model_copy(update={"seg_token": True})).model
    assert _trained(rows) == {"seg_token"}
    assert sum(p.numel() for p in rows.parameters() if p.requires_grad) == TINY["seg_token"]
    both = tiny_loaded(train=NOTHING_TRAINS.model_copy(update={"llm": "full", "seg_token": True})).model
    assert _trained(both) == {"llm", "seg_token"}


def test_whole_embeddings_leave_no_separate_seg_rows():
    model = tiny_loaded(train=NOTHING_TRAINS.model_copy(update={"seg_token": True, "embeddings": "full"})).model
    assert _trained(model) == {"embeddings"}


def test_everything_trains_where_everything_is_asked_for():
    model = tiny_loaded(train=TrainSettings.model_validate(ALL_FULL)).model
    assert all(p.requires_grad for name, p in model.named_parameters() if not name.endswith(FIXED))


def test_nothing_trains_where_nothing_is_asked_for():
    assert not any(p.requires_grad for p in tiny_loaded(train=NOTHING_TRAINS).model.parameters())


def test_a_wish_without_a_component_is_refused():
    model = plain_loaded().model
    with pytest.raises(ConfigError, match=r"nothing to train in: lora, seg_token\n"):
        apply_trainable(model, TrainSettings())
    with pytest.raises(ConfigError, match="nothing to train in: mask_decoder"):
        apply_trainable(nn.ModuleDict({"seg_projection": model.seg_projection}), WITHOUT_ADAPTERS)


def test_the_assertion_sees_what_somebody_else_did():
    loaded = tiny_loaded()
    apply_trainable(loaded.model, TrainSettings())
    require_trainable_as_declared(loaded.model, TrainSettings())
    loaded.model.vlm.llava.model.multi_modal_projector.linear_1.weight.requires_grad_(True)
    with pytest.raises(AssertionError, match=r"^trains otherwise than declared: [^,]*linear_1[^,]*weight$"):
        require_trainable_as_declared(loaded.model, TrainSettings())
    with pytest.raises(AssertionError, match=r" and \d+ more$"):
        require_trainable_as_declared(loaded.model, NOTHING_TRAINS)


def test_every_parameter_has_a_component_and_a_stranger_has_none():
    for mask_features in ("encoder", "shared"):
        assert {component_of(name) for name, _ in _adapted(mask_features).named_parameters()} <= set(COMPONENTS)
    with pytest.raises(ConfigError, match="no component"):
        component_of("somewhere.else.weight")


@pytest.mark.parametrize("settings", [TrainSettings(), NOTHING_TRAINS.model_copy(update={"seg_token": True})])
def test_canonical_names_are_those_of_a_model_without_adapters(settings):
    plain = {canonical_name(name) for name, _ in tiny_loaded(train=NOTHING_TRAINS).model.named_parameters()}
    adapted = {
        canonical_name(name)
        for name, _ in tiny_loaded(train=settings).model.named_parameters()
        if component_of(name) not in ("lora", "seg_token")
    }
    assert adapted == plain
    assert "vlm.lm_head.weight" in plain


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_frozen_parts_stay_in_evaluation_mode(mask_features):
    dropout = NO_DROPOUT.model_copy(update={"dropout": 0.5})
    model = tiny_loaded(mask_features, lora=dropout).model
    train_mode(model)
    assert model.training
    for name, module in model.named_modules():
        parameters = list(module.parameters())
        if parameters:
            assert module.training == any(p.requires_grad for p in parameters), name
        elif ".lora_dropout." in name:
            assert module.training, name
    frozen = [model.vlm.llava.model.vision_tower, model.mask_model.sam.prompt_encoder]
    assert not any(module.training for part in frozen for module in part.modules())


def test_the_frequencies_of_positions_never_train():
    """They are random by design; Segment Anything holds them as a buffer, transformers as a parameter."""
    model = plain_loaded().model
    settings = TrainSettings.model_validate(ALL_FULL)
    apply_trainable(model, settings)
    require_trainable_as_declared(model, settings)
    still = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert still == ["mask_model.sam.shared_image_embedding.positional_embedding"]
    row = next(row for row in table(model) if row.component == "prompt_encoder")
    assert row.frozen == model.mask_model.sam.shared_image_embedding.positional_embedding.numel()
