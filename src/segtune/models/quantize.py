"""Frozen weights in 4 bits (NF4, double quantisation: QLoRA, arXiv 2305.14314) or 8 bits (LLM.int8, 2208.07339).

bitsandbytes does the arithmetic. A language model is quantised while it is read, tensor by tensor, so that a 7B never
stands in memory whole; one configuration of bitsandbytes cannot mix widths, so the vision tower and the mask encoder,
which are small, are quantised after they are loaded. It always happens on the CPU: a model then has the same bytes,
and a checkpoint the same fingerprint, on every machine.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from segtune.core.errors import ConfigError
from segtune.models.config import QUANTIZED, Bits, QuantizeSettings

BLOCK, OUTER_BLOCK = 64, 256
"""Weights that share a scale in NF4, and scales that share one in turn."""

LANGUAGE_MODEL, VISION_TOWER, MASK_ENCODER = "model.language_model.", "model.vision_tower.", "vision_encoder."
"""Where the components lie in a LLaVA and in a SAM."""

_BITS_BY_CLASS: dict[str, Bits] = {"Params4bit": "4bit", "Int8Params": "8bit"}

# What transformers puts on a quantised model; it would follow the model into files where nothing is quantised.
_MARKS = ("hf_quantizer", "is_quantized", "quantization_method", "is_loaded_in_4bit", "is_loaded_in_8bit")


def require_bitsandbytes(settings: QuantizeSettings) -> None:
    """Makes sure, before anything is loaded, that what quantises is there.

    Args:
        settings: What should be quantised.

    Raises:
        ConfigError: Something should be, and bitsandbytes is not installed.
    """
    wanted = [f"model.quantize.{part}={bits}" for part in QUANTIZED if (bits := getattr(settings, part)) != "none"]
    if not wanted:
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "quantised weights need bitsandbytes, which is not installed", where=", ".join(wanted),
            expected="the extra `quant` of segtune", found="no module named bitsandbytes",
            fix='pip install "segtune[quant]", in a clone pip install -c constraints.txt -e ".[quant]"; '
            "or set these keys to none",
        )  # fmt: skip


def reading_options(bits: Bits, compute: torch.dtype) -> dict[str, Any]:
    """Arguments for `LlavaForConditionalGeneration.from_pretrained` that quantise its language model as it is read.

    Args:
        bits: Of the language model.
        compute: The dtype that 4-bit weights are multiplied in; bitsandbytes would silently take the slow float32.
    """
    if bits == "none":
        return {}
    # Full paths: a bare "vision_tower" protects nothing. And any list replaces the default, which held the LM head.
    spared = [VISION_TOWER.rstrip("."), "model.multi_modal_projector", "lm_head"]
    return {"quantization_config": _configuration(bits, compute, spared), "device_map": {"": "cpu"}}


def _configuration(bits: Bits, compute: torch.dtype, spared: list[str]) -> BitsAndBytesConfig:
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=spared)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=spared,
    )  # fmt: skip


def quantize_loaded(llava: nn.Module, sam: nn.Module, settings: QuantizeSettings, compute: torch.dtype) -> None:
    """Quantises what is not quantised yet, and makes sure that nothing else is.

    Args:
        llava: The VLM, on the CPU (or on the meta device, where only the layers change); changed in place.
        sam: The mask model, likewise; its encoder may be gone.
        settings: How many bits each component has.
        compute: The dtype that 4-bit weights are multiplied in.
    """
    for model, place, bits in (
        (llava, LANGUAGE_MODEL, settings.llm),
        (llava, VISION_TOWER, settings.vision_tower),
        (sam, MASK_ENCODER, settings.mask_encoder),
    ):
        if bits == "none":
            continue
        for name, module in list(model.named_modules()):
            if name.startswith(place) and isinstance(module, nn.Linear) and bits_of(module) == "none":
                parent, _, own = name.rpartition(".")
                setattr(model.get_submodule(parent), own, quantized_linear(module, bits, compute))
        # PEFT asks the model, not the layers, whether it should look for quantised layers
        setattr(model, f"is_loaded_in_{bits}", True)
    for module in (*llava.modules(), *sam.modules()):
        if bits_of(module) == "4bit":
            # On such a CPU the first evaluation would repack the weights, and from then on no gradient passes them.
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    _assert_as_declared(llava, sam, settings)


def quantized_linear(linear: nn.Linear, bits: Bits, compute: torch.dtype) -> nn.Linear:
    """A quantised copy of one linear layer, on the device of its weight.

    Args:
        linear: Weight `[out, in]`, of any floating type; only read.
        bits: `4bit` or `8bit`.
        compute: The dtype that 4-bit weights are multiplied in.
    """
    import bitsandbytes as bnb  # an extra, and slow to import: only where something is quantised

    sizes = (linear.in_features, linear.out_features, linear.bias is not None)
    weight = linear.weight.data
    new: nn.Linear
    if bits == "8bit":
        new = bnb.nn.Linear8bitLt(*sizes, has_fp16_weights=False, threshold=6.0, device="meta")
        new.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        new.forward = partial(_by_rows, new.forward)  # type: ignore[method-assign]
    else:
        new = bnb.nn.Linear4bit(
            *sizes, compute_dtype=compute, compress_statistics=True, quant_type="nf4", device="meta"
        )
        new.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=new
        )
    new.bias = linear.bias
    new.weight = new.weight.to(weight.device)  # what quantises, on every device but meta
    return new.train(linear.training)


def _by_rows(forward: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Calls an 8-bit layer with a matrix: in evaluation it fails on the `[B, h, w, C]` of SAM's encoder."""
    return forward(states.flatten(0, -2)).unflatten(0, states.shape[:-1])


