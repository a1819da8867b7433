"""From a name in a command to a loaded model: a run, a checkpoint, an assembled base, or an embedded one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration, SamModel

from segtune.core.errors import CheckpointError, ConfigError, WrongKindOfModel
from segtune.core.files import apply_umask, write_json
from segtune.core.input_spec import ConversationConfig
from segtune.core.paths import require_utf8_path
from segtune.data.conversation import Conversation
from segtune.data.sources.synthetic.corpus import training_texts
from segtune.data.transforms import Transform
from segtune.engine.checkpoint import Checkpoint, load_weights
from segtune.engine.checkpoint_files import ABOUT, DESCRIBED
from segtune.engine.checkpoint_names import find_checkpoint, read_again
from segtune.engine.config import EvalConfig
from segtune.engine.processes import from_first
from segtune.models.adapters import merge_adapters
from segtune.models.config import ModelConfig, TrainSettings
from segtune.models.described import digests
from segtune.models.image_size import resize_inputs
from segtune.models.pretrained import without_hub
from segtune.models.quantize import dequantize, quantize_loaded, require_bitsandbytes
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.tiny.architecture import write_tiny_base
from segtune.models.trainable import BRIDGE
from segtune.models.weights import (
    ASSEMBLED,
    EMBEDDED,
    ESTIMATES_IOU,
    Parts,
    assemble,
    base_directory,
    base_facts,
    fingerprint,
    fitting_bridge,
    hold_frozen_in,
    input_spec,
    load_parts,
)

FROM_NOTHING = "segtune/tiny-random"
"""The base that is not shipped but drawn: random tiny weights, written into the run."""

RUN_BASE = "run:base"
"""A base that lies in the run directory itself (a model that was made from nothing)."""

_FACTS = ("seg_hidden", "mask_features", "image_geometry", "prompting", "prompt_tokens")
"""Settings that a base writes down, because they decide shapes."""

_ANSWER_LENGTH = "max_new_tokens"
"""Where checkpoints and bases write down where the run cut answers, so that whoever loads one cuts them there too."""

_USUAL_LENGTH = EvalConfig().max_new_tokens

_PRECISION = "precision"
"""Where checkpoints write down `train.precision`: they are scored in the precision that they were trained in."""

_DTYPE = "dtype"
"""Where bases write down `model.dtype`: they are loaded in it."""

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

NOTHING_TRAINS = TrainSettings(
    llm="frozen", seg_token=False, seg_projection="frozen", connector="frozen", mask_decoder="frozen"
)


@dataclass(slots=True)
class Loaded:
    """A model with what feeds it.

    Attributes:
        model: The model.
        parts: Processor and input spec (its modules are those of `model`).
        conversation: Wording and tokenizer.
        transform: Groups to samples.
        config: What the model was assembled from.
        fingerprint: Digest of its frozen weights.
        described: Digests of what else of its base decides answers, from `models.described`.
        max_new_tokens: Where a generated answer is cut.
        precision: `train.precision` of the run.
    """

    model: ReasoningSegmenter
    parts: Parts
    conversation: Conversation
    transform: Transform
    config: ModelConfig
    fingerprint: str
    described: dict[str, str]
    max_new_tokens: int = _USUAL_LENGTH
    precision: str = "fp32"

    def score_in(self, precision: str) -> None:
        """Has validation, evaluation and prediction multiply as a training with this `train.precision` does."""
        self.precision, self.model.autocast_dtype = precision, _AUTOCAST[precision]

    def about(self) -> dict[str, Any]:
        """What every checkpoint of this model tells, so that it can be loaded without its run."""
        return {
            "model": self.config.model_dump(mode="json"), "base": self.config.start, "fingerprint": self.fingerprint,
            "conversation": self.conversation.wording.model_dump(mode="json"), _ANSWER_LENGTH: self.max_new_tokens,
            _PRECISION: self.precision, DESCRIBED: self.described,
        }  # fmt: skip


def build(
    config: ModelConfig, wording: ConversationConfig | None, run: Path | None = None, *, to_train: bool = False
) -> Loaded:
    """Builds a model to train: its parts, or the model it starts from, with adapters in.

    Args:
        config: What it is made of.
        wording: How queries are asked; None takes the base's.
        run: The run directory, for bases that lie in it.
        to_train: Whether it will train, and not only take the weights of a checkpoint.

    Raises:
        CheckpointError: Something cannot be loaded or does not fit.
        ConfigError: What joins the two halves would train neither here nor has trained before.
    """
    parts = _parts(config, wording, run)
    described = digests(parts.llava.config, parts.sam.config, parts.processor, parts.input_spec)
    model = assemble(parts, config)
    conversation = Conversation(parts.processor, parts.input_spec)
    transform = Transform(parts.input_spec, conversation)
    loaded = Loaded(model, parts, conversation, transform, config, fingerprint(model), described)
    if to_train:
        _require_bridge(loaded)
    return loaded


def load(name: str) -> Loaded:
    """Loads a trained model, or a base as it stands, for scoring and prediction.

    Args:
        name: A run (`RUN`, `RUN@last`), a checkpoint directory, an assembled base, or `segtune/tiny`.

    Raises:
        CheckpointError: There is no such model, it is damaged, or it is a dense one.
    """
    checkpoint = find_checkpoint(name)
    if checkpoint is None:
        return _load_base(name)
    return read_again(name, checkpoint, _load)


def _load_base(name: str) -> Loaded:
    """Loads a base as it stands: in the dtype and the precision, and with the answer length, that it was made with."""
    directory = base_directory(name)
    about = base_facts(directory)
    precision, length = about.get(_PRECISION, "fp32"), about.get(_ANSWER_LENGTH, _USUAL_LENGTH)
    try:
        known = {key: about[key] for key in (*_FACTS, _DTYPE) if key in about}
        config = ModelConfig.model_validate({**known, "base": name, "train": NOTHING_TRAINS})
        if not isinstance(precision, str) or precision not in _AUTOCAST:
            raise ValueError(f"{_PRECISION}: {precision!r} is none of {', '.join(_AUTOCAST)}")
        EvalConfig.model_validate({_ANSWER_LENGTH: length})
    except ValueError as error:
        raise CheckpointError(
            "this base is damaged",
            where=str(directory / ASSEMBLED),
            expected="the settings that it was made with",
            found=str(error),
            fix="copy the base again",
        ) from error
    loaded = build(config, None)
    loaded.max_new_tokens = length
    loaded.score_in(precision)
    return loaded


def _load(name: str, checkpoint: Checkpoint) -> Loaded:
    if "task" in checkpoint.about:
        raise WrongKindOfModel(
            "this model tells classes apart; it does not answer questions", where=name, expected="a reasoning model",
            found=f"a {checkpoint.about['task']} one",
            fix="leave the question away: `segtune predict MODEL IMAGE`, in Python `segtune.DensePredictor`",
        )  # fmt: skip
    config = checkpoint.setting("model", ModelConfig)
    wording = checkpoint.setting("conversation", ConversationConfig)
    try:
        with without_hub():
            loaded = build(config, wording, checkpoint.path.parent.parent)
    except ConfigError as error:  # nobody's recipe is wrong: the base is another, or the file was changed
        raise CheckpointError(
            "the model that this checkpoint describes cannot be built", where=str(checkpoint.path / ABOUT),
            found=str(error), fix="put its base back where it was, or use another checkpoint",
        ) from error  # fmt: skip
    load_weights(checkpoint, loaded.model, loaded.fingerprint, described=loaded.described)
    loaded.max_new_tokens = checkpoint.about.get(_ANSWER_LENGTH) or _USUAL_LENGTH
    loaded.score_in(checkpoint.about.get(_PRECISION) or "fp32")  # absent in checkpoints from before
    return loaded


def _require_bridge(loaded: Loaded) -> None:
    """Refuses a projection or connector that starts from random weights and is frozen: its noise would stay."""
    there = {"seg_projection": True, "connector": loaded.model.connector is not None}
    for part in BRIDGE:
        known = any(name.startswith(f"{part}.") for name in loaded.parts.bridge)
        if there[part] and not known and getattr(loaded.config.train, part) == "frozen":
            raise ConfigError(
                f"the {part} starts from random weights and would stay so", where=f"model.train.{part}",
                expected="full, because what it starts from has none that fits", found="frozen",
                fix=f"set model.train.{part}=full",
            )  # fmt: skip


def usual_device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def _facts_of_base(name: str) -> dict[str, Any]:
    """Settings that a base brings with it: they decide shapes, so nobody should have to repeat them."""
    about = base_facts(base_directory(name))
    return {key: about[key] for key in _FACTS if key in about}


def settle_base(config: ModelConfig, wording: ConversationConfig | None, seed: int, run: Path) -> ModelConfig:
    """Settles where a run starts, and what the recipe leaves open about it.

    Args:
        config: A base that is a path becomes absolute, so that the run can be used from any directory; of
            `FROM_NOTHING` random tiny weights are drawn into the run.
        wording: How queries are asked of a base that is drawn.
        seed: Of the weights that are drawn.
        run: The run directory.

    Returns:
        The settings with base and width of the `<SEG>` projection.

    Raises:
        CheckpointError: There is no such base, or UTF-8 cannot hold its whole path.
    """
    if config.base is None:
        return config
    if config.base == FROM_NOTHING:
        hidden, asked = config.seg_hidden or 128, wording or ConversationConfig()
        from_first(lambda: write_tiny_base(run / "base", training_texts(seed, 20_000), seed, asked, hidden))
        return config.model_copy(update={"base": RUN_BASE, "seg_hidden": hidden})
    base = config.base if config.base in EMBEDDED else os.path.abspath(config.base)
    if config.base not in EMBEDDED:  # the run writes the whole path down
        require_utf8_path(base, config.base, what="the base", error=CheckpointError)
    checkpoint = find_checkpoint(base)
    known = checkpoint.fact("model") if checkpoint is not None else _facts_of_base(base)
    return config.model_copy(update={"base": base, "seg_hidden": config.seg_hidden or known.get("seg_hidden")})


def _parts(config: ModelConfig, wording: ConversationConfig | None, run: Path | None) -> Parts:
    if config.base == RUN_BASE:
        assert run is not None
        return load_parts(config.model_copy(update={"base": str(run / "base")}), wording)
    if config.base is None or find_checkpoint(config.base) is None:
        return load_parts(config, wording)
    start = load(config.base)
    return merged_parts(start, config, wording)


def merged_parts(start: Loaded, config: ModelConfig, wording: ConversationConfig | None) -> Parts:
    """The parts of a trained model with its adapters folded in: a base for further training."""
    require_bitsandbytes(config.quantize)
    if config.mask_features != start.config.mask_features:
        raise CheckpointError(
            "the model to start from looks at other mask features", where=str(config.base),
            expected=f"model.mask_features={start.config.mask_features}", found=config.mask_features,
        )  # fmt: skip
    llava, sam = folded(start)
    hold_frozen_in(sam, config)
    dtype = getattr(torch, config.dtype)
    llava.to(dtype)
    parts, spec = start.parts, start.parts.input_spec
    if config.img_size is not None:
        shared = config.mask_features == "shared"
        resize_inputs(llava, parts.processor, sam, parts.sam_processor, config.img_size, shared=shared)
        spec = input_spec(llava, parts.processor, sam, parts.sam_processor, start.config, spec.conversation)
    quantize_loaded(llava, sam, config.quantize, dtype)
    if wording is not None:
        spec = replace(spec, conversation=wording)
    bridge = fitting_bridge(bridge_state(start.model), start.config.prompting, config)
    return Parts(llava, sam, parts.processor, parts.sam_processor, spec, bridge, parts.estimates_iou)


def folded(loaded: Loaded) -> tuple[LlavaForConditionalGeneration, SamModel]:
    """Both halves of a model with adapters folded in and nothing quantised; the model is used up."""
    sam = loaded.model.mask_model.sam
    if hasattr(sam, "vision_encoder"):
        sam.vision_encoder = merge_adapters(sam.vision_encoder, torch.float32)
    sam.mask_decoder = merge_adapters(sam.mask_decoder, torch.float32)
    dequantize(sam, torch.float32)
    sam.float()
    llava = merge_adapters(loaded.model.vlm.vlm, getattr(torch, loaded.config.dtype))
    return llava, sam  # type: ignore[return-value]


def bridge_state(model: ReasoningSegmenter) -> dict[str, Tensor]:
    """The weights between the two halves: `seg_projection.*` and `connector.*`."""
    state = {f"seg_projection.{k}": v for k, v in model.seg_projection.state_dict().items()}
    if model.connector is not None:
        state |= {f"connector.{k}": v for k, v in model.connector.state_dict().items()}
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def export_base(loaded: Loaded, directory: Path) -> None:
    """Writes a model as a base: `vlm/` and `mask_model/` in the hub's layout, and what joins them.

    Args:
        loaded: The model; its adapters are folded in, so it cannot be trained further afterwards.
        directory: Made if absent; files of the same names are replaced.
    """
    llava, sam = folded(loaded)
    llava.save_pretrained(directory / "vlm")
    loaded.parts.processor.save_pretrained(directory / "vlm")
    sam.save_pretrained(directory / "mask_model")
    loaded.parts.sam_processor.save_pretrained(directory / "mask_model")
    save_file(bridge_state(loaded.model), directory / "segmentation.safetensors")
    write_json(
        directory / ASSEMBLED,
        {
            "format": 1,
            "conversation": loaded.conversation.wording.model_dump(mode="json"),
            _ANSWER_LENGTH: loaded.max_new_tokens,
            ESTIMATES_IOU: loaded.parts.estimates_iou,
            _DTYPE: loaded.config.dtype,
            _PRECISION: loaded.precision,
            **{key: getattr(loaded.config, key) for key in _FACTS},
        },
    )
    apply_umask(directory)
