from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.factory import (
    PATCHES,
    SEG_HIDDEN,
    SIDE,
    TEXTS,
    WIDTH,
    batch_of,
    groups,
    plain_loaded,
    tiny_base,
    tiny_config,
    tiny_loaded,
)
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from segtune.core.errors import CheckpointError
from segtune.core.input_spec import SEG_TOKEN
from segtune.engine.loading import NOTHING_TRAINS, build, export_base, load
from segtune.models.tiny.architecture import build_tokenizer, llava_config
from segtune.models.weights import ensure_seg_token, fingerprint, load_parts

HALVES = {"vlm": "model.vision_tower.post_layernorm.weight", "mask_model": "mask_decoder.iou_token.weight"}


@pytest.fixture
def base(tmp_path) -> Path:
    """A copy of the random base, to be broken."""
    return Path(shutil.copytree(tiny_base(), tmp_path / "base"))


def _stored_name(file: Path, wanted: str) -> str:
    """The name in the file of what the model calls `wanted`."""
    names = [name for name in load_file(file) if name.endswith(wanted.rpartition("model.")[2])]
    assert len(names) == 1, names
    return names[0]


def _rewrite(file: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


def _refused(base: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_parts(tiny_config(base=str(base)))
    return caught.value


@pytest.mark.parametrize("half", HALVES)
def test_a_missing_weight_is_refused_by_name(base, half):
    file = base / half / "model.safetensors"
    name = _stored_name(file, HALVES[half])
    _rewrite(file, lambda state: state.pop(name))
    error = _refused(base)
    assert error.where == str(base / half)
    assert f"missing: {HALVES[half]}" in error.found


@pytest.mark.parametrize("half", HALVES)
def test_an_unexpected_weight_is_refused_by_name(base, half):
    def add(state):
        state["another.weight"] = torch.zeros(2)

    _rewrite(base / half / "model.safetensors", add)
    assert "unexpected: another.weight" in _refused(base).found


@pytest.mark.parametrize("half", HALVES)
def test_a_renamed_weight_is_missing_and_unexpected(base, half):
    file = base / half / "model.safetensors"
    name = _stored_name(file, HALVES[half])

    def rename(state):
        state[f"{name}_old"] = state.pop(name)

    _rewrite(file, rename)
    error = _refused(base)
    assert f"missing: {HALVES[half]}" in error.found
    assert f"unexpected: {name.removesuffix('.weight').rpartition('.')[0]}" in error.found or "_old" in error.found


@pytest.mark.parametrize("half", HALVES)
def test_a_weight_of_another_shape_is_refused_by_name(base, half):
    file = base / half / "model.safetensors"
    name = _stored_name(file, HALVES[half])

    def widen(state):
        state[name] = torch.zeros(*state[name].shape[:-1], state[name].shape[-1] + 1)

    _rewrite(file, widen)
    assert f"of another shape: {HALVES[half]}" in _refused(base).found


@pytest.mark.parametrize(
    "damage",
    [
        lambda base: (base / "vlm/model.safetensors").write_bytes(b"\0" * 100),
        lambda base: (base / "mask_model/model.safetensors").write_bytes(
            (base / "mask_model/model.safetensors").read_bytes()[:5000]
        ),
        lambda base: (base / "vlm/model.safetensors").unlink(),
        lambda base: (base / "vlm/config.json").write_text("{"),
        lambda base: (base / "vlm/config.json").unlink(),
        lambda base: (base / "vlm/tokenizer.json").unlink(),
        lambda base: (base / "vlm/tokenizer.json").write_text("[]"),
        lambda base: shutil.rmtree(base / "mask_model"),
        lambda base: (base / "segmentation.safetensors").write_bytes(b"nothing"),
        lambda base: (base / "segmentation.safetensors").unlink(),
        lambda base: (base / "segtune.json").write_text('{"format": 1'),
        lambda base: (base / "segtune.json").write_text("[]"),
        lambda base: (base / "segtune.json").write_text('{"format": 1}'),
        lambda base: (base / "segtune.json").unlink(),
    ],
    ids=[
        "vlm zeros", "sam truncated", "vlm absent", "vlm config torn", "vlm config absent", "tokenizer absent",
        "tokenizer of another kind", "sam absent", "bridge torn", "bridge absent", "facts torn", "facts a list",
        "facts without wording", "facts absent",
    ],
)  # fmt: skip
def test_a_damaged_base_is_one_clear_error(base, damage):
    damage(base)
    error = _refused(base)
    assert str(base) in error.where
    assert error.found or error.expected


def test_a_pickle_is_not_opened(base):
    state = load_file(base / "vlm/model.safetensors")
    (base / "vlm/model.safetensors").unlink()
    torch.save(state, base / "vlm/pytorch_model.bin")
    assert str(base / "vlm") in _refused(base).where


def test_a_base_of_another_seg_hidden_is_refused(tmp_path):
    export_base(tiny_loaded(), tmp_path / "base")
    with pytest.raises(CheckpointError, match="seg_projection does not fit") as caught:
        build(tiny_config(base=str(tmp_path / "base"), seg_hidden=32), None)
    assert f"(32, {WIDTH})" in caught.value.expected
    assert f"({SEG_HIDDEN}, {WIDTH})" in caught.value.found


def test_a_base_with_shared_features_keeps_its_connector_and_has_no_encoder_to_offer(tmp_path):
    loaded = tiny_loaded("shared")
    export_base(loaded, tmp_path / "base")
    again = build(tiny_config(base=str(tmp_path / "base"), mask_features="shared"), None)
    assert torch.equal(again.model.connector.mix.weight, loaded.model.connector.mix.weight)
    assert torch.equal(again.model.seg_projection.layers[0].weight, loaded.model.seg_projection.layers[0].weight)
    with pytest.raises(CheckpointError, match=r"missing: vision_encoder"):
        load_parts(tiny_config(base=str(tmp_path / "base"), mask_features="encoder"))


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_an_exported_model_is_a_base_that_answers_the_same(tmp_path, mask_features):
    loaded = tiny_loaded(mask_features, image_geometry="crop")
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
        before = loaded.model(batch_of(loaded, groups(2)))
        export_base(loaded, tmp_path / "base")
        again = load(str(tmp_path / "base"))
        again.model.eval()
        after = again.model(batch_of(again, groups(2)))
    (tmp_path / "umask").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "base").rglob("*.safetensors")}
    assert modes == {(tmp_path / "umask").stat().st_mode}
    assert (again.config.mask_features, again.config.image_geometry) == (mask_features, "crop")
    assert not any(p.requires_grad for p in again.model.parameters())
    torch.testing.assert_close(after.masks.logits, before.masks.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.answer_logits, before.answer_logits, rtol=1e-4, atol=1e-4)


