"""The whole configuration of a run: one model that recipes fill in and overrides change.

This is the composition of the configs that stand beside what they build; it imports no torch, so a wrong recipe is
refused in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.json_schema import models_json_schema

from segtune.core.config import Config, validate
from segtune.core.errors import ConfigError
from segtune.core.input_spec import ConversationConfig
from segtune.core.paths import expanded
from segtune.core.recipe_files import read_recipe, recipe_name
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.engine.config import (
    BINARY_METRICS,
    CLASS_METRICS,
    DenseTrainConfig,
    EvalConfig,
    OptimConfig,
    TrainConfig,
    require_watched,
    share_of_step,
    watched,
)
from segtune.engine.dense_config import DenseEvalConfig
from segtune.engine.stages import plan
from segtune.losses.config import OPTIONAL_TERMS, DenseLossConfig, LossConfig, require_weight
from segtune.models.config import ModelConfig, require_effect
from segtune.models.dense.config import DenseModelConfig


class RunConfig(Config):
    """Where a run lives and what makes it repeatable."""

    name: str | None = Field(None, description="default RECIPE-YYYYmmdd-HHMMSS")
    root: str = Field("runs", description="directory that holds the runs")
    seed: int = Field(0, ge=0, description="of everything that is drawn")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; default its own choice")
    ddp_timeout: int = Field(
        600, ge=5, description="several processes: one without a sign of life for so many seconds is given up"
    )
    num_processes: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        1, description="processes on this machine that share the images of a step; auto: one for each GPU or CPU core"
    )
    export: str | None = Field(None, description="directory to which the best model is written as a base, merged")

    @field_validator("root", "export")
    @classmethod
    def _at_home(cls, value: str | None) -> str | None:
        """`~` is the home directory here too: a shell leaves it as it is behind `run.root=`."""
        if value is None or not value.startswith("~"):
            return value
        try:
            return str(expanded(value))
        except ConfigError as error:
            raise ValueError(f"{error.message}: {value}") from error


def _require_shares(run: RunConfig, train: TrainConfig) -> None:
    """Refuses a number of processes among which the images of a step cannot be divided."""
    if run.num_processes != "auto" and share_of_step(train, run.num_processes) is None:
        raise ValueError(
            f"run.num_processes={run.num_processes} divides neither train.accumulate={train.accumulate} nor "
            f"train.batch_size={train.batch_size}: every process takes an equal share of the images of a step"
        )


class ExperimentConfig(Config):
    """A run of reasoning segmentation, described completely."""

    task: Literal["reasoning"] = Field("reasoning", description="what is segmented: the answers to questions")
    recipe: str = Field("", description="filled in: the recipe it came from")
    description: str = Field("", description="what the recipe is for")
    run: RunConfig = RunConfig()
    data: DataConfig
    model: ModelConfig
    conversation: ConversationConfig | None = Field(None, description="default: the base's own wording")
    losses: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="after")
    def _something_trains(self) -> Self:
        _require_shares(self.run, self.train)
        require_effect(self.model)
        require_weight(self.losses)
        return self

    @model_validator(mode="after")
    def _stages_rest_components(self) -> Self:
        for index, stage in enumerate(self.train.stages):
            where = f"train.stages[{index}]"
            if stage.unfreeze is not None:
                raise ValueError(f"{where}.unfreeze is for dense models; a reasoning one has train")
            for part, wish in stage.train.items():
                whole = getattr(self.model.train, part, None)
                if whole is None or isinstance(whole, bool):
                    raise ValueError(f"{where}.train.{part}: model.train has no such component")
                if wish not in ("frozen", whole):
                    raise ValueError(
                        f"{where}.train.{part}={wish}: model.train.{part}={whole} says how it trains in the whole run; "
                        "a stage can only let it rest (frozen)"
                    )
        plan(self.train, self.optim)
        return self

    @model_validator(mode="after")
    def _watched_metrics_come(self) -> Self:
        require_watched(self.optim, self.train, validated=self.data.val is not None)
        for setting, key in {"train.best": self.train.best, **watched(self.optim, self.train)}.items():
            term = key.removeprefix("val_")
            if term in OPTIONAL_TERMS and term not in self.losses.terms:
                raise ValueError(f"{setting}={key} needs losses.{term} above 0, or it is not computed")
        return self


class DenseExperimentConfig(Config):
    """A run of dense segmentation, described completely."""

    task: Literal["dense"] = Field("dense", description="what is segmented: classes of pixels")
    recipe: str = Field("", description="filled in: the recipe it came from")
    description: str = Field("", description="what the recipe is for")
    run: RunConfig = RunConfig()
    data: DenseDataConfig
    model: DenseModelConfig = DenseModelConfig()
    losses: DenseLossConfig = DenseLossConfig()
    optim: OptimConfig = OptimConfig()
    train: DenseTrainConfig = DenseTrainConfig()
    eval: DenseEvalConfig = DenseEvalConfig()

    @model_validator(mode="after")
    def _heads_learn(self) -> Self:
        _require_shares(self.run, self.train)
        classes, binary = self.model.multiclass, bool(self.model.binary_classes)
        self.losses.require_weights(classes=classes, binary=binary)
        return self

    @model_validator(mode="after")
    def _stages_are_dense(self) -> Self:
        for index, stage in enumerate(self.train.stages):
            if stage.train:
                raise ValueError(f"train.stages[{index}].train is for reasoning models; a dense one has unfreeze")
        plan(self.train, self.optim)
        return self

    @model_validator(mode="after")
    def _watched_metrics_come(self) -> Self:
        require_watched(self.optim, self.train, validated=self.data.val is not None)
        there = {"loss", *self.losses.terms(classes=self.model.multiclass, binary=bool(self.model.binary_classes))}
        there |= {*CLASS_METRICS} if self.model.multiclass else set()
        there |= {*BINARY_METRICS} if self.model.binary_classes else set()
        for setting, key in {"train.best": self.train.best, **watched(self.optim, self.train)}.items():
            if key.removeprefix("val_") not in there:
                raise ValueError(f"{setting}={key} never comes: the model has no such head, or the loss no weight")
        return self


AnyConfig = ExperimentConfig | DenseExperimentConfig
"""The configuration of a run of either kind."""

_KINDS: dict[str, type[ExperimentConfig | DenseExperimentConfig]] = {
    "reasoning": ExperimentConfig, "dense": DenseExperimentConfig,
}  # fmt: skip


def recipe_schema(task: str | None = None) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe.

    Args:
        task: `reasoning` or `dense`; None for a schema of both, in which the recipe's key `task` decides as in
            `validate_run`.
    """
    if task is not None:
        return _KINDS[task].model_json_schema()
    places, schema = models_json_schema([(kind, "validation") for kind in _KINDS.values()])
    of = {name: places[kind, "validation"] for name, kind in _KINDS.items()}
    is_dense = {"properties": {"task": {"const": "dense"}}, "required": ["task"]}
    return {"title": "recipe", "type": "object", "if": is_dense, "then": of["dense"], "else": of["reasoning"], **schema}


def validate_run(mapping: Mapping[str, Any], where: str) -> AnyConfig:
    """The configuration of a run from plain data; its key `task` says of which kind it is, reasoning by default.

    Raises:
        ConfigError: There is no such kind, an unknown key (with the nearest known one), or a value of the wrong kind.
    """
    task = mapping.get("task", "reasoning")
    if task not in _KINDS:
        raise ConfigError("no such task", where=f"{where}: task", expected=" or ".join(_KINDS), found=str(task))
    return validate(_KINDS[task], mapping, where=where)


def load_recipe(name: str, overrides: list[str] | None = None) -> AnyConfig:
    """Reads a recipe by name or path, applies overrides and validates the result.

    Args:
        name: A shipped recipe or a path to a YAML or JSON file.
        overrides: `key.sub=value` texts, later ones win.

    Raises:
        ConfigError: No such recipe, an unknown key (with the nearest known one), or a value of the wrong kind.
    """
    mapping = {"recipe": recipe_name(name), **read_recipe(name, overrides or [])}
    return validate_run(mapping, where=f"recipe {name}")
