from __future__ import annotations

import itertools

import pytest
import torch
from tests.models.dense.encoders import BLOCKS, CLASSES, HUB, VITS, pixels, small_model
from transformers import Dinov2Config

from segtune.core.errors import ConfigError
from segtune.models.dense.blocks import (
    require_frozen_as_declared,
    unfreeze,
)
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.network import build_dense
from segtune.models.trainable import DENSE_COMPONENTS, component_of, render_table, table, table_dict, train_mode

BOTH = {"binary_classes": ("car",)}


def _loss(output):
    return output.classes.square().mean() + output.binary.square().mean()


def _train(model, steps=3, lr=1e-2):
    """AdamW with decay over exactly what trains."""
    chosen = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(chosen, lr=lr, weight_decay=0.1)
    for step in range(steps):
        optimiser.zero_grad()
        _loss(model.decode(pixels(seed=step))).backward()
        optimiser.step()


def _state(model):
    return {name: value.clone() for name, value in model.state_dict(keep_vars=False).items()}


def _all_buffers(model):
    """Those too that no checkpoint holds."""
    return {name: value.clone() for name, value in model.named_buffers()}


def _moved(model, before):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("family", HUB)
def test_frozen_every_weight_and_buffer_of_the_encoder_is_bit_equal(family, tmp_path):
    drop_path = {} if family == "resnet" else {"drop_path": 0.3}
    model = small_model(tmp_path, family, **BOTH, **drop_path).train()
    unfreeze(model, 0)
    require_frozen_as_declared(model, 0)
    before, buffers = _state(model), _all_buffers(model)
    _train(model)
    moved = _moved(model, before)
    assert moved == {name for name in before if not name.startswith("encoder.")}
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())
    require_frozen_as_declared(model, 0)


@pytest.mark.parametrize("family", HUB)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_exactly_the_last_blocks_and_the_norms_behind_them_move(family, count, tmp_path):
    model = small_model(tmp_path, family, **BOTH).train()
    unfreeze(model, count)
    require_frozen_as_declared(model, count)
    before = _state(model)
    _train(model)
    moved = {name for name in _moved(model, before) if name.startswith("encoder.")}
    assert {n for n, p in model.named_parameters() if p.requires_grad and n.startswith("encoder.")} <= moved
    assert moved == {name for name in before if any(name.startswith(part) for part in _expected(family, count))}


def _expected(family, count):
    """By hand: the prefixes of what stands in the last blocks of five, or of stages of 1, 2, 3 and 1 layers."""
    if family in VITS:
        layers, norm = ("model.layer", "norm.") if family == "dinov3_vit" else ("encoder.layer", "layernorm.")
        return [f"encoder.backbone.{norm}", *(f"encoder.backbone.{layers}.{5 - i}." for i in range(1, count + 1))]
    places = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0)][-count:]
    names = {"swinv2": ("encoder.layers", "blocks"), "dinov3_convnext": ("model.stages", "layers")}
    stages, layers = names.get(family, ("encoder.stages", "layers"))
    prefixes = [f"{stages}.{stage}.{layers}.{layer}." for stage, layer in places]
    for stage in {stage for stage, layer in places if layer == 0}:  # what opens such a stage
        opening = {"swinv2": (stage - 1, "downsample."), "dinov3_convnext": (stage, "downsample_layers.")}
        before, name = opening.get(family, (stage, "downsampling_layer."))
        prefixes.append(f"{stages}.{before}.{name}")
    if family.startswith("convnext"):
        prefixes += [f"hidden_states_norms.stage{stage + 1}." for stage, _ in places]
    return [f"encoder.backbone.{prefix}" for prefix in prefixes]


@pytest.mark.parametrize("family", HUB)
def test_all_trains_everything_that_a_forward_uses(family, tmp_path):
    model = small_model(tmp_path, family, **BOTH).train()
    unfreeze(model, 0)
    unfreeze(model, "all")
    require_frozen_as_declared(model, "all")
    _loss(model.decode(pixels())).backward()
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == (["encoder.backbone.embeddings.mask_token"] if family in VITS else [])
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("family", HUB)
def test_as_many_blocks_as_there_are_and_one_more(family, tmp_path):
    model = small_model(tmp_path, family)
    unfreeze(model, BLOCKS[family])
    assert not all(p.requires_grad for p in model.encoder.parameters())  # what reads the pixels is no block
    for call in (unfreeze, require_frozen_as_declared):
        with pytest.raises(ConfigError, match=f"has {BLOCKS[family]} blocks"):
            call(model, BLOCKS[family] + 1)


@pytest.mark.parametrize("wrong", [-1, True, "some"])
def test_what_is_no_number_of_blocks_is_refused(wrong, tmp_path):
    with pytest.raises(ConfigError, match="no such number of blocks"):
        unfreeze(small_model(tmp_path, "resnet"), wrong)


@pytest.mark.parametrize("enter", [lambda model: model.train(), train_mode])
@pytest.mark.parametrize("blocks", [0, 2, "all"])
def test_either_way_into_training_keeps_the_declaration(enter, blocks, tmp_path):
    for number, family in enumerate(("dinov3_vit", "resnet", "convnext")):
        model = small_model(tmp_path / str(number), family)
        unfreeze(model, blocks)
        model.eval()
        require_frozen_as_declared(model, blocks)
        assert not any(module.training for module in model.modules())
        enter(model)
        require_frozen_as_declared(model, blocks)
        assert model.decoder.training


