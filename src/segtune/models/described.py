"""What decides a base's answers beside its weights, in four digests that every checkpoint tells.

A base whose configuration or tokenizer was changed has the same weights and is another model. The digests hold what
decides numbers. Paths, versions and notes that transformers writes itself are left out, and so is whatever has its
default: a newer version has settings that an older one does not know.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from transformers import PreTrainedConfig

from segtune.core.input_spec import InputSpec

PARTS = {
    "vlm": "the configuration of its vision-language model (vlm/config.json)",
    "mask_model": "the configuration of its mask model (mask_model/config.json)",
    "input": "how it wants images: their size, mean, deviation and placement, and its tokens for an image",
    "tokenizer": "its tokenizer, with added tokens, normaliser and chat template",
}
"""The parts that are compared, and what each is for people."""

_NOTES = frozenset(
    {
        "architectures", "transformers_version", "dtype", "torch_dtype", "name_or_path", "quantization_config",
        "use_cache", "return_dict", "output_hidden_states", "output_attentions", "id2label", "label2id",
        "problem_type", "initializer_range", "initializer_factor",
    }
)  # fmt: skip
"""Keys of a configuration that decide no number of a trained model, or that `model.dtype` and `quantize` decide."""

_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


def digests(vlm: PreTrainedConfig, mask_model: PreTrainedConfig, processor: Any, spec: InputSpec) -> dict[str, str]:
    """A digest of each of `PARTS`.

    Args:
        vlm: Of the vision-language model.
        mask_model: Of the mask model.
        processor: Of the vision-language model: tokenizer and chat template.
        spec: How input must look. The wording is left out: a checkpoint brings its own.
    """
    wanted = asdict(spec)
    del wanted["conversation"]
    found = {
        "vlm": _settings(vlm), "mask_model": _settings(mask_model), "input": wanted,
        "tokenizer": [_tokenizer(processor.tokenizer), _template(processor)],
    }  # fmt: skip
    return {name: _digest(value) for name, value in found.items()}


def same_settings(one: Any, other: Any) -> bool:
    """Whether two configurations, as plain data, agree in all that both say and that decides numbers.

    Another version of transformers writes its own number into them, and settings that an older one does not know.
    """
    if not isinstance(one, dict) or not isinstance(other, dict):
        return bool(one == other)
    said = (one.keys() & other.keys()) - _NOTES
    return all(same_settings(one[key], other[key]) for key in said if not str(key).startswith("_"))


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _settings(config: PreTrainedConfig) -> dict[str, Any]:
    """The settings of a configuration that have another value than the default of its class, at every depth."""
    usual = _usual(type(config))
    found: dict[str, Any] = {"model_type": config.model_type}
    for key, value in config.to_dict().items():
        part = getattr(config, key, None)
        if key in _NOTES or key.startswith("_"):
            continue
        if isinstance(part, PreTrainedConfig):
            found[key] = _settings(part)
        elif key not in usual or value != usual[key]:
            found[key] = value
    return found


def _usual(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    try:
        return dict(kind().to_dict())
    except Exception:  # a class that cannot be made without arguments has no defaults
        return {}


def _tokenizer(tokenizer: Any) -> Any:
    """What turns text into ids: the tokenizer's own serialisation, or its tables where it has none."""
    special = {name: getattr(tokenizer, name, None) for name in _TOKENS}
    added = {str(index): _fields(token) for index, token in tokenizer.added_tokens_decoder.items()}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [special, added, type(tokenizer).__name__, tokenizer.get_vocab()]
    whole = json.loads(backend.to_str())
    for state in ("version", "truncation", "padding"):  # the last two are as the last call has left them
        whole.pop(state, None)
    model = whole.get("model", {})
    if "merges" in model:  # a text in older files, a pair in newer ones
        model["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return [special, added, _filled(whole)]


def _fields(token: Any) -> list[Any]:
    return [token.content, token.single_word, token.lstrip, token.rstrip, token.normalized, token.special]


def _filled(value: Any) -> Any:
    """Without keys that are null or false: versions differ in whether they write them."""
    if isinstance(value, dict):
        return {key: _filled(child) for key, child in value.items() if child is not None and child is not False}
    return [_filled(child) for child in value] if isinstance(value, list) else value


def _template(processor: Any) -> Any:
    """The chat template that is used, as it is written: what it makes of a turn may depend on the day."""
    template = processor.chat_template
    return template.get("default") if isinstance(template, dict) else template
