"""The vision-language model: one adapter around a transformers LLaVA.

It splits what transformers does in one `forward` into its steps (encode images, embed tokens, run the language model),
so that an image is encoded once however many queries ask about it, and so that training, evaluation and generation
share each step. It holds no decoding policy and knows nothing of masks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration


class LlavaAdapter(nn.Module):
    """A LLaVA, with or without PEFT adapters inside, as four steps.

    Args:
        vlm: `LlavaForConditionalGeneration`, or a `PeftModel` around one.
    """

    def __init__(self, vlm: nn.Module) -> None:
        super().__init__()
        self.vlm = vlm

    @property
    def llava(self) -> LlavaForConditionalGeneration:
        """The LLaVA itself, below any PEFT wrapper."""
        return self.vlm.get_base_model() if hasattr(self.vlm, "get_base_model") else self.vlm  # type: ignore[operator,return-value]

    @property
    def width(self) -> int:
        """H, the width of the language model."""
        return self.llava.config.text_config.hidden_size

    @property
    def tower_width(self) -> int:
        """C, the width of the vision tower."""
        return self.llava.config.vision_config.hidden_size

    @property
    def image_size(self) -> int:
        """Side of the square that the vision tower sees, in VLM pixels."""
        return self.llava.config.vision_config.image_size

    @property
    def grid(self) -> int:
        """Patches along one side of the square: P is its square."""
        return self.image_size // self.llava.config.vision_config.patch_size

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embeddings that the language model runs on."""
        return self.llava.get_input_embeddings().weight.dtype

    def tower(self, pixels: Tensor) -> Tensor:
        """Runs the vision tower.

        Args:
            pixels: float `[G, 3, s, s]`, normalised.

        Returns:
            float `[G, P, C]`: the patch features of the configured layer, class token dropped as configured.
        """
        config = self.llava.config
        hidden = self.llava.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        layers = config.vision_feature_layer
        layers = [layers] if isinstance(layers, int) else list(layers)
        chosen = [hidden[layer] for layer in layers]
        if config.vision_feature_select_strategy == "default":
            chosen = [features[:, 1:] for features in chosen]
        return torch.cat(chosen, dim=-1)

    def project(self, features: Tensor) -> Tensor:
        """Projects tower features `[G, P, C]` to image tokens `[G, P, H]`, in the projector's own dtype."""
        projector = self.llava.model.multi_modal_projector
        return projector(features.to(next(projector.parameters()).dtype))

    def embed(self, input_ids: Tensor, image_tokens: Tensor, group_index: Tensor) -> Tensor:
        """Embeds token ids, the image placeholders replaced by the features of each query's image.

        Args:
            input_ids: int64 `[Q, T]`.
            image_tokens: float `[G, P, H]`.
            group_index: int64 `[Q]`.

        Returns:
            float `[Q, T, H]`.

        Raises:
            ValueError: A query has neither P placeholders nor none (a text-only prompt); that is the conversation's
                business.
        """
        placeholder = input_ids == self.llava.config.image_token_id
        counts = placeholder.sum(dim=1)
        seeing = counts > 0
        if not bool((counts[seeing] == image_tokens.shape[1]).all()):
            raise ValueError(
                f"every query needs {image_tokens.shape[1]} image placeholders, one per image feature; "
                f"found {counts.tolist()} (segtune.data.conversation writes them)"
            )
        embeddings = self.llava.get_input_embeddings()(input_ids)
        features = image_tokens[group_index[seeing]].to(embeddings.dtype)
        return embeddings.masked_scatter(placeholder.unsqueeze(-1), features)

    def language(self, embeddings: Tensor, attention_mask: Tensor, position_ids: Tensor, cache: Any = None) -> Tensor:
        """Runs the language model.

        Args:
            embeddings: float `[Q, T, H]`.
            attention_mask: int64 `[Q, past + T]`, 0 on padding; or bool `[Q, 1, T, T]`, what each token attends to.
            position_ids: int64 `[Q, T]`; padding tokens may hold anything.
            cache: A transformers `Cache` that grows in place, or None.

        Returns:
            float `[Q, T, H]`: the last hidden states, after the final norm.
        """
        if attention_mask.ndim == 4:  # added to the scores, which every attention of transformers understands
            hidden = torch.finfo(embeddings.dtype).min
            attention_mask = torch.zeros_like(attention_mask, dtype=embeddings.dtype).masked_fill(
                ~attention_mask, hidden
            )
        return self.llava.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def head(self, states: Tensor) -> Tensor:
        """Next-token logits `[..., V]` of hidden states `[..., H]`."""
        return self.llava.lm_head(states)
