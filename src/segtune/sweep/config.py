"""What a grid file may say: a recipe, the axes to vary, how points are chosen and when a trial is ended early."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from segtune.core.config import Config
from segtune.core.errors import ConfigError
from segtune.core.yaml_files import parse_value

RESERVED = ("recipe", "description", "run.name", "run.root", "run.export")
"""Keys of a recipe that a search sets itself, or that all its trials would write to."""

_MOST_STEPS = 10_000


class Range(Config):
    """Numbers between two ends, both included."""

    low: int | float = Field(..., description="smallest value")
    high: int | float = Field(..., description="largest value")
    log: bool = Field(False, description="drawn evenly in the logarithm")
    step: int | float | None = Field(None, gt=0, description="only low, low + step, ...; a grid needs it")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low={self.low:g} is not below high={self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithm needs low above 0 (found {self.low:g})")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None and (self.high - self.low) / self.step > _MOST_STEPS:
            raise ValueError(f"step={self.step:g} makes more than {_MOST_STEPS} values")
        return self

    def values(self) -> tuple[int | float, ...]:
        """The values that `step` gives, rounded to what is written: 0.1 thrice is 0.3.

        Raises:
            ValueError: There is no step.
        """
        if self.step is None:
            raise ValueError("a range without step has no list of values")
        step = self.step
        count = int((self.high - self.low) / step * (1 + 1e-12) + 1e-9) + 1
        whole = all(isinstance(number, int) for number in (self.low, step))
        steps = [self.low + index * step for index in range(count)]
        return tuple(steps if whole else (float(f"{number:.12g}") for number in steps))


def _kind(value: Any) -> str:
    return "range" if isinstance(value, Mapping | Range) else "list"


Axis = Annotated[
    Annotated[Range, Tag("range")] | Annotated[tuple[Any, ...], Tag("list")],
    Discriminator(_kind),
]
"""The values of one key: a list, or a range."""


class SearchConfig(Config):
    """A search, described completely; this is what a grid file holds."""

    description: str = Field("", description="what the search is for")
    recipe: str = Field(..., description="name of a shipped recipe, or a file: beside the grid file, or a path")
    overrides: tuple[str, ...] = Field((), description="settings of all points, as on the command line")
    axes: dict[str, Axis] = Field(..., min_length=1, description="key of a recipe: a list of values, or a range")
    sampler: Literal["grid", "random", "tpe"] = Field("grid", description="how points are chosen")
    trials: int | None = Field(None, ge=1, description="random and tpe: how many points; default 20")
    seed: int = Field(0, ge=0, description="of the points that are drawn")
    metric: str | None = Field(None, description="history key to compare by; default the recipe's train.best")
    prune: Literal["none", "median", "halving"] = Field("none", description="what ends a trial early")
    prune_after: int = Field(1, ge=1, description="no trial is ended before so many epochs")
    prune_startup: int = Field(5, ge=1, description="median: so many trials are complete before one is ended")
    epochs: int | None = Field(None, ge=1, description="train.epochs of every trial; default the recipe's")
    name: str | None = Field(None, description="name of the study; default that of the grid file")
    root: str = Field("runs/searches", description="folder of the studies")

    @field_validator("axes", mode="before")
    @classmethod
    def _axes_are_lists_or_ranges(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for key, axis in value.items():
            if not isinstance(axis, Mapping | Range | list | tuple):
                raise ValueError(f"{key} needs a list of values or a range {{low, high}} (found {axis!r:.60})")
            if isinstance(axis, list | tuple) and not axis:
                raise ValueError(f"{key} is an empty axis; give it a value, or leave it out")
        return value

    @model_validator(mode="after")
    def _axes_make_points(self) -> Self:
        for key, axis in self.axes.items():
            if key in RESERVED:
                raise ValueError(f"axes: {key} belongs to the search and cannot be varied")
            if isinstance(axis, Range):
                if self.sampler == "grid" and axis.step is None:
                    raise ValueError(f"axes: {key} is a range, and a grid needs its step; or take sampler=random")
                continue
            labels = [label(value) for value in axis]
            if twice := [text for text in labels if labels.count(text) > 1]:
                raise ValueError(f"axes: {key} has {twice[0]} twice")
        if self.epochs is not None and "train.epochs" in self.axes:
            raise ValueError("epochs and the axis train.epochs exclude each other")
        return self

    @model_validator(mode="after")
    def _trials_belong_to_sampling(self) -> Self:
        if self.sampler == "grid" and self.trials is not None:
            raise ValueError("trials is for sampler=random and sampler=tpe; a grid runs every point")
        return self

    @property
    def budget(self) -> int:
        """How many points a sampled search runs."""
        return self.trials or 20


def label(value: Any) -> str:
    """A value of an axis as text: as it is written on a command line, different for different values."""
    if isinstance(value, str) and _reads_as_itself(value):
        return value
    return json.dumps(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(parse_value(text, "") == text)
    except ConfigError:
        return False
