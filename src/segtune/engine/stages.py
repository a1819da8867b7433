"""The stages of a run: which epochs, with which optimiser settings, and what trains in each of them.

A stage ends when its epochs are over or early stopping ends it. The next one goes on with the weights as they are, with
a new optimiser over exactly what trains in it and a schedule that begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segtune.core.config import merge, validate
from segtune.core.errors import ConfigError
from segtune.engine.config import OptimConfig, StageConfig, TrainConfig


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, with everything that its part of the recipe leaves open filled in.

    Attributes:
        index: Its place, from 0.
        name: In messages and files.
        epochs: How many it has at most.
        optim: Its optimiser settings, rates multiplied.
        unfreeze: Dense: blocks of the encoder that train; None where the model's own setting holds.
        train: Reasoning: settings of components over those of the model.
    """

    index: int
    name: str
    epochs: int
    optim: OptimConfig
    unfreeze: Literal["all"] | int | None
    train: dict[str, Literal["frozen", "lora", "full"]]

    @property
    def best(self) -> str:
        """The name of the checkpoint that holds its best model."""
        return f"stage-{self.index + 1}-best"


def plan(train: TrainConfig, optim: OptimConfig) -> tuple[Stage, ...]:
    """The stages of a run, one over all epochs where the recipe has none.

    Args:
        train: Its `epochs` and `stages`.
        optim: What holds where a stage says nothing else.

    Raises:
        ConfigError: A stage has an optimiser setting that does not exist or does not fit.
    """
    if not train.stages:
        return (Stage(0, "", train.epochs, optim, None, {}),)
    rest = train.epochs - sum(stage.epochs or 0 for stage in train.stages)
    return tuple(_filled(index, stage, rest, optim) for index, stage in enumerate(train.stages))


def _filled(index: int, stage: StageConfig, rest: int, optim: OptimConfig) -> Stage:
    where = f"train.stages[{index}]"
    if "name" in stage.optim and stage.optim["name"] != optim.name:
        raise ConfigError(
            "all stages have one kind of optimiser", where=f"{where}.optim.name", expected=optim.name,
            found=str(stage.optim["name"]), fix="set optim.name",
        )  # fmt: skip
    settings = validate(OptimConfig, merge(optim.model_dump(), stage.optim), where=f"{where}.optim")
    factor = stage.lr_factor
    scaled = {"lr": settings.lr * factor, "rates": {name: rate * factor for name, rate in settings.rates.items()}}
    settings = validate(OptimConfig, merge(settings.model_dump(), scaled), where=where)
    name = stage.name or f"stage-{index + 1}"
    return Stage(index, name, stage.epochs or rest, settings, stage.unfreeze, dict(stage.train))
