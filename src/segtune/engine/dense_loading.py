"""From a configuration, or the name of a run, to a dense model with what feeds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from segtune.core.errors import CheckpointError, ConfigError, WrongKindOfModel
from segtune.core.paths import require_utf8_path
from segtune.data.dense.transforms import DenseTransform
from segtune.engine.checkpoint import Checkpoint, load_weights
from segtune.engine.checkpoint_names import find_checkpoint, read_again
from segtune.engine.dense_config import DenseInferenceConfig, Mirror
from segtune.engine.trained import trained_names
from segtune.models.dense.blocks import Blocks, unfreeze
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.encoder import encoder_from_description
from segtune.models.dense.network import DenseSegmenter, build_dense
from segtune.models.pretrained import without_hub
from segtune.models.weights import fingerprint

InferenceT = TypeVar("InferenceT", bound=DenseInferenceConfig)

TASK = "dense"
"""What the checkpoints of dense models say they are for."""


@dataclass(slots=True)
class DenseLoaded:
    """A dense model with what feeds it.

    Attributes:
        model: The model.
        config: What it was built from.
        transform: Images to its pixels.
        blocks: The most of its encoder that trains in any stage.
        trained: Names of the parameters that a checkpoint holds: those that train in any stage, or all where
            `is_self_contained`.
        fingerprint: Digest of all others, and of the buffers beside them.
        mirror: `eval.tta.mirror` of its run.
    """

    model: DenseSegmenter
    config: DenseModelConfig
    transform: DenseTransform
    blocks: Blocks
    trained: frozenset[str]
    fingerprint: str
    mirror: Mirror = "auto"

    @property
    def foreground(self) -> tuple[int, ...] | None:
        """The labels of the binary foreground; None without that head."""
        return self.model.binary_indices or None

    def as_trained(self, config: InferenceT) -> InferenceT:
        """Views and windows with the `tta.mirror` of the run, so that one rule serves; what is set there stays."""
        if "mirror" in config.tta.model_fields_set:
            return config
        return config.model_copy(update={"tta": config.tta.model_copy(update={"mirror": self.mirror})})

    def about(self) -> dict[str, Any]:
        """What every checkpoint of this model tells, so that it can be loaded without its run."""
        return {
            "task": TASK,
            "model": self.config.model_dump(mode="json"),
            "base": self.config.encoder,
            "classes": list(self.model.classes),
            "sided": list(self.model.sided_classes),
            "encoder": self.model.encoder.describe(),
            "blocks": self.blocks,
            "fingerprint": self.fingerprint,
        }


def build_loaded(
    config: DenseModelConfig, classes: tuple[str, ...], blocks: Blocks, resumed: Mapping[str, Any] | None = None
) -> DenseLoaded:
    """Builds a dense model to train.

    Args:
        config: What it is made of.
        classes: Names of the data's classes.
        blocks: The most of its encoder that trains in any stage.
        resumed: What the checkpoint tells of itself whose weights will be put in next (`about`). Files that it makes
            unnecessary are not read, and need not be there any more.

    Raises:
        ConfigError: The heads do not fit the classes, the encoder not the image size, or it has fewer blocks.
        CheckpointError: Weights cannot be read or do not fit, or those to start from are of other classes.
    """
    whole = resumed is not None and is_self_contained(config, blocks)
    encoder = encoder_from_description(resumed["encoder"]) if resumed is not None and whole else None
    loaded = _with_transform(build_dense(config, classes, encoder), config, blocks)
    if config.start is not None and not whole:
        _start_from(loaded, config.start)
    return loaded


def load_dense_model(name: str) -> DenseLoaded:
    """Loads a trained dense model by name, for scoring and prediction.

    Args:
        name: A run (`RUN`, `RUN@last`, `RUN@stage-1-best`) or a checkpoint directory.

    Raises:
        CheckpointError: There is no such model, it is damaged, or it answers questions instead.
    """
    checkpoint = find_checkpoint(name)
    if checkpoint is None or not is_dense(checkpoint):
        raise WrongKindOfModel(
            "this model answers questions; it does not tell classes apart", where=name, expected="a dense run",
            fix="give a question with the image: `segtune predict MODEL IMAGE QUERY`, in Python `segtune.Predictor`",
        )  # fmt: skip
    return read_again(name, checkpoint, lambda _, found: load_dense(found))


def is_dense(checkpoint: Checkpoint | None) -> bool:
    """Whether a checkpoint is that of a dense model."""
    return checkpoint is not None and checkpoint.about.get("task") == TASK


def load_dense(checkpoint: Checkpoint) -> DenseLoaded:
    """Loads a trained dense model.

    Args:
        checkpoint: From `engine.checkpoint.open_checkpoint`.

    Raises:
        CheckpointError: It is damaged, or the encoder that it was trained on is gone or another one.
    """
    config = checkpoint.setting("model", DenseModelConfig)
    blocks, classes, description = (checkpoint.fact(key) for key in ("blocks", "classes", "encoder"))
    where = str(checkpoint.path)
    try:
        encoder = encoder_from_description(description) if is_self_contained(config, blocks) else None
        with without_hub():
            model = build_dense(config, tuple(classes), encoder)
        loaded = _with_transform(model, config, blocks)
    except ConfigError as error:  # nobody's recipe is wrong: the encoder is gone, or another one stands in its place
        raise CheckpointError(
            "the encoder that this model was trained on is not there any more", where=where,
            expected=str(config.encoder), found=str(error), fix="put it back where it was",
        ) from error  # fmt: skip
    load_weights(checkpoint, loaded.model, loaded.fingerprint, loaded.trained)
    loaded.model.sided_classes = tuple(checkpoint.about.get("sided") or ())  # absent in checkpoints from before
    loaded.mirror = _mirror_told(checkpoint.about)
    loaded.model.eval()
    return loaded


def _mirror_told(about: Mapping[str, Any]) -> Mirror:
    """`eval.tta.mirror` of the settings that a checkpoint tells; the usual one where it tells none."""
    found: Any = about.get("config")
    for key in ("eval", "tta", "mirror"):
        found = found.get(key) if isinstance(found, dict) else None
    return "always" if found == "always" else "auto"


def is_self_contained(config: DenseModelConfig, blocks: Blocks) -> bool:
    """Whether checkpoints hold the whole encoder, so that what it started from need not be there any more.

    They do where it trained from end to end, where it came from nowhere, and where the model started from another
    trained one, whose encoder may be any.
    """
    return blocks == "all" or not config.loads_weights or config.start is not None


def _with_transform(model: DenseSegmenter, config: DenseModelConfig, blocks: Blocks) -> DenseLoaded:
    unfreeze(model, blocks)
    names = trained_names(model)
    if is_self_contained(config, blocks):  # all: also what never trains, as a mask token
        names = frozenset(name for name, _ in model.named_parameters())
    transform = DenseTransform(config.image_size, model.encoder.mean, model.encoder.std)
    return DenseLoaded(model, config, transform, blocks, names, fingerprint(model, names, buffers=True))


def find_start(name: str, classes: tuple[str, ...] | None) -> Checkpoint:
    """The checkpoint from whose weights a new model is to start; only what it tells of itself is read.

    Args:
        name: A run or a checkpoint directory.
        classes: Those of the new model; None where they are not known yet.

    Raises:
        CheckpointError: There is none, it answers questions, or it has other classes.
    """
    checkpoint = find_checkpoint(name)
    if checkpoint is None or not is_dense(checkpoint):
        raise CheckpointError(
            "this model answers questions; it does not tell classes apart",
            where=f"model.start={name}",
            expected="a dense run or checkpoint",
            fix="name one, or leave model.start away",
        )
    theirs = tuple(checkpoint.fact("classes"))
    if classes is not None and theirs != classes:
        raise CheckpointError(
            "the model to start from tells other classes apart",
            where=f"model.start={name}",
            expected=", ".join(classes),
            found=", ".join(theirs),
            fix="train on data with the same classes in the same order, or start from its encoder alone "
            "(export it with run.export and name it as model.encoder)",
        )
    return checkpoint


def _start_from(loaded: DenseLoaded, name: str) -> None:
    """Puts the weights of a trained model into a new one; both have the same classes and shapes, or it is refused."""
    checkpoint = find_start(name, loaded.model.classes)
    source = read_again(name, checkpoint, lambda _, found: load_dense(found)).model
    theirs = source.state_dict()
    if problems := _differences(theirs, loaded.model.state_dict()):
        raise CheckpointError(
            "the model to start from has another shape", where=f"model.start={name}", found=problems,
            fix="give both the same encoder, decoder, width and heads",
        )  # fmt: skip
    loaded.model.load_state_dict(theirs)


def _differences(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What is missing, unexpected or of another shape, a few names of each; nothing where all fits."""
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    lists = {"of another shape": shapes, "missing": missing, "unexpected": unexpected}
    return "; ".join(
        f"{what}: {', '.join(names[:4])}" + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        for what, names in lists.items()
        if names
    )


def absolute_paths(config: DenseModelConfig) -> DenseModelConfig:
    """Paths of the encoder and of the model to start from made absolute, so that a run works from any directory.

    Raises:
        CheckpointError: UTF-8 cannot hold one of them.
    """
    changes = {}
    for key in ("encoder", "start"):
        value = getattr(config, key)
        if value is not None and Path(value.partition("@")[0]).exists():
            path, at, which = value.partition("@")
            require_utf8_path(path, value, what=f"model.{key}", error=CheckpointError)
            changes[key] = str(Path(path).resolve()) + at + which
    return config.model_copy(update=changes)
