"""Another size of the squares in which both image encoders see an image.

What knows where in the square a patch lies is stretched to the new grid once, when the model is built, and the configs
and processors are told: from then on it is a model of that size like any other, saved, loaded and exported as such.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, SamModel
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.models.sam.modeling_sam import SamVisionAttention

from segtune.core.errors import ConfigError

_KEY = "model.img_size"


def resize_inputs(
    llava: LlavaForConditionalGeneration, processor: Any, sam: SamModel, sam_processor: Any, side: int, *, shared: bool
) -> None:
    """Gives both encoders another input size, in place.

    Args:
        llava: Its vision tower must be a CLIP.
        processor: Of the LLaVA; its image processor follows.
        sam: Its image encoder follows, with prompt encoder and mask grid; it is left alone with shared features.
        sam_processor: Of the SAM; follows too.
        side: Of the square of each, in model pixels.
        shared: Whether the mask decoder looks at the vision tower's features.

    Raises:
        ConfigError: The model cannot have this size; sizes that it can have are named.
    """
    _require_possible(llava, sam, side, shared=shared)
    _resize_tower(llava, side)
    images = processor.image_processor
    images.size, images.crop_size = {"shortest_edge": side}, {"height": side, "width": side}
    if shared:
        return
    _resize_sam(sam, side)
    low = 4 * sam.config.prompt_encoder_config.image_embedding_size
    sam_processor.size, sam_processor.pad_size = {"longest_edge": side}, {"height": side, "width": side}
    sam_processor.mask_size, sam_processor.mask_pad_size = {"longest_edge": low}, {"height": low, "width": low}


def _require_possible(llava: LlavaForConditionalGeneration, sam: SamModel, side: int, *, shared: bool) -> None:
    """Refuses a side that does not divide into patches, or that gives more of them than the language model can read."""
    if not any(isinstance(module, CLIPVisionEmbeddings) for module in llava.model.vision_tower.modules()):
        raise ConfigError(
            "the size of this vision tower cannot be changed", where=_KEY, expected="a CLIP",
            found=llava.config.vision_config.model_type, fix=f"set {_KEY}=null",
        )  # fmt: skip
    patches = {"vision tower": llava.config.vision_config.patch_size}
    if not shared:
        patches["mask encoder"] = sam.config.vision_config.patch_size
    step = math.lcm(*patches.values())
    most = llava.config.get_text_config().max_position_embeddings
    largest = (math.isqrt(most - 1) * patches["vision tower"]) // step * step
    if side % step == 0 and step <= side <= largest:
        return
    if side % step:
        of = " and ".join(f"{size} of the {part}" for part, size in patches.items())
        expected = f"a multiple of {step}, so that the patches fit (side {of})"
    else:
        expected = f"{step} to {largest}: the language model reads at most {most:,} tokens"
    near = sorted({min(max(step * n, step), largest) for n in (side // step, side // step + 1)})
    raise ConfigError(
        "the encoders cannot have this size", where=_KEY, expected=expected, found=f"{side}",
        fix="set " + " or ".join(f"{_KEY}={size}" for size in near),
    )  # fmt: skip


def _resize_tower(llava: LlavaForConditionalGeneration, side: int) -> None:
    """Stretches the table of positions as transformers does it (bicubic), but once and not at every forward."""
    tower = llava.model.vision_tower
    embeddings = next(module for module in tower.modules() if isinstance(module, CLIPVisionEmbeddings))
    table = embeddings.position_embedding
    patches = (side // embeddings.patch_size) ** 2
    if side != embeddings.image_size:
        # The computation wants 32 bits; its first argument counts only by its shape.
        like, dtype, trains = (
            table.weight.new_empty(1, patches + 1, embeddings.embed_dim),
            table.weight.dtype,
            table.weight.requires_grad,
        )
        with torch.no_grad():
            table.weight.data = table.weight.data.float()
            stretched = embeddings.interpolate_pos_encoding(like, side, side)[0].to(dtype)
        table.weight = nn.Parameter(stretched.contiguous(), requires_grad=trains)
        table.num_embeddings = patches + 1
        embeddings.position_ids = torch.arange(patches + 1, device=stretched.device).expand((1, -1))
        embeddings.image_size, embeddings.num_patches, embeddings.num_positions = side, patches, patches + 1
    for config in (llava.config.vision_config, tower.config, embeddings.config):
        config.image_size = side


def _resize_sam(sam: SamModel, side: int) -> None:
    """Stretches the absolute positions, and the relative ones of layers that see the whole image, to the new grid."""
    encoder, config = sam.vision_encoder, sam.config.vision_config
    grid = side // config.patch_size
    if side != config.image_size:
        with torch.no_grad():
            if encoder.pos_embed is not None:
                places = F.interpolate(
                    encoder.pos_embed.permute(0, 3, 1, 2).float(),
                    size=(grid, grid),
                    mode="bicubic",
                    align_corners=False,
                )
                encoder.pos_embed = _like(encoder.pos_embed, places.permute(0, 2, 3, 1))
            for index, layer in enumerate(encoder.layers):
                attention = layer.attn
                if index in config.global_attn_indexes and getattr(attention, "use_rel_pos", False):
                    _stretch_relative(attention, 2 * grid - 1)
    for one in (config, encoder.config, sam.config.prompt_encoder_config):
        one.image_size = side
    sam.config.prompt_encoder_config.image_embedding_size = grid
    encoder.image_size, encoder.patch_embed.image_size = side, (side, side)
    encoder.patch_embed.num_patches = grid**2
    sam.prompt_encoder.image_embedding_size, sam.prompt_encoder.input_image_size = (grid, grid), side


def _stretch_relative(attention: SamVisionAttention, length: int) -> None:
    """Relative positions `[2 g - 1, c]` on another grid, linearly, as SAM itself reads a table of another length."""
    for name in ("rel_pos_h", "rel_pos_w"):
        table = getattr(attention, name)
        stretched = F.interpolate(table.T[None].float(), size=length, mode="linear")[0].T
        setattr(attention, name, _like(table, stretched))


def _like(old: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(old.dtype).contiguous(), requires_grad=old.requires_grad)
