"""The reasoning segmenter: a question about an image becomes words and masks.

The forward is the same in training, evaluation and prediction; whoever wants a loss computes it from the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from segtune.core.types import Batch, Generation, ImageFeatures, Images, Masks, SegmentationOutput
from segtune.models.bridge import Connector, QueryTokens, SegProjection
from segtune.models.mask_decoder import SamMaskModel
from segtune.models.packing import pack
from segtune.models.quantize import follow_device
from segtune.models.vlm import LlavaAdapter
from segtune.ops.tokens import SegPositions, answer_positions, seg_positions


class ReasoningSegmenter(nn.Module):
    """Vision-language model, `<SEG>` projection and mask decoder (LISA, arXiv 2308.00692).

    Args:
        vlm: The vision-language model.
        mask_model: The mask encoder and decoder.
        seg_projection: From hidden states to prompts.
        connector: From tower features to mask features; None where the mask model encodes the image itself.
        seg_id: Id of the `<SEG>` token.
        eos_id: Id of the token that ends an answer.

    Attributes:
        autocast_dtype: In which validation, evaluation and prediction multiply, as training did; None for float32.
    """

    autocast_dtype: torch.dtype | None = None

    def __init__(
        self,
        vlm: LlavaAdapter,
        mask_model: SamMaskModel,
        seg_projection: SegProjection | QueryTokens,
        connector: Connector | None,
        *,
        seg_id: int,
        eos_id: int,
    ) -> None:
        super().__init__()
        self.vlm, self.mask_model = vlm, mask_model
        self.seg_projection, self.connector = seg_projection, connector
        self.seg_id, self.eos_id = seg_id, eos_id

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        follow_device(self)
        return self

    def scoring_autocast(self) -> torch.autocast:
        """The autocast of validation, evaluation and prediction; of no effect where there is none, or fp16 on a CPU."""
        device, dtype = self.vlm.llava.device.type, self.autocast_dtype
        enabled = dtype is not None and not (dtype == torch.float16 and device == "cpu")
        return torch.autocast(device, dtype=dtype if enabled else None, enabled=enabled)

    def encode_images(self, images: Images) -> ImageFeatures:
        """Encodes every picture of a batch exactly once.

        Args:
            images: G pictures.

        Returns:
            Image tokens `[G, P, H]` for the language model and features `[G, D, l/4, l/4]` for the mask decoder.
        """
        tower = self.vlm.tower(images.vlm_pixels.to(self.vlm.dtype))
        if self.connector is not None:
            mask_features = self.connector(tower)
        else:
            mask_features = self.mask_model.encode(images.mask_pixels)
        return ImageFeatures(tokens=self.vlm.project(tower), mask_features=mask_features)

    def forward(self, batch: Batch) -> SegmentationOutput:
        """Reads questions *with* their answers and decodes one mask per `<SEG>` in an answer.

        1. Encode each picture once. 2. Put its tokens in the place of the placeholders and run the language model,
        all queries of a picture behind one shared prefix. 3. Take the logits that predict answer tokens. 4. Take the
        states that predict `<SEG>`, turn them into prompts and decode these over the features of their picture.

        Args:
            batch: Q queries about G pictures.

        Returns:
            Answer logits `[A, V]` and N masks.
        """
        features = self.encode_images(batch.images)
        embeddings = self.vlm.embed(batch.input_ids, features.tokens, batch.group_index)
        packing = pack(batch.input_ids, batch.attention_mask, batch.group_index)
        packed = embeddings[packing.query, packing.token]
        states = self.vlm.language(packed, packing.visible, packing.position_ids)
        states = states[batch.group_index[:, None], packing.slot]
        answer_logits = self.vlm.head(states[answer_positions(batch.labels)])
        asked = seg_positions(batch.labels, self.seg_id)
        masks = self.decode_masks(states, batch.attention_mask.bool(), asked, batch.group_index, features)
        return SegmentationOutput(answer_logits=answer_logits, masks=masks)

    def decode_masks(
        self, states: Tensor, real: Tensor, asked: SegPositions, group_index: Tensor, features: ImageFeatures
    ) -> Masks:
        """Decodes masks; the one place where that happens.

        Args:
            states: float `[Q, T, H]`, the hidden states.
            real: bool `[Q, T]`, False on padding.
            asked: The N places whose state predicts a `<SEG>`.
            group_index: int64 `[Q]`, the picture of each query.
            features: The encoded pictures.

        Returns:
            N masks in low-res pixels.
        """
        prompts = self.seg_projection(states, real, asked.query, asked.position)
        logits, scores = self.mask_model.decode(prompts, features.mask_features[group_index[asked.query]])
        return Masks(logits=logits, scores=scores, query=asked.query)

    @torch.no_grad()
    def generate(self, batch: Batch, *, max_new_tokens: int = 32) -> Generation:
        """Lets the model answer by itself, greedily, all queries of a batch together.

        The prompts are padded on the *left*, so that every answer grows at the same place; the hidden states met on
        the way prompt the mask decoder, so nothing is computed twice.

        Args:
            batch: Its prompts are used and its answers are not looked at.
            max_new_tokens: Where an answer that does not end is cut.

        Returns:
            Token ids and masks; texts are left to whoever holds the tokenizer (`texts` is empty).
        """
        features = self.encode_images(batch.images)
        input_ids, attention_mask = _left_aligned_prompts(batch)
        embeddings = self.vlm.embed(input_ids, features.tokens, batch.group_index)
        positions = (attention_mask.cumsum(dim=1) - 1).clamp_min(0)
        cache = DynamicCache(config=self.vlm.llava.config.text_config)
        columns = [self.vlm.language(embeddings, attention_mask, positions, cache)]
        position = positions[:, -1]
        answers: list[list[int]] = [[] for _ in range(len(input_ids))]
        running = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        asked: list[Tensor] = []
        for _ in range(max_new_tokens):
            token = self.vlm.head(columns[-1][:, -1]).argmax(dim=-1)
            queries = torch.nonzero(running & (token == self.seg_id))[:, 0]
            asked.append(torch.stack([queries, torch.full_like(queries, attention_mask.shape[1] - 1)]))
            for query in torch.nonzero(running)[:, 0].tolist():
                answers[query].append(int(token[query]))
            running = running & (token != self.eos_id)
            if not bool(running.any()):
                break
            position = position + 1
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(token), 1)], dim=1)
            embedded = self.vlm.llava.get_input_embeddings()(token[:, None])
            columns.append(self.vlm.language(embedded, attention_mask, position[:, None], cache))
        found = torch.cat(asked, dim=1)
        places = SegPositions(*found[:, torch.argsort(found[0], stable=True)])
        states = torch.cat(columns, dim=1)
        masks = self.decode_masks(states, attention_mask.bool(), places, batch.group_index, features)
        return Generation(texts=(), token_ids=tuple(map(tuple, answers)), masks=masks)


def _left_aligned_prompts(batch: Batch) -> tuple[Tensor, Tensor]:
    """The prompts of a right-padded batch, without answers, padded on the left: ids and attention mask `[Q, T']`."""
    longest = int(batch.prompt_lengths.max())
    offsets = batch.prompt_lengths - longest
    index = torch.arange(longest, device=batch.input_ids.device)[None] + offsets[:, None]
    attention_mask = (index >= 0).to(batch.attention_mask.dtype)
    input_ids = batch.input_ids.gather(1, index.clamp_min(0))
    # What stands left of a prompt is masked out; id 0 keeps it from looking like an image placeholder.
    return torch.where(index >= 0, input_ids, torch.zeros_like(input_ids)), attention_mask
