"""A LLaVA made of a CLIP and a causal language model, each by name, with a fresh projector between them.

The way of the first ModifiedLISA (CLIP ViT-B/16 and Llama-3.2-1B), where no LLaVA of the wanted size exists. From here
on it is a LLaVA like any other; its projector knows nothing yet and has to train.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from segtune.core.errors import CheckpointError
from segtune.models.chat import LLAVA_15_TEMPLATE
from segtune.models.pretrained import load_pretrained, read_pretrained

IMAGE_TOKEN = "<image>"

# A whole CLIP holds a text half and what compares the halves; only the vision half is wanted.
_OTHER_HALF = r"^(text_model\.|text_projection|visual_projection|logit_scale)"


def assemble_llava(
    vision: str, language: str, dtype: torch.dtype, options: dict[str, Any]
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """Builds a LLaVA from two checkpoints.

    Args:
        vision: A CLIP, whole or its vision half: hub id or directory.
        language: A causal language model whose layers lie in `model` and whose head is `lm_head` (Llama, Qwen, ...).
        dtype: Of the weights; the projector, which trains, has float32.
        options: How the language model is read, from `quantize.reading_options`.

    Returns:
        The model, its projector drawn from the global generator, and a processor that asks in LLaVA-1.5's layout.

    Raises:
        CheckpointError: One of them is missing, damaged or of another kind.
    """
    vision_config = _vision_config(vision)
    tower = load_pretrained(CLIPVisionModel, vision, dtype, config=vision_config, unused=_OTHER_HALF)
    language_config = read_pretrained(AutoConfig, language)
    causal = load_pretrained(AutoModelForCausalLM, language, dtype, config=language_config, options=options)
    if not (isinstance(getattr(causal, "model", None), nn.Module) and isinstance(_head(causal), nn.Linear)):
        raise CheckpointError(
            "this language model is laid out otherwise than a LLaVA needs it", where=language,
            expected="a causal model with its layers in `model` and its head in `lm_head`, as Llama and Qwen have",
            found=type(causal).__name__,
        )  # fmt: skip
    config, processor = _described(vision, language, vision_config, causal.config.get_text_config())
    return _joined(config, tower, causal), processor


def describe_llava(vision: str, language: str) -> tuple[LlavaConfig, LlavaProcessor]:
    """The configuration and the processor of what `assemble_llava` builds, without reading weights.

    Raises:
        CheckpointError: One of them is missing, damaged or of another kind.
    """
    text_config = read_pretrained(AutoConfig, language).get_text_config()
    return _described(vision, language, _vision_config(vision), text_config)


def _described(vision: str, language: str, vision_config: Any, text_config: Any) -> tuple[LlavaConfig, LlavaProcessor]:
    """Joins what both halves say of themselves; the language model's is changed."""
    tokenizer = read_pretrained(AutoTokenizer, language)
    tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    images = read_pretrained(CLIPImageProcessorPil, vision)
    text_config.tie_word_embeddings = False
    if hasattr(text_config, "quantization_config"):
        del text_config.quantization_config
    config = LlavaConfig(
        vision_config=vision_config, text_config=text_config, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        tie_word_embeddings=False,
    )  # fmt: skip
    processor = LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=vision_config.patch_size, image_token=IMAGE_TOKEN,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=LLAVA_15_TEMPLATE,
    )  # fmt: skip
    return config, processor


def _vision_config(path: str) -> Any:
    config = read_pretrained(AutoConfig, path)
    config = getattr(config, "vision_config", config)
    if config.model_type != "clip_vision_model":
        raise CheckpointError(
            "this is no CLIP", where=path, expected="model type clip or clip_vision_model",
            found=f"model type {config.model_type}", fix="name a CLIP in model.vision",
        )  # fmt: skip
    return config


def _head(causal: nn.Module) -> Any:
    return getattr(causal, "lm_head", None)


def _joined(config: LlavaConfig, tower: nn.Module, causal: Any) -> LlavaForConditionalGeneration:
    """Puts the loaded parts into an empty LLaVA and draws its projector as PyTorch draws linear layers."""
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(config)
    llava.model.vision_tower, llava.model.language_model, llava.lm_head = tower, causal.model, causal.lm_head
    # Tied rows would move together, and the input row of <SEG> must not follow the output row.
    llava.lm_head.weight = nn.Parameter(causal.lm_head.weight.detach().clone())
    llava.model.multi_modal_projector.to_empty(device="cpu")
    for module in llava.model.multi_modal_projector.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return llava.eval()  # type: ignore[no-any-return]
