from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from tests.factory import LLAVA, SAM, SIDE, batch_of, groups, plain_loaded, tiny_config, tiny_loaded
from torch import Tensor

from segtune.core.errors import CheckpointError, ConfigError
from segtune.engine.checkpoint import load_weights, open_checkpoint, save_checkpoint
from segtune.engine.loading import build, export_base, load
from segtune.models.config import ModelConfig, TrainSettings
from segtune.models.image_size import resize_inputs

PATCH, FINE = LLAVA.vision_config.patch_size, SAM.vision_config.patch_size
OTHER = SIDE - 2 * PATCH


@cache
def _resized(side: int = OTHER, mask_features: str = "encoder"):
    return plain_loaded(mask_features, img_size=side)


def _masks(loaded, answer: str = "It is <SEG>.") -> Tensor:
    with torch.no_grad():
        return loaded.model(batch_of(loaded, groups(2), answer)).masks.logits


@pytest.mark.parametrize("side", [SIDE - 2 * PATCH, SIDE + PATCH, 2 * SIDE])
def test_both_encoders_processors_and_inputs_have_the_size(side):
    loaded = _resized(side)
    llava, sam, spec = loaded.model.vlm.llava, loaded.model.mask_model.sam, loaded.parts.input_spec
    assert (spec.vlm.size, spec.mask.size, spec.num_image_tokens) == (side, side, (side // PATCH) ** 2)
    images, square = loaded.parts.processor.image_processor, {"height": side, "width": side}
    assert (dict(images.size), dict(images.crop_size)) == ({"shortest_edge": side}, square)
    assert dict(loaded.parts.sam_processor.pad_size) == square
    assert (llava.config.vision_config.image_size, sam.config.vision_config.image_size) == (side, side)
    assert loaded.model.mask_model.grid == side // FINE
    batch = batch_of(loaded, groups(2))
    assert batch.images.vlm_pixels.shape[-2:] == batch.images.mask_pixels.shape[-2:] == (side, side)
    assert _masks(loaded).shape[-2:] == (4 * (side // FINE),) * 2


def test_the_tower_computes_what_transformers_interpolates():
    loaded, plain = _resized(), plain_loaded()
    pixels = torch.rand(2, 3, OTHER, OTHER, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = plain.model.vlm.llava.model.vision_tower(pixels, interpolate_pos_encoding=True).last_hidden_state
        ours = loaded.model.vlm.llava.model.vision_tower(pixels).last_hidden_state
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_mask_encoder_knows_the_same_places():
    """A positional table that is a ramp over the square stays one."""
    loaded = plain_loaded()
    sam = loaded.model.mask_model.sam
    grid = SIDE // FINE
    ramp = (torch.arange(grid) + 0.5) / grid
    with torch.no_grad():
        sam.vision_encoder.pos_embed.copy_(ramp[None, :, None, None].expand_as(sam.vision_encoder.pos_embed))
    resize_inputs(
        loaded.model.vlm.llava, loaded.parts.processor, sam, loaded.parts.sam_processor, 2 * SIDE, shared=False
    )
    found = sam.vision_encoder.pos_embed[0, :, 0, 0]
    wanted = (torch.arange(2 * grid) + 0.5) / (2 * grid)
    # PyTorch's cubic bends a straight line by 0.003; half a patch off would be 0.016
    torch.testing.assert_close(found[4:-4], wanted[4:-4], rtol=0, atol=4e-3)


def test_relative_positions_are_read_as_before():
    """SAM stretches a table of another length at every forward; stretching it once must give the same."""
    loaded = plain_loaded()
    sam, generator = loaded.model.mask_model.sam, torch.Generator().manual_seed(1)
    for layer in sam.vision_encoder.layers:
        for table in (layer.attn.rel_pos_h, layer.attn.rel_pos_w):
            table.data.copy_(torch.randn(table.shape, generator=generator))
    before = copy.deepcopy(sam.vision_encoder)
    resize_inputs(loaded.model.vlm.llava, loaded.parts.processor, sam, loaded.parts.sam_processor, OTHER, shared=False)
    after = sam.vision_encoder
    seen = [index for index, layer in enumerate(after.layers) if layer.attn.rel_pos_h.shape[0] == 2 * OTHER // FINE - 1]
    assert seen == SAM.vision_config.global_attn_indexes
    before.pos_embed, before.patch_embed = after.pos_embed, after.patch_embed
    pixels = torch.rand(1, 3, OTHER, OTHER, generator=generator)
    with torch.no_grad():
        wanted, found = (encoder(pixels).last_hidden_state for encoder in (before, after))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_the_models_own_size_changes_nothing():
    plain, same = plain_loaded(), plain_loaded(img_size=SIDE)
    torch.testing.assert_close(_masks(same), _masks(plain), rtol=0, atol=0)
    assert same.fingerprint == plain.fingerprint
    assert _resized().fingerprint != plain.fingerprint


def test_with_shared_features_only_the_tower_changes():
    loaded, grid = _resized(OTHER, "shared"), SIDE // FINE
    assert loaded.parts.input_spec.mask is None
    assert loaded.parts.input_spec.mask_space.size == OTHER
    assert _masks(loaded).shape[-2:] == (4 * grid, 4 * grid)
    assert torch.isfinite(_masks(loaded)).all()


def test_gradients_reach_a_stretched_table():
    loaded = tiny_loaded(train=TrainSettings(vision_tower="full", mask_encoder="full"), img_size=OTHER)
    loaded.model(batch_of(loaded, groups(2))).masks.logits.square().mean().backward()
    named = dict(loaded.model.named_parameters())
    for end in ("position_embedding.weight", "vision_encoder.pos_embed", "layers.1.attn.rel_pos_h"):
        (found,) = [value for name, value in named.items() if name.endswith(end)]
        assert found.requires_grad
        assert found.grad.abs().sum() > 0


def _refused(side: int, mask_features: str = "encoder", load: Callable = plain_loaded) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(mask_features, img_size=side)
    assert caught.value.where == "model.img_size"
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("side", [1, PATCH - 1, SIDE + 1, SIDE + FINE])
def test_a_size_that_is_no_multiple_of_the_patches_is_refused_with_those_beside_it(side):
    error = _refused(side)
    assert f"a multiple of {PATCH}" in error.expected
    assert f"{PATCH} of the vision tower and {FINE} of the mask encoder" in error.expected
    below, above = max(side // PATCH * PATCH, PATCH), (side // PATCH + 1) * PATCH
    for near in {below, above}:
        assert f"model.img_size={near}" in error.fix
        assert plain_loaded(img_size=near).parts.input_spec.vlm.size == near


def test_a_size_of_more_patches_than_the_language_model_reads_is_refused():
    positions = LLAVA.text_config.max_position_embeddings
    side = PATCH * (int(positions**0.5) + 1)
    error = _refused(side)
    assert f"at most {positions:,} tokens" in error.expected
    assert f"{side}" in error.found
    assert f"model.img_size={side - PATCH}" in error.fix


def test_sizes_are_positive_numbers():
    for wrong in (0, -16, 12.5, "large"):
        with pytest.raises(ValueError, match="img_size"):
            ModelConfig.model_validate({"base": "segtune/tiny", "img_size": wrong})


def _saved(loaded, place) -> str:
    about = {
        "model": loaded.config.model_dump(mode="json"), "fingerprint": loaded.fingerprint,
        "conversation": loaded.conversation.wording.model_dump(mode="json"),
    }  # fmt: skip
    save_checkpoint(place, loaded.model, about)
    return str(place)


@pytest.mark.parametrize("train", [{}, {"vision_tower": "full", "mask_encoder": "full"}, {"vision_tower": "lora"}])
def test_a_checkpoint_comes_back_in_its_size(tmp_path, train):
    loaded = tiny_loaded(train=TrainSettings.model_validate(train), img_size=OTHER)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    again = load(_saved(loaded, tmp_path / "checkpoints" / "best"))
    again.model.eval()
    assert again.parts.input_spec.vlm.size == OTHER
    torch.testing.assert_close(_masks(again), _masks(loaded), rtol=0, atol=0)


def test_a_checkpoint_does_not_go_into_a_model_of_another_size(tmp_path):
    loaded, other = tiny_loaded(img_size=OTHER), tiny_loaded()
    place = _saved(loaded, tmp_path / "best")
    with pytest.raises(CheckpointError):
        load_weights(open_checkpoint(Path(place)), other.model, other.fingerprint)


def test_training_goes_on_in_the_size_of_the_start_or_in_another(tmp_path):
    place = _saved(tiny_loaded(img_size=OTHER), tmp_path / "checkpoints" / "best")
    for wanted, expected in ((None, OTHER), (2 * SIDE, 2 * SIDE)):
        config = tiny_config(base=place, img_size=wanted)
        further = build(config, None)
        further.model.eval()
        assert (further.parts.input_spec.vlm.size, further.parts.input_spec.mask.size) == (expected, expected)
        assert _masks(further).shape[-1] == 4 * expected // FINE


@pytest.mark.parametrize("mask_features", ["encoder", "shared"])
def test_an_exported_model_keeps_its_size_without_being_told(tmp_path, mask_features):
    loaded = tiny_loaded(mask_features, img_size=OTHER)
    before = _masks(loaded)
    export_base(loaded, tmp_path / "base")
    again = load(str(tmp_path / "base"))
    again.model.eval()
    assert again.config.img_size is None
    assert again.parts.input_spec.vlm.size == OTHER
    assert again.parts.processor.image_processor.crop_size["height"] == OTHER
    torch.testing.assert_close(_masks(again), before, rtol=1e-4, atol=1e-4)