def test_the_assertion_sees_what_somebody_else_did(tmp_path):
    model = small_model(tmp_path, "dinov2").train()
    unfreeze(model, 2)
    model.encoder.backbone.encoder.layer[0].norm1.weight.requires_grad_(True)
    with pytest.raises(AssertionError, match=r"requires_grad: encoder\.backbone\.encoder\.layer\.0\.norm1\.weight$"):
        require_frozen_as_declared(model, 2)
    unfreeze(model, 2)
    model.decoder.last[0].weight.requires_grad_(False)
    with pytest.raises(AssertionError, match=r"requires_grad: decoder\.last\.0\.weight$"):
        require_frozen_as_declared(model, 2)
    unfreeze(model, 2)
    model.encoder.backbone.embeddings.dropout.train()
    with pytest.raises(AssertionError, match=r"training mode: encoder\.backbone\.embeddings\.dropout$"):
        require_frozen_as_declared(model, 2)
    unfreeze(model, 2)
    model.encoder.backbone.encoder.layer[4].eval()
    with pytest.raises(AssertionError, match=r"training mode: .* more$"):
        require_frozen_as_declared(model, 2)
    unfreeze(model, 2)
    with pytest.raises(AssertionError):
        require_frozen_as_declared(model, 3)


def test_frozen_stochastic_depth_and_rotary_augmentation_stand_still(tmp_path):
    model = small_model(tmp_path, "dinov3_vit", drop_path=0.5, dropout=0.0).train()
    with torch.no_grad():
        unfreeze(model, 0)
        assert torch.equal(model.encoder(pixels())[-1], model.encoder(pixels())[-1])
        unfreeze(model, 2)
        first, second = model.encoder(pixels(8)), model.encoder(pixels(8))
        assert torch.equal(first[1], second[1])  # behind block 3 of 5
        assert not torch.equal(first[-1], second[-1])


def test_components_and_their_table(tmp_path):
    model = small_model(tmp_path, "resnet", **BOTH)
    assert {component_of(name) for name, _ in model.named_parameters()} == set(DENSE_COMPONENTS)
    with pytest.raises(ConfigError, match="no component"):
        component_of("backbone.weight")
    unfreeze(model, 0)
    rows = {row.component: row for row in table(model)}
    assert list(rows) == list(DENSE_COMPONENTS)
    assert (rows["encoder"].trainable, rows["decoder"].frozen) == (0, 0)
    assert rows["class_head"].total == 16 * 3 + 3
    assert rows["binary_head"].total == 16 + 1
    total = sum(p.numel() for p in model.parameters())
    assert table_dict(list(rows.values()))["total"] == total
    assert f"{total:,}" in render_table(list(rows.values()))


def test_the_table_of_dinov2_giant_without_its_weights(tmp_path):
    """1,136,480,768 is all of facebook/dinov2-giant, its mask token of 1,536 included."""
    giant = Dinov2Config(
        hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, use_swiglu_ffn=True, patch_size=14,
        image_size=518,
    )  # fmt: skip
    giant.save_pretrained(tmp_path)
    config = DenseModelConfig(encoder=str(tmp_path), pretrained=False, image_size=(378, 378), width=256)
    with torch.device("meta"):
        model = build_dense(config, CLASSES)
    unfreeze(model, 0)
    rows = {row.component: row for row in table(model)}
    assert (rows["encoder"].total, rows["encoder"].frozen) == (1_136_480_768, 1_136_480_768)
    assert "1,136,480,768" in render_table(list(rows.values()))
    # width 256 and two GroupNorm parameters a channel: 256 at s and s/2, 128 at s/4, 64 at s/8
    projections = sum(1536 * width + 2 * width for width in (256, 256, 128, 64))
    joins = sum(
        9 * (coarse + fine) * fine + 2 * fine + 9 * fine * fine + 2 * fine
        for fine, coarse in itertools.pairwise((64, 128, 256, 256))
    )
    last = 9 * 64 * 64 + 2 * 64
    assert rows["decoder"].total == rows["decoder"].trainable == projections + joins + last == 3_628_288
    assert rows["class_head"].total == 64 * 3 + 3
    # a block: two norms, two layer scales, four square projections, SwiGLU of 4096
    block = 4 * 1536 + 2 * 1536 + 4 * (1536**2 + 1536) + 2 * (1536 * 4096 + 4096) + 4096 * 1536 + 1536
    for count in (8, 16):
        unfreeze(model, count)
        require_frozen_as_declared(model, count)
        encoder = table(model)[0]
        assert encoder.trainable == count * block + 2 * 1536
    unfreeze(model, "all")
    assert table(model)[0].frozen == 1536
    with pytest.raises(ConfigError, match="has 40 blocks"):
        unfreeze(model, 41)


def test_a_declaration_stays_with_its_model(tmp_path):
    first, second = (small_model(tmp_path / name, "convnext") for name in "ab")
    unfreeze(first, 0)
    require_frozen_as_declared(second, "all")
