"""What the steps of a run share, and what each kind of segmentation has to bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from segtune.config import AnyConfig
from segtune.core.log import console
from segtune.core.rundir import RunDir
from segtune.data.dense.prepare import PreparedDense
from segtune.data.prepare import Prepared
from segtune.engine.checkpoint import Checkpoint, load_weights
from segtune.engine.checkpoint_files import DESCRIBED
from segtune.engine.processes import is_first
from segtune.engine.stages import Stage
from segtune.engine.task import ScoredBatches, Task, TrainingBatches
from segtune.models.trainable import component_of


@dataclass(slots=True)
class Session:
    """An opened run, whatever it segments.

    Attributes:
        config: What to do.
        run: Where.
        model: On its device.
        about: What its checkpoints tell.
        fingerprint: Digest of what no stage trains.
        trained: Names of the parameters that its checkpoints hold.
        accelerator: Device, precision and processes.
        task: Losses and metrics.
        training: Batches for training.
        validation: Batches for validation, or None.
        describe: Says what the data are, and what of them is left out.
        enter_stage: Declares what trains in a stage, and asserts it.
        score: Scores the model as it stands on the validation data, into a folder, with so many pictures.
        export: Writes the model to a folder as a start for other runs.
    """

    config: AnyConfig
    run: RunDir
    model: nn.Module
    about: dict[str, Any]
    fingerprint: str
    trained: frozenset[str]
    accelerator: Accelerator
    task: Task
    training: TrainingBatches
    validation: ScoredBatches | None
    describe: Callable[[], None]
    enter_stage: Callable[[Stage], None]
    score: Callable[[Path, int], None]
    export: Callable[[Path], None]

    @property
    def components(self) -> frozenset[str]:
        """The components of which something trains in any stage."""
        return frozenset(component_of(name) for name in self.trained)

    def take(self, checkpoint: Checkpoint) -> None:
        """Puts the weights of a checkpoint into the model; raises `CheckpointError` where it is of another base."""
        described = self.about.get(DESCRIBED)
        load_weights(checkpoint, self.model, self.fingerprint, self.trained, described=described)


def findings(part: Prepared | PreparedDense) -> list[str]:
    """What of a dataset is left out, and what of it is probably not meant: a line each, for a person."""
    return [*(f"  left out: {item}" for item in part.bad), *(f"  warning: {warning}" for warning in part.warnings)]


def say(text: str) -> None:
    """A line for the person who started the run; of several processes the first one speaks."""
    if is_first():
        console().print(text, highlight=False)
