"""The whole configuration of a run: one model that recipes fill in and overrides change.

This is the composition of the configs that stand beside what they build; it imports no torch, so a wrong recipe is
refused in milliseconds.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from segtune.core.config import Config, validate
from segtune.core.input_spec import ConversationConfig
from segtune.core.recipe_files import read_recipe, recipe_name
from segtune.data.config import DataConfig
from segtune.engine.config import EvalConfig, OptimConfig, TrainConfig, require_watched, watched
from segtune.losses.config import OPTIONAL_TERMS, LossConfig, require_weight
from segtune.models.config import ModelConfig, require_effect


class RunConfig(Config):
    """Where a run lives and what makes it repeatable."""

    name: str | None = Field(None, description="default RECIPE-YYYYmmdd-HHMMSS")
    root: str = Field("runs", description="directory that holds the runs")
    seed: int = Field(0, ge=0, description="of everything that is drawn")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; default its own choice")
    export: str | None = Field(None, description="directory to which the best model is written as a base, merged")


class ExperimentConfig(Config):
    """A run, described completely."""

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
        require_effect(self.model)
        require_weight(self.losses)
        return self

    @model_validator(mode="after")
    def _watched_metrics_come(self) -> Self:
        require_watched(self.optim, self.train, validated=self.data.val is not None)
        for setting, key in {"train.best": self.train.best, **watched(self.optim, self.train)}.items():
            term = key.removeprefix("val_")
            if term in OPTIONAL_TERMS and term not in self.losses.terms:
                raise ValueError(f"{setting}={key} needs losses.{term} above 0, or it is not computed")
        return self


def load_recipe(name: str, overrides: list[str] | None = None) -> ExperimentConfig:
    """Reads a recipe by name or path, applies overrides and validates the result.

    Args:
        name: A shipped recipe or a path to a YAML or JSON file.
        overrides: `key.sub=value` texts, later ones win.

    Raises:
        ConfigError: No such recipe, an unknown key (with the nearest known one), or a value of the wrong kind.
    """
    mapping = {"recipe": recipe_name(name), **read_recipe(name, overrides or [])}
    return validate(ExperimentConfig, mapping, where=f"recipe {name}")
