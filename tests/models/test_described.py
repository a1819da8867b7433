"""What decides a base's answers beside its weights is the same however the base is loaded, and changes with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.factory import SEG_HIDDEN, TEXTS, tiny_base
from tests.models.hub_layout import write_llava, write_sam
from tests.models.test_assembled import _write_clip, _write_llama

from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.loading import build, export_base, load
from segtune.models.config import ModelConfig, TrainSettings
from segtune.models.described import PARTS, digests
from segtune.models.weights import Parts, load_parts


def _of(parts: Parts) -> dict[str, str]:
    return digests(parts.llava.config, parts.sam.config, parts.processor, parts.input_spec)


def _read(base: Path, **changes: Any) -> dict[str, str]:
    return _of(load_parts(ModelConfig(base=str(base), seg_hidden=SEG_HIDDEN, **changes)))


def _base(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base(), tmp_path / "copy"))


def _edited(file: Path, *keys: str | int, value: Any) -> None:
    document = json.loads(file.read_text())
    part = document
    for key in keys[:-1]:
        part = part[key]
    assert part.get(keys[-1]) != value
    part[keys[-1]] = value
    file.write_text(json.dumps(document))


CHANGES: dict[str, tuple[str, tuple[str | int, ...], Any, set[str]]] = {
    "layer": ("vlm/config.json", ("vision_feature_layer",), -1, {"vlm"}),
    "activation": ("vlm/config.json", ("vision_config", "hidden_act"), "gelu", {"vlm"}),
    "rope": ("vlm/config.json", ("text_config", "rope_parameters", "rope_theta"), 5e5, {"vlm"}),
    "epsilon": ("vlm/config.json", ("text_config", "rms_norm_eps"), 1e-3, {"vlm"}),
    "room": ("vlm/config.json", ("text_config", "max_position_embeddings"), 400, {"vlm", "input"}),
    "mask decoder": ("mask_model/config.json", ("mask_decoder_config", "hidden_act"), "gelu", {"mask_model"}),
    "mean": ("vlm/processor_config.json", ("image_processor", "image_mean"), [0.1, 0.2, 0.3], {"input"}),
    "mask deviation": ("mask_model/preprocessor_config.json", ("image_std",), [0.1, 0.2, 0.3], {"input"}),
    "resample": ("vlm/processor_config.json", ("image_processor", "resample"), 2, {"input"}),
    "normaliser": ("vlm/tokenizer.json", ("normalizer",), {"type": "Lowercase"}, {"tokenizer"}),
    "added token": ("vlm/tokenizer.json", ("added_tokens", 3, "lstrip"), True, {"tokenizer"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_answers_changes_its_digest_and_no_other(change: str, tmp_path: Path) -> None:
    file, keys, value, parts = CHANGES[change]
    before, base = _read(tiny_base()), _base(tmp_path)
    assert before.keys() == PARTS.keys()
    _edited(base / file, *keys, value=value)
    after = _read(base)
    assert {part for part in PARTS if before[part] != after[part]} == parts


def _vocabulary(base: Path) -> None:
    file = base / "vlm/tokenizer.json"
    document = json.loads(file.read_text())
    words = document["model"]["vocab"]
    words["!"], words["?"] = words["?"], words["!"]
    file.write_text(json.dumps(document))


def _template(base: Path) -> None:
    file = base / "vlm/chat_template.jinja"
    file.write_text(file.read_text().replace("ASSISTANT", "PERSON"))


@pytest.mark.parametrize("change", [_vocabulary, _template])
def test_words_and_template_are_the_tokenizers(change: Callable[[Path], None], tmp_path: Path) -> None:
    before, base = _read(tiny_base()), _base(tmp_path)
    change(base)
    after = _read(base)
    assert {part for part in PARTS if before[part] != after[part]} == {"tokenizer"}


NOTES = {
    "architectures": ["Other"], "transformers_version": "4.0.0", "dtype": "bfloat16", "torch_dtype": "bfloat16",
    "_name_or_path": "/somewhere/else", "use_cache": False, "vision_feature_select_strategy": "default",
}  # fmt: skip


def test_notes_places_and_defaults_that_are_written_out_change_nothing(tmp_path: Path) -> None:
    before, base = _read(tiny_base()), _base(tmp_path)
    for file in ("vlm/config.json", "mask_model/config.json"):
        document = json.loads((base / file).read_text())
        notes = NOTES if file.startswith("vlm") else {k: v for k, v in NOTES.items() if not k.startswith("v")}
        (base / file).write_text(json.dumps(dict(sorted({**document, **notes}.items(), reverse=True))))
    tokenizer = json.loads((base / "vlm/tokenizer.json").read_text())
    tokenizer["model"].pop("ignore_merges", None)
    tokenizer["model"]["merges"] = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    (base / "vlm/tokenizer.json").write_text(json.dumps(tokenizer))
    assert _read(base) == before
    assert _read(base, dtype="bfloat16") == before


def test_using_a_tokenizer_leaves_its_digest() -> None:
    parts = load_parts(ModelConfig(base=str(tiny_base()), seg_hidden=SEG_HIDDEN))
    before = _of(parts)
    parts.processor.tokenizer(["a", "the red box"], padding=True, truncation=True, max_length=3)
    assert _of(parts) == before


def test_a_tokenizer_without_a_serialisation_has_its_tables() -> None:
    parts = load_parts(ModelConfig(base=str(tiny_base()), seg_hidden=SEG_HIDDEN))

    def of(words: dict[str, int]) -> str:
        slow = SimpleNamespace(added_tokens_decoder={}, bos_token="<s>", get_vocab=lambda: words)
        processor = SimpleNamespace(tokenizer=slow, chat_template={"default": "a"})
        return digests(parts.llava.config, parts.sam.config, processor, parts.input_spec)["tokenizer"]

    assert of({"a": 0, "b": 1}) == of({"b": 1, "a": 0})
    assert of({"a": 0}) != of({"a": 1})


def _from_the_hub(place: Path) -> ModelConfig:
    write_llava(place / "llava", TEXTS * 3)
    write_sam(place / "sam")
    return ModelConfig(vlm=str(place / "llava"), mask_model=str(place / "sam"))


def _assembled(place: Path) -> ModelConfig:
    _write_clip(place / "clip", whole=True)
    _write_llama(place / "llama")
    write_sam(place / "sam")
    train = TrainSettings(projector="full")
    return ModelConfig(
        vision=str(place / "clip"), language=str(place / "llama"), mask_model=str(place / "sam"), train=train
    )


STARTS: dict[str, Callable[[Path], ModelConfig]] = {
    "embedded": lambda place: ModelConfig(base="segtune/tiny", seg_hidden=128),
    "hub": _from_the_hub,
    "assembled": _assembled,
    "resized": lambda place: ModelConfig(base=str(tiny_base()), seg_hidden=SEG_HIDDEN, img_size=64),
    "shared": lambda place: ModelConfig(base=str(tiny_base()), seg_hidden=SEG_HIDDEN, mask_features="shared"),
}


@pytest.mark.parametrize("start", STARTS)
def test_an_exported_base_and_one_to_train_further_are_described_as_where_they_come_from(
    start: str, tmp_path: Path
) -> None:
    loaded = build(STARTS[start](tmp_path), None)
    about = loaded.about()
    assert about["described"] == loaded.described == _of(load_parts(loaded.config))
    save_checkpoint(tmp_path / "run/checkpoints/best", loaded.model, about)
    assert load(str(tmp_path / "run")).described == loaded.described
    further = loaded.config.model_copy(
        update={"base": str(tmp_path / "run"), "vlm": None, "mask_model": None, "vision": None, "language": None}
    )
    assert build(further, None).described == loaded.described
    export_base(loaded, tmp_path / "exported")
    assert load(str(tmp_path / "exported")).described == loaded.described