def test_the_wording_of_a_base_is_kept_unless_another_is_given():
    parts = load_parts(tiny_config())
    assert parts.input_spec.conversation == plain_loaded().conversation.wording
    other = parts.input_spec.conversation.model_copy(update={"short": "{query}"})
    assert load_parts(tiny_config(), other).input_spec.conversation.short == "{query}"


def test_what_the_input_must_look_like_comes_from_the_files():
    spec = load_parts(tiny_config()).input_spec
    assert (spec.vlm.size, spec.vlm.placement, spec.vlm.resample) == (SIDE, "center", 3)
    assert (spec.mask.size, spec.mask.placement, spec.mask.resample) == (SIDE, "corner", 2)
    assert spec.vlm.mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert spec.mask.mean == pytest.approx((0.485, 0.456, 0.406))
    assert (spec.num_image_tokens, spec.image_token) == (PATCHES, "<image>")
    shared = load_parts(tiny_config(mask_features="shared", image_geometry="crop")).input_spec
    assert shared.mask is None
    assert shared.mask_space is shared.vlm
    assert shared.vlm.placement == "crop"


def _without_seg(rows: int) -> tuple[LlavaForConditionalGeneration, object]:
    """A tokenizer that has no <SEG>, of 1,024 entries, and a LLaVA with `rows` rows for it."""
    tokenizer = build_tokenizer(TEXTS)
    text = tokenizer._tokenizer.to_str().replace(SEG_TOKEN, "<other>")
    other = PreTrainedTokenizerFast(tokenizer_object=FastTokenizer.from_str(text), eos_token="</s>", pad_token="<pad>")
    config = llava_config(tokenizer)
    config.text_config.vocab_size = rows
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(config), other


