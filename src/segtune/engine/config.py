"""How a run optimises, validates and stops; free of torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from segtune.core.config import Config, nearest
from segtune.losses.config import BINARY_TERMS, CLASS_TERMS, OPTIONAL_DENSE_TERMS, OPTIONAL_TERMS, TERMS

LOSSES = ("loss", *TERMS, *OPTIONAL_TERMS)
METRICS = (
    "cIoU", "gIoU", "generalized_iou", "complete_iou", "P@0.5", "P@0.7", "P@0.9",
    "accuracy", "precision", "recall", "f1", "auroc",
)  # fmt: skip
GENERATED = ("val_generate_gIoU", "val_generate_cIoU", "val_emission_rate")
FORCED_TWINS = {"val_generate_gIoU": "val_gIoU", "val_generate_cIoU": "val_cIoU"}
"""The same scores with the answer given, which compare epochs that are equal where the model answers by itself."""

BEST_KEYS = (*(f"val_{name}" for name in (*LOSSES, *METRICS)), *GENERATED, *LOSSES, *METRICS)
"""Keys of the history by which checkpoints can be compared."""

CLASS_METRICS = ("mIoU", "accuracy", "f1_macro", "f1_micro", "f1_weighted")
"""Keys of the history of a dense model that tells classes apart."""

BINARY_METRICS = (
    "foreground_dice", "foreground_iou", "foreground_image_dice", "foreground_image_dice_nonempty",
    "foreground_accuracy", "foreground_precision", "foreground_recall", "foreground_auroc",
)  # fmt: skip
"""Keys of the history of a dense model with a binary mask."""

DENSE_LOSSES = ("loss", *CLASS_TERMS, *BINARY_TERMS, *OPTIONAL_DENSE_TERMS)
_DENSE_VALUES = (*DENSE_LOSSES, *CLASS_METRICS, *BINARY_METRICS)
DENSE_KEYS = (*(f"val_{name}" for name in _DENSE_VALUES), *_DENSE_VALUES)
"""Keys of the history by which checkpoints of dense models can be compared."""

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]


class OptimConfig(Config):
    """AdamW and its schedule; a schedule knows whether it moves by optimiser step or by epoch."""

    name: Literal["adamw", "adamw8bit", "paged_adamw", "paged_adamw8bit"] = Field(
        "adamw", description="the last three come from bitsandbytes"
    )
    lr: float = Field(1e-4, gt=0, description="peak learning rate")
    rates: dict[str, Rate] = Field({}, description="peak learning rates of single components, by name")
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    schedule: Literal[
        "cosine", "linear", "warmup_stable_decay", "constant", "plateau", "restarts", "exponential", "none"
    ] = "cosine"
    warmup_steps: int = Field(100, ge=0, description="steps over which the rate rises linearly from 0; not with none")
    floor: float = Field(0.01, ge=0, le=1, description="lowest rate of all that fall as cosines, as a share of lr")
    decay_share: float = Field(
        0.2, gt=0, le=1, description="warmup_stable_decay: the last share of the steps, in which the rate falls"
    )
    period: int = Field(500, ge=1, description="restarts: length of the first cosine")
    period_unit: Literal["step", "epoch"] = Field("step", description="restarts: what period counts")
    period_multiplier: int = Field(1, ge=1, description="restarts: each cosine is so many times longer than the last")
    burn_in_steps: int = Field(0, ge=0, description="restarts: steps at the peak, after the warm-up, before the first")
    gamma: float = Field(0.999, gt=0, le=1, description="exponential: factor of the rate per epoch")
    plateau_metric: str | None = Field(None, description="plateau: history key to watch; default train.best")
    plateau_patience: int = Field(3, ge=1, description="plateau: values in a row without gain, then the rate falls")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="plateau: by so much")
    min_rate: float = Field(0.0, ge=0, description="plateau: the rate falls no lower")

    @model_validator(mode="after")
    def _room_to_fall(self) -> Self:
        if self.min_rate > self.lr:
            raise ValueError(f"min_rate={self.min_rate} is above lr={self.lr}")
        return self


class StageConfig(Config):
    """A part of training with its own set of weights that train, its own rate and schedule, and a new optimiser."""

    name: str = Field("", description="in messages; default stage-K")
    epochs: int | None = Field(None, ge=1, description="null: the rest of train.epochs; for one stage at most")
    unfreeze: Literal["all"] | NotNegative | None = Field(
        None, description="dense: blocks of the encoder that train, counted from the last; default model.unfreeze"
    )
    train: dict[str, Literal["frozen", "lora", "full"]] = Field(
        {}, description="reasoning: components of model.train that rest in this stage (frozen)"
    )
    lr_factor: float = Field(1.0, gt=0, description="times optim.lr and optim.rates")
    optim: dict[str, Any] = Field({}, description="keys of optim that are different in this stage")


class EarlyStopping(Config):
    """Ends a run that no longer gets better."""

    metric: str | None = Field(None, description="history key to watch; default train.best")
    patience: int = Field(10, ge=1, description="values in a row without gain, then training ends")
    min_gain: float = Field(0.0, ge=0, description="what counts as gain")


class TrainConfig(Config):
    """The loop."""

    known_keys: ClassVar[tuple[str, ...]] = BEST_KEYS
    known_losses: ClassVar[tuple[str, ...]] = LOSSES

    epochs: int = Field(10, ge=1)
    stages: tuple[StageConfig, ...] = Field((), description="parts of the epochs; none is one stage over all of them")
    batch_size: int = Field(1, ge=1, description="images per micro-batch")
    accumulate: int = Field(1, ge=1, description="micro-batches per optimiser step")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="fp16 needs an accelerator")
    tf32: bool = Field(False, description="fp32 products in TF32 where the GPU can: faster, 10 bits of mantissa")
    gradient_checkpointing: Literal["none", "all"] | Count = Field(
        "none", description="activations computed anew in the backward: of all layers, or of the LLM's first K"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights that are validated; 0 is off")
    best: str = Field("val_cIoU", description="history key that decides what the best checkpoint is")
    best_goal: Literal["max", "min"] | None = Field(None, description="default: min for losses, max for all else")
    keep: Literal["best"] | Count = Field("best", description="or the checkpoints of the newest N epochs as well")
    save_steps: int | None = Field(None, ge=1, description="also save `last` every so many steps; null: after epochs")
    save_minutes: float | None = Field(None, gt=0, description="also save `last` after so many minutes without a save")
    save_total_limit: int = Field(2, ge=1, description="steps from which the run can be resumed that are kept")
    early_stopping: EarlyStopping | None = Field(None, description="null trains to the end")
    log_every: int = Field(10, ge=1, description="steps between rows of metrics.jsonl")
    validate_every: int = Field(1, ge=1, description="epochs between validations")
    validate_generate: bool = Field(True, description="validate in generate mode too")
    max_skipped: int = Field(10, ge=1, description="steps in a row with a non-finite loss or gradient before it stops")

    @property
    def best_is_highest(self) -> bool:
        """Whether the largest value of `best` is the best one."""
        return self.highest_is_best(self.best)

    def highest_is_best(self, key: str) -> bool:
        """Whether the largest value of a history key is its best one."""
        goal = self.best_goal if key == self.best else None
        return (goal or ("min" if key.removeprefix("val_") in self.known_losses else "max")) == "max"

    @model_validator(mode="after")
    def _stages_fill_the_epochs(self) -> Self:
        given = [stage.epochs for stage in self.stages if stage.epochs is not None]
        open_ended = len(self.stages) - len(given)
        rest = self.epochs - sum(given)
        if open_ended > 1:
            raise ValueError("stages: more than one has no epochs; only one can have the rest")
        if self.stages and (rest < 1 if open_ended else rest != 0):
            raise ValueError(f"stages have {sum(given)} epochs in all, and epochs={self.epochs}; they must agree")
        return self

    @model_validator(mode="after")
    def _best_is_known(self) -> Self:
        """A key that no epoch has would be noticed only when the run ends without a best checkpoint."""
        require_key("best", self.best, self)
        return self


class DenseTrainConfig(TrainConfig):
    """The loop, for dense models: nothing is generated, and other metrics decide."""

    known_keys: ClassVar[tuple[str, ...]] = DENSE_KEYS
    known_losses: ClassVar[tuple[str, ...]] = DENSE_LOSSES

    best: str = Field("val_mIoU", description="history key that decides what the best checkpoint is")
    validate_generate: Literal[False] = Field(False, description="of no meaning here")
    gradient_checkpointing: Literal["none", "all"] = Field(
        "none", description="all: activations of the layers of a ViT computed anew in the backward"
    )


def share_of_step(train: TrainConfig, count: int) -> tuple[int, int] | None:
    """What each of several processes takes of a step, so that the step has the images that it has for one process.

    Args:
        train: Says how many images a step has: `batch_size` times `accumulate`.
        count: How many processes share them.

    Returns:
        The `batch_size` and `accumulate` of each process: fewer micro-batches or, where these cannot be divided,
        smaller ones. None where neither can be.
    """
    if train.accumulate % count == 0:
        return train.batch_size, train.accumulate // count
    if train.batch_size % count == 0:
        return train.batch_size // count, train.accumulate
    return None


def require_key(setting: str, key: str, train: TrainConfig) -> None:
    """Refuses a metric that no epoch of a run would have.

    Args:
        setting: Who asks for it.
        key: The history key.
        train: What is validated.

    Raises:
        ValueError: There is no such key (the nearest one is named), or it is switched off.
    """
    known = train.known_keys
    if key not in known:
        near = nearest(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"{setting} is no key of the history: {key!r}; {hint}")
    if key in GENERATED and not train.validate_generate:
        raise ValueError(f"{setting}={key} needs train.validate_generate=true")


def watched(optim: OptimConfig, train: TrainConfig) -> dict[str, str]:
    """The settings that watch a key of the history while a run goes on, and the key of each."""
    keys = {"optim.plateau_metric": optim.plateau_metric or train.best} if optim.schedule == "plateau" else {}
    if train.early_stopping is not None:
        keys["train.early_stopping.metric"] = train.early_stopping.metric or train.best
    return keys


def require_watched(optim: OptimConfig, train: TrainConfig, *, validated: bool) -> None:
    """Refuses a plateau or an early stop that watches what never comes.

    Args:
        optim: Its schedule may watch a metric.
        train: How often is validated, and what ends training early.
        validated: Whether there are validation data.

    Raises:
        ValueError: The setting, its key, and why the key never comes.
    """
    for setting, key in watched(optim, train).items():
        require_key(setting, key, train)
        instead = key.removeprefix("val_")
        hint = f"; did you mean {instead}?" if instead in train.known_keys else ""
        if key.startswith("val_") and not validated:
            raise ValueError(f"{setting}={key} needs validation data, and data.val is null{hint}")
        if key.startswith("val_") and train.validate_every >= train.epochs > 1:
            raise ValueError(
                f"{setting}={key} would come only when training ends: train.validate_every={train.validate_every}, "
                f"train.epochs={train.epochs}{hint}"
            )


class EvalConfig(Config):
    """Scoring."""

    batch_size: int = Field(4, ge=1, description="images per batch")
    max_new_tokens: int = Field(32, ge=1, description="where a generated answer is cut")
    overlays: int = Field(12, ge=0, description="pictures written per evaluation: best, median and worst answers")
    final: bool = Field(True, description="score the best checkpoint in both modes at the end of training")
    before: bool = Field(False, description="score the base before training too")
