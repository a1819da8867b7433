"""How a model to come will be asked, from its small files alone: tokenizer, wording and the length of its context.

What is read here is what `loading.build` reads beside the weights, so that texts that will not fit are known before a
large model is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoProcessor, LlavaForConditionalGeneration

from segtune.core.input_spec import ConversationConfig
from segtune.data.conversation import Conversation
from segtune.engine.checkpoint_names import find_checkpoint
from segtune.engine.loading import RUN_BASE
from segtune.models.assembled import describe_llava
from segtune.models.config import ModelConfig
from segtune.models.pretrained import read_config, read_pretrained, without_hub
from segtune.models.weights import add_seg_token, base_directory, base_facts, text_spec


def read_conversation(config: ModelConfig, wording: ConversationConfig | None) -> Conversation:
    """The conversation of the model that `loading.build` would make, without its weights.

    Args:
        config: What it is made of; a base has to be there (one that is drawn for a run is not).
        wording: How queries are asked; None takes the base's.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    processor, llava, own = _read(config, None)
    add_seg_token(processor.tokenizer)
    return Conversation(processor, text_spec(llava, processor.tokenizer, wording or own or ConversationConfig()))


def _read(config: ModelConfig, run: Path | None) -> tuple[Any, Any, ConversationConfig | None]:
    """Processor, `LlavaConfig` with the wanted input size, and the wording that a base or a checkpoint brings.

    Args:
        config: What the model is made of.
        run: The run directory, for bases that lie in it.
    """
    base = str(run / "base") if run is not None and config.base == RUN_BASE else config.base
    checkpoint = find_checkpoint(base) if base is not None else None
    wording = None
    if checkpoint is not None:
        with without_hub():
            processor, llava, _ = _read(checkpoint.setting("model", ModelConfig), checkpoint.path.parent.parent)
        wording = checkpoint.setting("conversation", ConversationConfig)
    elif config.vision and config.language:
        llava, processor = describe_llava(config.vision, config.language)
    else:
        path = config.vlm
        if base is not None:
            directory = base_directory(base)
            path = str(directory / "vlm")
            wording = ConversationConfig.model_validate(base_facts(directory)["conversation"])
        assert path is not None
        llava = read_config(LlavaForConditionalGeneration, path)
        processor = read_pretrained(AutoProcessor, path, backend="pil")
    if config.img_size is not None:
        llava.vision_config.image_size = config.img_size
    return processor, llava, wording
