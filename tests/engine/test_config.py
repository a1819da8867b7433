from __future__ import annotations

import pytest

from segtune.config import ExperimentConfig
from segtune.core.config import validate
from segtune.core.errors import ConfigError

DATA = {"train": "masks:a@train", "val": "masks:a@val"}


def _config(data=DATA, **sections) -> ExperimentConfig:
    return validate(ExperimentConfig, {"data": data, "model": {"base": "segtune/tiny"}, **sections}, "here")


def _refusal(**sections) -> str:
    with pytest.raises(ConfigError) as caught:
        _config(**sections)
    return str(caught.value)


def test_a_plateau_watches_what_decides_the_best_or_what_it_is_told():
    _config(optim={"schedule": "plateau"})
    for key in ("val_gIoU", "val_loss", "loss", "val_generate_gIoU"):
        _config(optim={"schedule": "plateau", "plateau_metric": key})


@pytest.mark.parametrize("section", ["plateau", "early_stopping"])
def test_a_metric_that_never_comes_is_refused_with_its_key(section):
    def refusal(key, data=DATA, **train):
        if section == "plateau":
            return _refusal(data=data, train=train, optim={"schedule": "plateau", "plateau_metric": key})
        return _refusal(data=data, train={**train, "early_stopping": {"metric": key}})

    setting = {"plateau": "optim.plateau_metric", "early_stopping": "train.early_stopping.metric"}[section]
    unknown = refusal("val_gIuO")
    assert setting in unknown
    assert "'val_gIuO'; did you mean val_gIoU?" in unknown
    assert "data.val is null; did you mean gIoU?" in refusal("val_gIoU", {**DATA, "val": None})
    assert f"{setting}=val_cIoU" in refusal("val_cIoU", validate_every=10)
    assert "validate_generate=true" in refusal("val_generate_gIoU", validate_generate=False)
    assert f"{setting}=val_cIoU needs validation data" in refusal(None, {**DATA, "val": None})


def test_what_is_not_watched_is_not_refused():
    _config(data={**DATA, "val": None}, optim={"plateau_metric": "val_gIoU"})
    _config(data={**DATA, "val": None}, optim={"schedule": "plateau", "plateau_metric": "gIoU"})


def test_null_is_no_early_stopping_and_an_empty_section_is_the_default():
    assert _config().train.early_stopping is None
    assert _config(train={"early_stopping": {}}).train.early_stopping.patience == 10


def test_a_least_rate_above_the_rate_is_refused():
    assert "min_rate=0.1 is above lr=0.01" in _refusal(optim={"lr": 0.01, "min_rate": 0.1})


@pytest.mark.parametrize("value", [0, -1, True, "some"])
def test_a_number_of_layers_is_at_least_one(value):
    assert "train.gradient_checkpointing" in _refusal(train={"gradient_checkpointing": value})
    assert "train.keep" in _refusal(train={"keep": value})


def test_what_is_best_has_a_direction():
    train = _config(train={"best": "val_loss", "best_goal": "max"}).train
    assert [train.highest_is_best(key) for key in ("val_loss", "loss", "val_gIoU")] == [True, False, True]


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"train": {"mask_encoder": "full"}}, "model.train.mask_encoder=full and model.mask_features=shared"),
        ({"train": {"mask_encoder": "lora"}}, "or model.train.mask_encoder=frozen"),
        ({"quantize": {"mask_encoder": "4bit"}}, "or model.quantize.mask_encoder=none"),
    ],
)
def test_a_wish_for_the_mask_encoder_contradicts_shared_features(model, named):
    base = {"base": "segtune/tiny"}
    refusal = _refusal(model={**base, "mask_features": "shared", **model})
    assert named in refusal
    assert "set model.mask_features=encoder" in refusal
    _config(model={**base, **model})


FROZEN = dict.fromkeys(
    (
        "vision_tower",
        "projector",
        "llm",
        "embeddings",
        "seg_projection",
        "mask_encoder",
        "prompt_encoder",
        "mask_decoder",
    ),
    "frozen",
)


@pytest.mark.parametrize("features", ["encoder", "shared"])
def test_a_recipe_in_which_nothing_trains_is_refused(features):
    def model(**train):
        return {"base": "segtune/tiny", "mask_features": features, "train": {**FROZEN, **train}}

    # the connector is there with shared features alone
    idle = {"connector": "full" if features == "encoder" else "frozen"}
    assert "nothing would train" in _refusal(model=model(seg_token=False, **idle))
    _config(model=model(seg_token=True, **idle))
    _config(model=model(seg_token=False, **{**idle, "mask_decoder": "full"}))


def test_losses_without_any_weight_are_refused():
    none = {"ce": 0, "bce": 0, "dice": 0}
    assert "every weight in losses is 0" in _refusal(losses=none)
    _config(losses={**none, "focal": 1})
