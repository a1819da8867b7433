"""LoRA and trainable `<SEG>` rows, both through PEFT, and nowhere but where they were asked for.

The `<SEG>` input row gets no gradient where the answer ends with it; emission is learned in the *output* row, so both
rows train. PEFT matches targets by suffix, so that the language model's `q_proj` would also hit CLIP's: targets are
therefore full paths, and it is asserted afterwards that adapters stand there and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from peft import (
    LoraConfig,
    PeftModel,
    TrainableTokensConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, SamModel

from segtune.core.errors import CheckpointError, ConfigError
from segtune.models.config import LoraSettings, Targets, TrainSettings
from segtune.models.quantize import LANGUAGE_MODEL, VISION_TOWER, bits_of, dequantize

PROJECTOR = "model.multi_modal_projector."
"""Where the projector lies in a LLaVA."""


_UNREACHED = ("iou_prediction_head.", *(f"output_hypernetworks_mlps.{number}." for number in (1, 2, 3)))
"""Layers of SAM's mask decoder that no loss reaches: its estimate of the IoU, and what makes the three alternative
masks, where of one prompt one mask is asked for."""


def add_adapters(
    llava: LlavaForConditionalGeneration, lora: LoraSettings, train: TrainSettings, seg_id: int
) -> nn.Module:
    """Puts the declared adapters into a LLaVA, quantised or not.

    Args:
        llava: The model; its modules are wrapped in place.
        lora: The low-rank adapters, used where `train` says `lora` of language model, vision tower or projector.
        train: What trains.
        seg_id: Id of the `<SEG>` token.

    Returns:
        A `PeftModel` around `llava`, or `llava` itself where nothing needs an adapter.

    Raises:
        ConfigError: A target names no layer of its component.
    """
    rows = [seg_id] if train.seg_token and train.embeddings == "frozen" else None
    targets = []
    if train.llm == "lora":
        targets += _targets(llava, LANGUAGE_MODEL, lora.targets, "targets", "language model")
    if train.vision_tower == "lora":
        found = _targets(llava, VISION_TOWER, lora.vision_targets, "vision_targets", "vision tower")
        targets += _before_the_features(llava, found)
    if train.projector == "lora":
        targets += _targets(llava, PROJECTOR, lora.projector_targets, "projector_targets", "projector")
    if targets:
        tokens = {"embed_tokens": rows, "lm_head": rows} if rows else None
        return _wrapped(llava, _lora_config(lora, targets, tokens), targets)
    if rows:
        return _wrapped(
            llava, TrainableTokensConfig(token_indices=rows, target_modules=["embed_tokens", "lm_head"]), []
        )
    return llava


def add_mask_adapters(sam: SamModel, lora: LoraSettings, train: TrainSettings) -> None:
    """Puts the declared adapters into mask encoder and mask decoder, each in a `PeftModel` of its own.

    Args:
        sam: The mask model; its parts are wrapped in place and called as before.
        lora: Which and how; its `mask_targets` and `decoder_targets` count.
        train: What trains; a mask encoder that was dropped has no adapters.

    Raises:
        ConfigError: A target names no layer of its part.
    """
    if train.mask_encoder == "lora" and hasattr(sam, "vision_encoder"):
        targets = _targets(sam.vision_encoder, "", lora.mask_targets, "mask_targets", "mask encoder")
        sam.vision_encoder = _wrapped(sam.vision_encoder, _lora_config(lora, targets, None), targets)
    if train.mask_decoder == "lora":
        targets = _targets(sam.mask_decoder, "", lora.decoder_targets, "decoder_targets", "mask decoder")
        targets = [name for name in targets if not name.startswith(_UNREACHED)]
        sam.mask_decoder = _wrapped(sam.mask_decoder, _lora_config(lora, targets, None), targets)


def _lora_config(lora: LoraSettings, targets: list[str], tokens: dict[str, list[int]] | None) -> LoraConfig:
    return LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets, bias="none",
        use_rslora=lora.rank_stabilised, use_dora=lora.dora, trainable_token_indices=tokens,
    )  # fmt: skip


def _targets(model: nn.Module, place: str, targets: Targets, key: str, component: str) -> list[str]:
    """Full paths of the linear layers below `place` whose name ends in one of `targets`."""
    linears = [n for n, module in model.named_modules() if isinstance(module, nn.Linear) and n.startswith(place)]
    known = sorted({name.rsplit(".", 1)[-1] for name in linears})
    wanted = known if targets == "all" else targets
    unknown = sorted(set(wanted) - set(known))
    if unknown or not wanted:
        raise ConfigError(
            f"no layer of the {component} is called {', '.join(unknown) or 'nothing'}",
            where=f"model.lora.{key}",
            expected=f"all, or some of {', '.join(known)}",
            found=", ".join(wanted) or "an empty list",
        )
    return [name for name in linears if name.rsplit(".", 1)[-1] in wanted]


def _before_the_features(llava: LlavaForConditionalGeneration, targets: list[str]) -> list[str]:
    """The targets in layers of the vision tower whose output is used; behind `vision_feature_layer` nothing learns."""
    layer, count = llava.config.vision_feature_layer, llava.config.vision_config.num_hidden_layers
    layers = [layer] if isinstance(layer, int) else list(layer)
    used = max(index if index >= 0 else count + 1 + index for index in layers)  # hidden states begin before layer 0
    numbers = {name: re.search(r"\.layers\.(\d+)\.", name) for name in targets}
    return [name for name, number in numbers.items() if number is not None and int(number[1]) < used]


def _wrapped(model: nn.Module, config: LoraConfig | TrainableTokensConfig, targets: list[str]) -> nn.Module:
    wrapped = get_peft_model(model, config)  # type: ignore[arg-type]
    inside = "base_model.model."
    adapted = {name.removeprefix(inside) for name, m in wrapped.named_modules() if isinstance(m, LoraLayer)}
    assert adapted == set(targets), f"adapters elsewhere than declared: {sorted(adapted ^ set(targets))[:8]}"
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name or "trainable_tokens" in name:
            assert "lora_" in name or ".embed_tokens." in name or ".lm_head." in name, f"trainable rows in {name}"
            # What AdamW moves needs 32 bits, or small steps are lost. PEFT does it for LoRA and not for rows. It is all
            # that is needed of `prepare_model_for_kbit_training`, which would widen everything that is not quantised.
            parameter.data = parameter.data.to(torch.float32)
    return wrapped


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
    problems += [
        f"{name}: {state[name].dtype} instead of {expected[name].dtype}".replace("torch.", "")
        for name in expected.keys() & state.keys()
        if state[name].dtype != expected[name].dtype
    ]
    if problems:
        raise CheckpointError(
            "the saved adapters do not fit this model", where=where, found="; ".join(sorted(problems)[:20])
        )
    if isinstance(vlm, PeftModel):
        set_peft_model_state_dict(vlm, dict(state))


def merge_adapters(model: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Folds adapters into weights, so that the result can be a base for further training.

    Quantised weights are widened first, so that the folded model computes what the adapted one did; PEFT would round
    the sum to 4 bits again.

    Args:
        model: A VLM or mask encoder, with adapters or without; used up.
        dtype: Of weights that were quantised.

    Returns:
        The model without adapters and without quantised weights.
    """
    if not isinstance(model, PeftModel):
        dequantize(model, dtype)
        return model
    if all(bits_of(module) == "none" for module in model.modules()):
        return model.merge_and_unload()  # type: ignore[operator]
    state, config = adapter_state(model), model.peft_config["default"]
    plain: nn.Module = model.unload()  # type: ignore[operator]
    dequantize(plain, dtype)
    wider = get_peft_model(plain, config)  # type: ignore[arg-type]
    set_peft_model_state_dict(wider, state)
    return wider.merge_and_unload()  # type: ignore[operator]