def bits_of(module: nn.Module) -> Bits:
    """How many bits a layer's own weight has; `none` where it is not quantised (or is that of a layer inside)."""
    weight = module._parameters.get("weight")
    return _BITS_BY_CLASS.get(type(weight).__name__, "none")


def follow_device(model: nn.Module) -> None:
    """Takes along what an 8-bit layer keeps beside its weight, after PyTorch has moved the weight.

    bitsandbytes moves it only when the layer itself is told to move, and would compute with what stayed behind.
    """
    for module in model.modules():
        if bits_of(module) == "8bit":
            weight: Any = module.weight
            state: Any = module.state
            for keeper in (weight, state):  # the first before the first forward, the second after it
                if keeper.CB is not None:
                    keeper.CB, keeper.SCB = weight.data, keeper.SCB.to(weight.device)


def _assert_as_declared(llava: nn.Module, sam: nn.Module, settings: QuantizeSettings) -> None:
    wrong = []
    for model, parts in (
        (llava, {LANGUAGE_MODEL: settings.llm, VISION_TOWER: settings.vision_tower}),
        (sam, {MASK_ENCODER: settings.mask_encoder}),
    ):
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                wanted = next((bits for place, bits in parts.items() if name.startswith(place)), "none")
                if bits_of(module) != wanted:
                    wrong.append(f"{name} is {bits_of(module)} instead of {wanted}")
    assert not wrong, "quantised otherwise than declared: " + "; ".join(wrong[:8])


def dequantize(model: nn.Module, dtype: torch.dtype) -> None:
    """Puts ordinary linear layers in the place of quantised ones: what the quantised weights stand for, no more.

    Args:
        model: Without adapters; changed in place.
        dtype: Of the new weights.
    """
    for name, module in list(model.named_modules()):
        if bits_of(module) == "none":
            continue
        parent, _, own = name.rpartition(".")
        plain = nn.Linear(module.in_features, module.out_features, module.bias is not None, device="meta")  # type: ignore[arg-type]
        plain.weight = nn.Parameter(_widened(module).to(dtype), requires_grad=False)
        plain.bias = module.bias  # type: ignore[assignment]
        setattr(model.get_submodule(parent), own, plain.train(module.training))
    for mark in _MARKS:
        model.__dict__.pop(mark, None)
    config: Any = getattr(model, "config", None)
    if hasattr(config, "quantization_config"):
        del config.quantization_config


def _widened(module: nn.Module) -> Tensor:
    import bitsandbytes.functional as bnb

    weight: Any = module.weight
    if bits_of(module) == "4bit":
        return bnb.dequantize_4bit(weight.data, weight.quant_state)
    state: Any = module.state  # after the first forward the scales have moved here
    scales = weight.SCB if state.SCB is None else state.SCB
    return bnb.int8_vectorwise_dequant(weight.data, scales.to(weight.device))


def logical_size(parameter: Tensor) -> int:
    """How many weights a parameter stands for; two of 4 bits lie in one element."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def stored_bytes(parameter: Tensor) -> int:
    """What a parameter takes in memory, in bytes, with its scales.

    The code tables of NF4, about a kilobyte a layer, are left out. On the meta device it is what it will take.
    """
    count, kind = logical_size(parameter), type(parameter).__name__
    if kind == "Params4bit":
        blocks = math.ceil(count / BLOCK)  # a scale of one byte each, and four bytes for 256 of those
        return math.ceil(count / 2) + blocks + 4 * math.ceil(blocks / OUTER_BLOCK)
    if kind == "Int8Params":
        return count + 4 * parameter.shape[0]
    return count * parameter.element_size()
