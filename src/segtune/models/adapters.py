"""LoRA and trainable `<SEG>` rows, both through PEFT, and nowhere but in the language model.

The `<SEG>` input row gets no gradient where the answer ends with it; emission is learned in the *output* row, so both
rows train. PEFT matches targets by suffix, which would also hit CLIP's `q_proj`: targets are therefore anchored to the
language model's path, and it is asserted afterwards that no adapter stands elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from peft import (
    LoraConfig,
    PeftModel,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from segtune.core.errors import CheckpointError, ConfigError
from segtune.models.config import LoraSettings, TrainSettings


def add_adapters(
    llava: LlavaForConditionalGeneration, lora: LoraSettings, train: TrainSettings, seg_id: int
) -> nn.Module:
    """Puts the declared adapters into a LLaVA.

    Args:
        llava: The model; its modules are wrapped in place.
        lora: The low-rank adapters, used where `train.llm` is `lora`.
        train: What trains.
        seg_id: Id of the `<SEG>` token.

    Returns:
        A `PeftModel` around `llava`, or `llava` itself where nothing needs an adapter.

    Raises:
        ConfigError: A target names no projection of this language model.
    """
    rows = [seg_id] if train.seg_token and train.embeddings == "frozen" else None
    if train.llm == "lora":
        targets = _language_targets(llava, lora.targets)
        tokens = {"embed_tokens": rows, "lm_head": rows} if rows else None
        config = LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, bias="none",
            trainable_token_indices=tokens,
        )  # fmt: skip
    elif rows:
        config = TrainableTokensConfig(token_indices=rows, target_modules=["embed_tokens", "lm_head"])
    else:
        return llava
    wrapped = get_peft_model(llava, config)
    _assert_only_in_language_model(wrapped)
    return wrapped


def _language_targets(llava: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Full paths of the language model's projections that end in one of `targets`."""
    linears = [
        name
        for name, module in llava.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("model.language_model.")
    ]
    chosen = [name for name in linears if name.rsplit(".", 1)[-1] in targets]
    unknown = sorted(set(targets) - {name.rsplit(".", 1)[-1] for name in chosen})
    if unknown:
        raise ConfigError(
            f"no projection of the language model is called {', '.join(unknown)}",
            where="model.lora.targets",
            expected="some of " + ", ".join(sorted({name.rsplit(".", 1)[-1] for name in linears})),
            found=", ".join(targets),
        )
    return chosen


def _assert_only_in_language_model(model: nn.Module) -> None:
    allowed = re.compile(r"(^|\.)(language_model\.|lm_head\.)")
    outside = [
        name
        for name, _ in model.named_parameters()
        if ("lora_" in name or "trainable_tokens" in name) and not allowed.search(name)
    ]
    assert not outside, f"adapters outside the language model: {outside}"


def adapter_state(vlm: nn.Module) -> dict[str, Tensor]:
    """The adapters of a VLM in PEFT's own naming; empty where there are none."""
    if not isinstance(vlm, PeftModel):
        return {}
    return dict(get_peft_model_state_dict(vlm, save_embedding_layers=False))


def load_adapter_state(vlm: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Puts saved adapters back, strictly.

    Args:
        vlm: The VLM with freshly made adapters of the same kind.
        state: What `adapter_state` returned.
        where: The file, for the message.

    Raises:
        CheckpointError: Names or shapes differ from what this model has; both lists are given.
    """
    expected = adapter_state(vlm)
    problems = [f"missing {name}" for name in expected.keys() - state.keys()]
    problems += [f"unexpected {name}" for name in state.keys() - expected.keys()]
    problems += [
        f"{name}: shape {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if problems:
        raise CheckpointError(
            "the saved adapters do not fit this model", where=where, found="; ".join(sorted(problems)[:20])
        )
    if isinstance(vlm, PeftModel):
        set_peft_model_state_dict(vlm, dict(state))


def merge_adapters(vlm: nn.Module) -> LlavaForConditionalGeneration:
    """Folds the adapters into the weights, so that the result can be a base for further training."""
    return vlm.merge_and_unload() if isinstance(vlm, PeftModel) else vlm  # type: ignore[operator,return-value]