def test_a_seg_token_takes_a_padded_row_and_nothing_shrinks():
    llava, tokenizer = _without_seg(rows=2048)
    size = len(tokenizer)
    before = llava.lm_head.weight.detach().clone(), llava.get_input_embeddings().weight.detach().clone()
    seg_id = ensure_seg_token(llava, tokenizer)
    assert seg_id == size
    assert tokenizer.convert_tokens_to_ids(SEG_TOKEN) == seg_id
    assert tokenizer(f"a {SEG_TOKEN}.", add_special_tokens=False)["input_ids"].count(seg_id) == 1
    for old, weight in zip(before, (llava.lm_head.weight, llava.get_input_embeddings().weight), strict=True):
        assert weight.shape == (2048, WIDTH)
        rest = torch.arange(2048) != seg_id
        assert torch.equal(old[rest], weight[rest])
        torch.testing.assert_close(weight[seg_id], old[:seg_id].mean(0))
    assert ensure_seg_token(llava, tokenizer) == seg_id
    assert len(tokenizer) == size + 1


def test_a_matrix_grows_only_where_it_must():
    llava, tokenizer = _without_seg(rows=1)
    size = len(tokenizer)
    llava, tokenizer = _without_seg(rows=size)
    old = llava.lm_head.weight.detach().clone()
    seg_id = ensure_seg_token(llava, tokenizer)
    rows = llava.lm_head.weight.shape[0]
    assert seg_id == size
    assert seg_id < rows == llava.get_input_embeddings().weight.shape[0]
    assert rows % 64 == 0
    assert rows - size <= 64
    assert torch.equal(llava.lm_head.weight[:size], old)
    torch.testing.assert_close(llava.lm_head.weight[seg_id], old.mean(0))
    assert llava.config.text_config.vocab_size == rows


def test_a_known_seg_token_without_a_row_gets_one():
    llava, tokenizer = _without_seg(rows=1)
    size = len(tokenizer)
    llava, tokenizer = _without_seg(rows=size)
    tokenizer.add_tokens([SEG_TOKEN], special_tokens=True)
    seg_id = ensure_seg_token(llava, tokenizer)
    assert llava.lm_head.weight.shape[0] > seg_id == size
    assert bool(torch.isfinite(llava.lm_head.weight[seg_id]).all())


def test_a_trained_seg_row_is_left_alone():
    llava, tokenizer = _without_seg(rows=2048)
    seg_id = ensure_seg_token(llava, tokenizer)
    with torch.no_grad():
        llava.lm_head.weight[seg_id] = 7
    ensure_seg_token(llava, tokenizer)
    assert bool((llava.lm_head.weight[seg_id] == 7).all())


def test_a_fingerprint_tells_bases_apart_and_ignores_what_trains():
    one, again, other = (tiny_loaded(seed=seed) for seed in (0, 1, 0))
    assert one.fingerprint == again.fingerprint, "fresh adapters and projections are no part of a base"
    with torch.no_grad():
        other.model.vlm.llava.model.multi_modal_projector.linear_1.bias.add_(1e-3)
    assert fingerprint(other.model) != one.fingerprint
    assert build(tiny_config(base=str(tiny_base(1))), None).fingerprint != one.fingerprint


def test_frozen_weights_take_the_wanted_dtype_and_masks_are_float32():
    loaded = tiny_loaded(train=NOTHING_TRAINS, dtype="bfloat16")
    assert loaded.model.vlm.llava.lm_head.weight.dtype == torch.bfloat16
    assert loaded.model.mask_model.sam.mask_decoder.iou_token.weight.dtype == torch.bfloat16
    with torch.no_grad():
        output = loaded.model(batch_of(loaded, groups(1)))
    assert output.masks.logits.dtype == torch.float32
    assert bool(torch.isfinite(output.masks.logits).all())
