"""What only the whole configuration can know; its parts are tested beside them."""

from __future__ import annotations

import json
import re

import pytest

from segtune.config import DenseExperimentConfig, ExperimentConfig, load_recipe, recipe_schema
from segtune.core.errors import ConfigError


@pytest.mark.parametrize("best", ["focal", "val_boundary"])
def test_a_best_checkpoint_by_a_loss_that_is_not_computed_is_refused(best: str) -> None:
    term = best.removeprefix("val_")
    with pytest.raises(ConfigError) as refused:
        load_recipe("quickstart", [f"train.best={best}"])
    assert f"train.best={best} needs losses.{term} above 0" in str(refused.value)
    config = load_recipe("quickstart", [f"train.best={best}", f"losses.{term}=0.5"])
    assert not config.train.best_is_highest


@pytest.mark.parametrize("best", ["val_P@0.5", "val_generalized_iou", "complete_iou"])
def test_new_metrics_are_best_when_high(best: str) -> None:
    assert load_recipe("quickstart", [f"train.best={best}"]).train.best_is_highest


def test_losses_are_refused_each_with_its_key() -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("quickstart", ["losses.focal=-1", "losses.tverski=1", "losses.space=lowres"])
    for text in ("losses.focal: ", "did you mean losses.tversky?", "losses.space: "):
        assert text in str(refused.value)
    with pytest.raises(ConfigError, match="losses: tversky_alpha and tversky_beta are both 0"):
        load_recipe("quickstart", ["losses.tversky_alpha=0", "losses.tversky_beta=0"])


def test_mask_losses_may_all_be_off() -> None:
    settings = [f"losses.{term}=0" for term in ("bce", "dice", "focal", "iou", "tversky", "boundary")]
    assert load_recipe("quickstart", settings).losses.terms == ("ce", "bce", "dice")


def _resolved(schema: dict, part: dict) -> dict:
    return schema["$defs"][part["$ref"].rpartition("/")[2]]


def test_the_schema_of_a_recipe_is_that_of_its_task() -> None:
    """Without a task a recipe is one of reasoning, as `validate_run` has it: its schema must not be both."""
    schema = recipe_schema()
    assert schema["if"] == {"properties": {"task": {"const": "dense"}}, "required": ["task"]}
    for branch, kind in (("then", DenseExperimentConfig), ("else", ExperimentConfig)):
        part = _resolved(schema, schema[branch])
        task = kind.model_fields["task"].default
        assert part["properties"].keys() == kind.model_fields.keys()
        assert part["properties"]["task"]["const"] == task
        assert "data" in part["required"]
        assert "task" not in part["required"]  # so that `oneOf` could not tell them apart
        assert part["additionalProperties"] is False
        alone = recipe_schema(task)
        assert alone["properties"] == part["properties"]
        assert alone["$defs"].keys() <= schema["$defs"].keys()
        references = re.findall(r'"#/\$defs/(\w+)"', json.dumps([schema, alone]))
        assert set(references) <= schema["$defs"].keys()


def test_a_dense_recipe_is_validated_as_one() -> None:
    config = load_recipe("shapes", ["model.unfreeze=2"])
    assert isinstance(config, DenseExperimentConfig)
    assert (config.train.best, config.train.best_is_highest) == ("val_mIoU", True)
    assert not load_recipe("shapes", ["train.best=val_ce"]).train.best_is_highest
    with pytest.raises(ConfigError, match=r"expected: reasoning or dense(.|\n)*found: panoptic"):
        load_recipe("shapes", ["task=panoptic"])
    with pytest.raises(ConfigError, match=r"model\.encoder: no such key"):
        load_recipe("shapes", ["task=reasoning"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.best=val_foreground_dice"], "train.best=val_foreground_dice never comes"),
        (["model.multiclass=false", "model.binary_classes=[disc]"], "train.best=val_mIoU never comes"),
        (["train.best=val_focal"], "train.best=val_focal never comes"),
        (["optim.schedule=plateau", "optim.plateau_metric=val_binary_bce"], "optim.plateau_metric=val_binary_bce"),
        (["train.early_stopping={metric: val_mIoU}", "data.val=null"], "needs validation data"),
        (["losses.ce=0", "losses.dice=0"], "learn"),
        (["train.stages=[{train: {llm: frozen}}]"], "is for reasoning models"),
    ],
)
def test_what_a_dense_run_can_never_have_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("shapes", settings)
    assert words in str(refused.value)
