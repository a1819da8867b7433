"""The mask side: a transformers SAM as an image encoder and a promptable decoder.

Decoding is written once, here, and used by training, evaluation and prediction. The decoder is prompted by sparse
embeddings alone; the dense prompt is SAM's own "no mask" embedding, as in the reference system.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import SamModel


class SamMaskModel(nn.Module):
    """A SAM whose prompt comes from a language model.

    Args:
        sam: The SAM. Its image encoder may be dropped (`drop_encoder`) where features come from elsewhere.
        estimates_iou: Whether the head that estimates the IoU of a mask has ever been trained. No loss of this program
            trains it, so a SAM that began with random weights gives noise.
    """

    def __init__(self, sam: SamModel, *, estimates_iou: bool = True) -> None:
        super().__init__()
        self.sam, self.estimates_iou = sam, estimates_iou

    @property
    def width(self) -> int:
        """D, the width of the decoder and of the features it looks at."""
        return self.sam.config.mask_decoder_config.hidden_size

    @property
    def image_size(self) -> int:
        """Side of the square that the image encoder sees, in model pixels."""
        return self.sam.config.vision_config.image_size

    @property
    def grid(self) -> int:
        """Side of the feature map the decoder looks at; low-res masks are four times that."""
        return self.sam.config.prompt_encoder_config.image_embedding_size

    def drop_encoder(self) -> None:
        """Frees the image encoder where there still is one (shared features need none)."""
        if hasattr(self.sam, "vision_encoder"):
            del self.sam.vision_encoder

    def encode(self, pixels: Tensor | None) -> Tensor:
        """Runs the image encoder: float `[G, 3, s, s]` (normalised, model pixels) to `[G, D, l/4, l/4]`.

        Raises:
            ValueError: There are no pixels: the batch was prepared for shared features.
        """
        if pixels is None:
            raise ValueError("this model encodes images itself, but the batch has no mask_pixels (shared features?)")
        encoder = self.sam.vision_encoder
        dtype = next(p.dtype for p in encoder.parameters() if p.is_floating_point())  # quantised weights are integers
        return encoder(pixels.to(dtype)).last_hidden_state

    def decode(self, prompts: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Decodes one mask per set of prompts.

        Args:
            prompts: float `[N, K, D]`, the sparse prompt embeddings of each mask.
            features: float `[N, D, l/4, l/4]`, the image features of each mask's picture.

        Returns:
            float32 `[N, l, l]` mask logits in low-res pixels, and float32 `[N]` estimated IoU.
        """
        count, _, height, width = features.shape
        if count == 0:
            side = 4 * self.grid
            return features.new_zeros((0, side, side), dtype=torch.float32), features.new_zeros(0, dtype=torch.float32)
        weights = self.sam.mask_decoder.mask_tokens.weight.dtype
        no_mask = self.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        position = self.sam.get_image_wide_positional_embeddings()
        logits, scores = self.sam.mask_decoder(
            image_embeddings=features.to(weights),
            image_positional_embeddings=position.expand(count, -1, -1, -1).to(weights),
            sparse_prompt_embeddings=prompts[:, None].to(weights),
            dense_prompt_embeddings=no_mask.expand(count, -1, height, width).to(weights),
            multimask_output=False,
        )
        return logits[:, 0, 0].float(), scores[:, 0, 0].float()


def reset_for_training(sam: SamModel, generator: torch.Generator) -> None:
    """Initialises a SAM so that it can train from scratch.

    The transformers default draws the image encoder with a standard deviation of 1e-10, from which training stalls,
    and the decoder with 0.02, which at small widths lets hardly any signal through. This draws linear and convolution
    weights as PyTorch's own `reset_parameters` does. The frequencies of the positional encoding are drawn with a
    standard deviation of 1, as Segment Anything has them; transformers' default of half the encoder's width is so
    high that neighbouring places look unrelated, and nothing that asks *where* can be learned from it.

    Args:
        sam: The model, changed in place.
        generator: Where the seed of the draw comes from.
    """
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in sam.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                module.reset_parameters()
        if sam.vision_encoder.pos_embed is not None:
            nn.init.trunc_normal_(sam.vision_encoder.pos_embed, std=0.02)
        nn.init.normal_(sam.shared_image_embedding.positional_embedding, std=1.0)
