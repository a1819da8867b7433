"""The tiny reasoning model: a real LLaVA and a real SAM of about a million parameters, written in the hub's layout.

Only sizes differ from the 7B: the classes, file names, processors and loading code are the same. Widths are multiples
of 64, so that 4-bit quantisation works on them too. The weights written here are random; the recipe `tiny-base`
pretrains them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from segtune.core.files import share_by_umask
from segtune.core.input_spec import SEG_TOKEN, ConversationConfig
from segtune.models.chat import LLAVA_15_TEMPLATE
from segtune.models.mask_decoder import reset_for_training

IMAGE_SIZE = 128
VOCABULARY = 1024
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<image>", SEG_TOKEN)

# LLaVA-1.5's layout of a turn, with a space after the image where it has a line break: behind that, the first word of
# a question would be another token than the same word further on, and a small model would have to learn it twice.
CHAT_TEMPLATE = LLAVA_15_TEMPLATE.replace("<image>\\n", "<image> ")


def build_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer of `VOCABULARY` entries; no text is ever out of vocabulary.

    The words of the chat template become single entries, as they are few in a large tokenizer: spelled out in bytes
    they are most of a short prompt, and the words that matter are hard to find among them.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"USER: {text} ASSISTANT:" for text in texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", padding_side="right",
        additional_special_tokens=["<image>", SEG_TOKEN], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def llava_config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """The configuration of the tiny LLaVA: a 64-wide CLIP tower with 64 patches, a 128-wide Llama of 3 layers."""
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=192, num_hidden_layers=4, num_attention_heads=4, image_size=IMAGE_SIZE,
        patch_size=16, projection_dim=64,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=512, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=False,
        initializer_range=0.06,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2, vision_feature_select_strategy="default", tie_word_embeddings=False,
    )  # fmt: skip


def sam_config() -> SamConfig:
    """The configuration of the tiny SAM: a 64-wide encoder over 16x16 patches, masks of 64x64 low-res pixels."""
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=64, output_channels=64, num_hidden_layers=4, num_attention_heads=4, image_size=IMAGE_SIZE,
            patch_size=8, window_size=8, global_attn_indexes=[1, 3], mlp_ratio=3.0, num_pos_feats=32,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=64, image_size=IMAGE_SIZE, patch_size=8, mask_input_channels=4
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=64, mlp_dim=128, num_hidden_layers=2, num_attention_heads=4, attention_downsample_rate=1,
            iou_head_depth=2, iou_head_hidden_dim=64,
        ),
    )  # fmt: skip


def write_tiny_base(
    directory: Path, texts: Iterable[str], seed: int, wording: ConversationConfig, seg_hidden: int
) -> None:
    """Writes a random tiny base: both checkpoints and what joins them, as `models.weights.load_parts` reads it.

    Args:
        directory: Made if absent.
        texts: What the tokenizer is trained on.
        seed: Of the weights.
        wording: How queries are asked of this base.
        seg_hidden: Hidden width of the `<SEG>` projection, which whoever starts training draws.
    """
    write_tiny(directory, texts, seed)
    save_file({}, directory / "segmentation.safetensors")
    share_by_umask(directory, directory / "vlm", directory / "mask_model")
    about = {"format": 1, "conversation": wording.model_dump(mode="json"), "seg_hidden": seg_hidden}
    (directory / "segtune.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def write_tiny(directory: Path, texts: Iterable[str], seed: int) -> None:
    """Writes random tiny checkpoints: `vlm/` and `mask_model/`, each as the hub would hold it.

    Args:
        directory: Made if absent.
        texts: What the tokenizer is trained on.
        seed: Of the weights.
    """
    tokenizer = build_tokenizer(texts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llava = LlavaForConditionalGeneration(llava_config(tokenizer))
        sam = SamModel(sam_config())
        reset_for_training(sam, torch.Generator().manual_seed(seed))
    images = CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    )
    processor = LlavaProcessor(
        image_processor=images, tokenizer=tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    llava.save_pretrained(directory / "vlm")
    processor.save_pretrained(directory / "vlm")
    sam.save_pretrained(directory / "mask_model")
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    SamImageProcessorPil(
        size={"longest_edge": IMAGE_SIZE}, pad_size=square, mask_size={"longest_edge": IMAGE_SIZE // 2},
        mask_pad_size={"height": IMAGE_SIZE // 2, "width": IMAGE_SIZE // 2},
    ).save_pretrained(directory / "mask_model")  # fmt: skip
