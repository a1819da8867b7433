"""A LLaVA-1.5-7B with a SAM ViT-B of random weights, drawn and quantised one linear layer at a time on the device.

For measurements: memory and time do not depend on what weights say, nothing is downloaded, and the 7B stands in 16 bits
nowhere, neither on the card nor beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from segtune.core.input_spec import ConversationConfig
from segtune.models.chat import LLAVA_15_TEMPLATE
from segtune.models.config import Bits, ModelConfig
from segtune.models.mask_decoder import reset_for_training
from segtune.models.quantize import quantize_loaded, quantized_linear
from segtune.models.tiny.architecture import build_tokenizer, llava_config, sam_config
from segtune.models.weights import Parts, ensure_seg_token, hold_frozen_in, input_spec

TEXTS = ("What is the box in this image? Please output segmentation mask. USER: ASSISTANT: It is <SEG>. Sure",) * 3


def full_size() -> tuple[LlavaConfig, SamConfig]:
    """The dimensions of llava-hf/llava-1.5-7b-hf and facebook/sam-vit-base."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
        max_position_embeddings=4096, rms_norm_eps=1e-5,
    )  # fmt: skip
    llava = LlavaConfig(
        vision_config=vision, text_config=text, vision_feature_layer=-2, vision_feature_select_strategy="default"
    )
    sam = SamConfig(
        vision_config=SamVisionConfig(), prompt_encoder_config=SamPromptEncoderConfig(),
        mask_decoder_config=SamMaskDecoderConfig(),
    )  # fmt: skip
    return llava, sam


def random_parts(config: ModelConfig, device: torch.device, *, tiny: bool) -> Parts:
    """Draws a model before adapters.

    Args:
        config: Its features, its dtype and how its language model is quantised.
        device: Where it lives from the beginning; on meta it has shapes alone.
        tiny: The dimensions of the tiny model instead.

    Returns:
        The parts, as `segtune.models.weights.load_parts` would have read them.
    """
    dtype = getattr(torch, config.dtype)
    tokenizer = build_tokenizer(TEXTS)
    sizes, sam_sizes = (llava_config(tokenizer), sam_config()) if tiny else full_size()
    sizes.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    llava = random_llava(sizes, dtype, device, config.quantize.llm)
    with torch.device(device):
        sam = SamModel(sam_sizes)
    if device.type != "meta":
        reset_for_training(sam, torch.Generator().manual_seed(0))
    hold_frozen_in(sam, config)
    ensure_seg_token(llava, tokenizer)
    quantize_loaded(llava, sam, config.quantize, dtype)
    processor, sam_processor = processors(sizes, sam_sizes, tokenizer)
    spec = input_spec(llava, processor, sam, sam_processor, config, ConversationConfig())
    return Parts(llava.eval(), sam.eval(), processor, sam_processor, spec, {})


def random_llava(
    sizes: LlavaConfig, dtype: torch.dtype, device: torch.device, bits: Bits
) -> LlavaForConditionalGeneration:
    """A LLaVA without layers in its language model, to which these are added one by one, already quantised."""
    layers, sizes.text_config.num_hidden_layers = sizes.text_config.num_hidden_layers, 0
    with torch.device(device):
        llava = AutoModelForImageTextToText.from_config(sizes, dtype=dtype)
    language = llava.model.language_model
    for index in range(layers):
        language.layers.append(random_layer(language.config, index, dtype, device, bits))
    for config in (sizes.text_config, llava.config.text_config, language.config):
        config.num_hidden_layers = layers
    return llava


def random_layer(
    config: LlamaConfig, index: int, dtype: torch.dtype, device: torch.device, bits: Bits
) -> LlamaDecoderLayer:
    """A decoder layer; no more than one of its linear layers stands in 16 bits at a time."""
    with torch.device("meta"):
        layer = LlamaDecoderLayer(config, index).to(dtype)
    for name in [name for name, module in layer.named_modules() if isinstance(module, nn.Linear)]:
        linear = layer.get_submodule(name).to_empty(device=device)
        linear.reset_parameters()
        if bits != "none":
            parent, _, own = name.rpartition(".")
            setattr(layer.get_submodule(parent), own, quantized_linear(linear, bits, dtype))
    for module in (layer.input_layernorm, layer.post_attention_layernorm):
        module.to_empty(device=device)
        nn.init.ones_(module.weight)
    return layer


def processors(sizes: LlavaConfig, sam_sizes: SamConfig, tokenizer: Any) -> tuple[LlavaProcessor, SamImageProcessorPil]:
    """What prepares text and pixels; the tokenizer is the tiny one, whose ids lie among the first of any vocabulary."""
    vision, side, square = sizes.vision_config, sizes.vision_config.image_size, sam_sizes.vision_config.image_size
    images = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=vision.patch_size, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=LLAVA_15_TEMPLATE,
    )  # fmt: skip
    return processor, SamImageProcessorPil(size={"longest_edge": square}, pad_size={"height": square, "width": square})
