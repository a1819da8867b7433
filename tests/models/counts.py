"""How many parameters a model part has, by arithmetic on its published dimensions; no model is looked at."""

from __future__ import annotations

from tests.factory import LLAVA, SAM, SEG_HIDDEN


def linear(inputs: int, outputs: int) -> int:
    """A linear layer with bias."""
    return inputs * outputs + outputs


def norm(width: int) -> int:
    """A layer norm: scale and shift."""
    return 2 * width


def clip_tower(width: int, inner: int, layers: int, side: int, patch: int) -> int:
    """CLIP's vision tower: class token, patches without bias, positions, two outer norms, transformer layers."""
    layer = 4 * linear(width, width) + 2 * norm(width) + linear(width, inner) + linear(inner, width)
    positions = (side // patch) ** 2 + 1
    return width + 3 * patch * patch * width + positions * width + 2 * norm(width) + layers * layer


def projector(tower: int, width: int) -> int:
    """LLaVA-1.5's two-layer projector."""
    return linear(tower, width) + linear(width, width)


def llama(width: int, inner: int, layers: int) -> int:
    """Llama's layers and final norm, without embeddings; no biases, as many key as query heads."""
    return layers * (4 * width * width + 3 * width * inner + 2 * width) + width


def lora(width: int, rank: int, layers: int, targets: int) -> int:
    """Adapters on square projections."""
    return layers * targets * 2 * rank * width


def nf4(weights: int) -> int:
    """Bytes of weights in NF4: half a byte each, one for the scale of 64, four for the scale of 256 scales."""
    return weights // 2 + weights // 64 + 4 * -(-(weights // 64) // 256)


def query_tokens(width: int, prompt: int, count: int, hidden: int) -> int:
    """K tokens, attention over states of the language model at the prompt's width, a norm, Linear, ReLU, Linear."""
    attention = prompt * prompt + 2 * width * prompt + 3 * prompt + linear(prompt, prompt)
    return count * prompt + attention + norm(prompt) + linear(prompt, hidden) + linear(hidden, prompt)


def seg_projection(width: int, hidden: int, prompt: int) -> int:
    """Linear, ReLU, Linear."""
    return linear(width, hidden) + linear(hidden, prompt)


def connector(tower: int, width: int) -> int:
    """1x1 and 3x3 convolution without bias, a group norm after each."""
    return tower * width + norm(width) + 9 * width * width + norm(width)


def sam_encoder(
    width: int, inner: int, layers: int, heads: int, side: int, patch: int, window: int, out: int, whole: int
) -> int:
    """SAM's image encoder; `whole` of its layers attend to the whole image, the others within windows."""
    grid, head = side // patch, width // heads
    layer = 2 * norm(width) + linear(width, 3 * width) + linear(width, width)
    layer += linear(width, inner) + linear(inner, width)
    relative = whole * 2 * (2 * grid - 1) * head + (layers - whole) * 2 * (2 * window - 1) * head
    neck = width * out + norm(out) + 9 * out * out + norm(out)
    return grid * grid * width + linear(3 * patch * patch, width) + layers * layer + relative + neck


def sam_prompt_encoder(width: int, mask_channels: int, frequencies: int) -> int:
    """SAM's prompt encoder with the positional frequencies that it shares: points, no mask, no point, masks."""
    small = mask_channels // 4
    masks = 4 * small + small + norm(small) + 4 * small * mask_channels + mask_channels + norm(mask_channels)
    masks += linear(mask_channels, width)
    return 6 * width + masks + 2 * frequencies


def sam_mask_decoder(width: int, mlp: int, layers: int, final: int, iou_depth: int, iou_hidden: int) -> int:
    """SAM's mask decoder; cross-attention runs at half width, the last attention at `width / final`."""

    def attention(inner: int) -> int:
        return 3 * linear(width, inner) + linear(inner, width)

    layer = attention(width) + 2 * attention(width // 2) + linear(width, mlp) + linear(mlp, width) + 4 * norm(width)
    upscale = 4 * width * (width // 4) + width // 4 + norm(width // 4) + 4 * (width // 4) * (width // 8) + width // 8
    hyper = 2 * linear(width, width) + linear(width, width // 8)
    iou = linear(width, iou_hidden) + (iou_depth - 2) * linear(iou_hidden, iou_hidden) + linear(iou_hidden, 4)
    tokens = 5 * width
    return tokens + layers * layer + attention(width // final) + norm(width) + upscale + 4 * hyper + iou


def _tiny() -> dict[str, int]:
    tower, text = LLAVA.vision_config, LLAVA.text_config
    encoder, prompts, decoder = SAM.vision_config, SAM.prompt_encoder_config, SAM.mask_decoder_config
    return {
        "lora": lora(text.hidden_size, 8, text.num_hidden_layers, 2),
        "seg_token": 2 * text.hidden_size,
        "vision_tower": clip_tower(
            tower.hidden_size, tower.intermediate_size, tower.num_hidden_layers, tower.image_size, tower.patch_size
        ),
        "projector": projector(tower.hidden_size, text.hidden_size),
        "embeddings": 2 * text.vocab_size * text.hidden_size,
        "llm": llama(text.hidden_size, text.intermediate_size, text.num_hidden_layers),
        "seg_projection": seg_projection(text.hidden_size, SEG_HIDDEN, decoder.hidden_size),
        "connector": connector(tower.hidden_size, decoder.hidden_size),
        "mask_encoder": sam_encoder(
            encoder.hidden_size, int(encoder.hidden_size * encoder.mlp_ratio), encoder.num_hidden_layers,
            encoder.num_attention_heads, encoder.image_size, encoder.patch_size, encoder.window_size,
            encoder.output_channels, len(encoder.global_attn_indexes),
        ),
        "prompt_encoder": sam_prompt_encoder(prompts.hidden_size, prompts.mask_input_channels, encoder.num_pos_feats),
        "mask_decoder": sam_mask_decoder(
            decoder.hidden_size, decoder.mlp_dim, decoder.num_hidden_layers, decoder.attention_downsample_rate,
            decoder.iou_head_depth, decoder.iou_head_hidden_dim,
        ),
    }  # fmt: skip


TINY = _tiny()

# LLaVA-1.5-7B and SAM ViT-B, rank 8 on queries and values.
FULL = {
    "lora": lora(4096, 8, 32, 2),
    "seg_token": 2 * 4096,
    "vision_tower": clip_tower(1024, 4096, 24, 336, 14),
    "projector": projector(1024, 4096),
    "embeddings": 2 * 32064 * 4096,
    "llm": llama(4096, 11008, 32),
    "seg_projection": seg_projection(4096, 4096, 256),
    "connector": connector(1024, 256),
    "mask_encoder": sam_encoder(768, 3072, 12, 12, 1024, 16, 14, 256, 4),
    "prompt_encoder": sam_prompt_encoder(256, 16, 128),
    "mask_decoder": sam_mask_decoder(256, 2048, 2, 2, 3, 256),
}
