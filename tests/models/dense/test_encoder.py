from __future__ import annotations

import copy
import json
import logging
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.dense.encoders import BLOCKS, HUB, SIZE, VITS, dense_config, pixels, small_encoder, write_hub
from transformers import CLIPVisionConfig, Dinov2Config, Dinov2Model

from segtune.core.errors import CheckpointError, ConfigError
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.encoder import IMAGENET_MEAN, IMAGENET_STD, build_encoder, encoder_from_description
from segtune.models.dense.families import FAMILIES, fitting_size, require_fitting_size

PYRAMIDS = tuple(family for family in HUB if family not in VITS)


def test_every_family_is_tested():
    assert set(HUB) == set(FAMILIES)


@pytest.mark.parametrize("family", HUB)
def test_maps_are_what_channels_and_strides_say(family, tmp_path):
    encoder = small_encoder(tmp_path, family)
    maps = encoder(pixels())
    strides = (4,) * 4 if family in VITS else (4, 8, 16, 32)
    assert encoder.strides == strides
    assert [tuple(m.shape) for m in maps] == [
        (2, channels, SIZE[0] // stride, SIZE[1] // stride)
        for channels, stride in zip(encoder.channels, strides, strict=True)
    ]
    assert len(encoder.blocks) == BLOCKS[family]
    inside = {id(p) for p in encoder.parameters()}
    listed = [id(p) for block in encoder.blocks for p in block.parameters()]
    assert len(listed) == len(set(listed))
    assert set(listed) < inside


@pytest.mark.parametrize("family", VITS)
def test_a_vit_gives_the_normed_states_of_four_depths(family, tmp_path):
    reference = write_hub(tmp_path, family)
    encoder = build_encoder(dense_config(str(tmp_path))).eval()
    norm = reference.layernorm if hasattr(reference, "layernorm") else reference.norm
    with torch.no_grad():
        states = reference(pixels(), output_hidden_states=True).hidden_states
        maps = encoder(pixels())
        last = reference(pixels()).last_hidden_state
    grid = (SIZE[0] // 4, SIZE[1] // 4)
    patches = grid[0] * grid[1]
    for depth, found in zip((2, 3, 4, 5), maps, strict=True):  # quarters of five blocks, rounded up
        expected = norm(states[depth])[:, -patches:].transpose(1, 2).reshape(2, 16, *grid)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), last[:, -patches:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", PYRAMIDS)
def test_the_coarsest_map_is_what_the_checkpoints_own_model_gives(family, tmp_path):
    reference = write_hub(tmp_path, family)
    encoder = build_encoder(dense_config(str(tmp_path), image_size=(64, 64))).eval()
    base = getattr(reference, family, reference)
    with torch.no_grad():
        found = encoder(pixels(size=(64, 64)))[-1]
        output = base(pixels(size=(64, 64)), output_hidden_states=True)
        expected = output.hidden_states[-1]
        if family.startswith("convnext"):  # the norm of a map is the backbone class's own, at gain 1 without bias
            expected = torch.nn.functional.layer_norm(expected.permute(0, 2, 3, 1), expected.shape[1:2])
            expected = expected.permute(0, 3, 1, 2)
    if family == "swinv2":
        expected = output.reshaped_hidden_states[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", HUB)
@pytest.mark.parametrize("size", [(24, 24), (32, 96), (96, 64), (44, 60)])
def test_other_sizes_than_that_of_pretraining(family, size, tmp_path):
    encoder = small_encoder(tmp_path, family)
    if family in PYRAMIDS:
        size = tuple(max(32, side // 32 * 32) for side in size)
    with torch.no_grad():
        maps = encoder.eval()(pixels(size=size))
    shapes = [tuple(m.shape[-2:]) for m in maps]
    assert shapes == [(size[0] // stride, size[1] // stride) for stride in encoder.strides]
    assert all(torch.isfinite(m).all() for m in maps)


@pytest.mark.parametrize("family", ["dinov2", "dinov2_with_registers"])
def test_positions_are_those_of_pretraining_at_its_size_and_stretched_elsewhere(family, tmp_path):
    embeddings = small_encoder(tmp_path, family).backbone.embeddings
    own = embeddings.position_embeddings.detach()
    same = embeddings.interpolate_pos_encoding(torch.zeros(1, 37, 16), 24, 24)
    torch.testing.assert_close(same, own)
    wide = embeddings.interpolate_pos_encoding(torch.zeros(1, 6 * 12 + 1, 16), 24, 48)[:, 1:].reshape(6, 12, 16)
    # stretched along one side only: the rows keep their means, roughly, and neighbours in pairs meet the original
    pairs = wide.reshape(6, 6, 2, 16).mean(dim=2)
    original = own[0, 1:].reshape(6, 6, 16)
    similarity = torch.nn.functional.cosine_similarity(pairs.flatten(), original.flatten(), dim=0)
    assert similarity > 0.8


@pytest.mark.parametrize("family", [*VITS, "swinv2", "resnet"])
def test_sizes_that_only_the_finest_stride_divides(family, tmp_path):
    write_hub(tmp_path, family)
    encoder = build_encoder(dense_config(str(tmp_path), image_size=(60, 84))).eval()
    with torch.no_grad():
        maps = encoder(pixels(size=(60, 84)))
    assert [tuple(m.shape[-2:]) for m in maps] == [(-(-60 // s), -(-84 // s)) for s in encoder.strides]


@pytest.mark.parametrize(
    ("family", "size", "step", "near"),
    [
        ("dinov2", (30, 41), 4, r"\[28, 40\] or \[32, 44\]"),
        ("convnext", (120, 160), 32, r"\[96, 160\] or \[128, 160\]"),
        ("dinov3_convnext", (64, 33), 32, r"\[64, 32\] or \[64, 64\]"),
        ("resnet", (12, 64), 4, r"\[32, 64\]"),
        ("swinv2", (62, 62), 4, r"\[60, 60\] or \[64, 64\]"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_nearest(family, size, step, near, tmp_path):
    write_hub(tmp_path, family)
    with pytest.raises(ConfigError, match=rf"multiples of {step}, at least (.|\n)*the nearest that fit: {near}"):
        build_encoder(dense_config(str(tmp_path), image_size=size))


def test_tiny_encoders_have_the_sizes_that_their_names_promise():
    vit, cnn = (build_encoder(DenseModelConfig(encoder=f"segtune/tiny-{kind}")) for kind in ("vit", "cnn"))
    assert sum(p.numel() for p in vit.parameters()) == 791_520
    assert sum(p.numel() for p in cnn.parameters()) == 497_120
    assert (len(vit.blocks), vit.strides, len(cnn.blocks), cnn.strides) == (8, (8,) * 4, 4, (4, 8, 16, 32))
    assert vit.mean == cnn.mean == IMAGENET_MEAN
    assert vit.std == cnn.std == IMAGENET_STD
    with torch.no_grad():
        for encoder in (vit, cnn):
            assert all(0.01 < float(m.std()) < 100 for m in encoder(pixels(size=(120, 160))))


def test_the_seed_decides_the_weights_and_the_next_model_is_another():
    def weights():
        return torch.cat(
            [p.flatten() for p in build_encoder(DenseModelConfig(encoder="segtune/tiny-vit")).parameters()]
        )

    torch.manual_seed(3)
    first, second = weights(), weights()
    torch.manual_seed(3)
    assert torch.equal(first, weights())
    assert not torch.equal(first, second)


def test_without_weights_only_the_config_is_read(tmp_path):
    write_hub(tmp_path, "dinov2")
    (tmp_path / "model.safetensors").unlink()
    encoder = build_encoder(dense_config(str(tmp_path), pretrained=False))
    assert encoder.channels == (16,) * 4
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        build_encoder(dense_config(str(tmp_path)))


def test_the_older_names_and_halves_of_the_hub(tmp_path):
    """facebook/dinov2-giant as it lies on the hub: separate query, key, value, and gate and up in one matrix."""
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, patch_size=4, image_size=24, use_swiglu_ffn=True
    )
    model = Dinov2Model(config).eval()
    old, state = {}, model.state_dict()
    for name, value in state.items():
        for new, before in (("q", "query"), ("k", "key"), ("v", "value")):
            name = name.replace(f"attention.{new}_proj", f"attention.attention.{before}")
        name = name.replace("attention.o_proj", "attention.output.dense").replace("mlp.down_proj", "mlp.weights_out")
        if "gate_proj" in name:
            other = state[name.replace("gate_proj", "up_proj")]
            name, value = name.replace("gate_proj", "weights_in"), torch.cat([value, other])
        if "up_proj" not in name:
            old[name] = value.half().contiguous()
    config.save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**document, "torch_dtype": "float16"}))
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    encoder = build_encoder(dense_config(str(tmp_path))).eval()
    found = encoder.backbone.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name].half().float()) for name in state)


@pytest.mark.parametrize("family", HUB)
def test_missing_weights_are_refused_by_name(family, tmp_path):
    write_hub(tmp_path, family)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    victim = next(name for name in sorted(state) if re.search(r"(layers?|blocks)\.\d+\..*weight", name))
    del state[victim]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"do not fit(.|\n)*missing: .*weight"):
        build_encoder(dense_config(str(tmp_path)))


def test_what_is_left_out_on_purpose_is_not_reported(tmp_path, caplog):
    write_hub(tmp_path, "convnext")
    with caplog.at_level(logging.WARNING):
        build_encoder(dense_config(str(tmp_path)))
    assert "LOAD REPORT" not in caplog.text


def test_weights_of_another_shape_and_unexpected_ones_are_refused_by_name(tmp_path):
    write_hub(tmp_path, "dinov2")
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    save_file({**state, "layernorm.weight": torch.ones(24)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"layernorm.weight \(24,\) instead of \(16,\)"):
        build_encoder(dense_config(str(tmp_path)))
    save_file({**state, "encoder.layer.9.norm1.weight": torch.ones(16)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"unexpected: encoder\.layer\.9\.norm1\.weight"):
        build_encoder(dense_config(str(tmp_path)))


def test_what_is_no_encoder_is_refused_with_those_that_are(tmp_path):
    CLIPVisionConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"model type out of dinov2, .*resnet\n.*model type clip_vision_model"):
        build_encoder(dense_config(str(tmp_path)))
    with pytest.raises(ConfigError, match="there is no such encoder"):
        build_encoder(dense_config(str(tmp_path / "absent")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        build_encoder(dense_config(str(tmp_path / "empty")))


def test_code_beside_a_checkpoint_is_not_run(tmp_path):
    write_hub(tmp_path, "dinov2")
    document = json.loads((tmp_path / "config.json").read_text())
    code = {"AutoConfig": "evil.Evil", "AutoBackbone": "evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps({**document, "auto_map": code}))
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    for kind in (document["model_type"], "evil"):
        (tmp_path / "config.json").write_text(json.dumps({**document, "auto_map": code, "model_type": kind}))
        with pytest.raises(CheckpointError, match="never executes code from a checkpoint"):
            build_encoder(dense_config(str(tmp_path)))


def test_a_vit_of_three_blocks_and_grey_images_are_refused(tmp_path):
    Dinov2Config(hidden_size=16, num_hidden_layers=3, num_attention_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="too few blocks"):
        build_encoder(dense_config(str(tmp_path)))
    Dinov2Config(hidden_size=16, num_attention_heads=2, num_channels=1).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"3 channels\n  found: 1"):
        build_encoder(dense_config(str(tmp_path)))


@pytest.mark.parametrize("family", [f for f in HUB if f != "resnet"])
def test_stochastic_depth_reaches_the_blocks(family, tmp_path):
    def rates(drop_path):
        encoder = build_encoder(dense_config(str(tmp_path), drop_path=drop_path))
        return [m.drop_prob for m in encoder.modules() if hasattr(m, "drop_prob")]

    write_hub(tmp_path, family)
    assert max(rates(0.2)) == pytest.approx(0.2)
    assert not any(rates(0.0))


def test_an_encoder_without_stochastic_depth_refuses_it(tmp_path):
    write_hub(tmp_path, "resnet")
    with pytest.raises(ConfigError, match="no stochastic depth"):
        build_encoder(dense_config(str(tmp_path), drop_path=0.1))


def test_normalisation_is_read_beside_the_checkpoint(tmp_path):
    write_hub(tmp_path, "dinov2")
    assert build_encoder(dense_config(str(tmp_path))).mean == IMAGENET_MEAN
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [1, 2, 3]}))
    encoder = build_encoder(dense_config(str(tmp_path)))
    assert (encoder.mean, encoder.std) == ((0.5, 0.4, 0.3), (1.0, 2.0, 3.0))
    file.write_text(json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [1, 2, 0]}))
    with pytest.raises(CheckpointError, match="image_std is no normalisation"):
        build_encoder(dense_config(str(tmp_path)))


@pytest.mark.parametrize("family", HUB)
def test_saved_and_loaded_it_is_the_same(family, tmp_path):
    encoder = small_encoder(tmp_path / "hub", family)
    for parameter in encoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    encoder.save(tmp_path / "saved")
    (tmp_path / "umask").touch()
    assert (tmp_path / "saved" / "model.safetensors").stat().st_mode == (tmp_path / "umask").stat().st_mode
    loaded = build_encoder(dense_config(str(tmp_path / "saved")))
    state = encoder.state_dict()
    assert all(torch.equal(state[name], value) for name, value in loaded.state_dict().items())
    assert (loaded.mean, loaded.std) == (encoder.mean, encoder.std)
    with torch.no_grad():
        pairs = zip(encoder.eval()(pixels()), loaded.eval()(pixels()), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("family", HUB)
def test_a_description_builds_the_same_module_without_any_file(family, tmp_path):
    encoder = small_encoder(tmp_path, family, **({} if family == "resnet" else {"drop_path": 0.1}))
    again = encoder_from_description(json.loads(json.dumps(encoder.describe())))
    again.load_state_dict(encoder.state_dict())
    assert str(again) == str(encoder)
    with torch.no_grad():
        pairs = zip(encoder.eval()(pixels()), again.eval()(pixels()), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("broken", [{}, {"config": {}}, {"config": {"model_type": "resnet"}, "mean": [0, 0, 0]}])
def test_a_broken_description_is_refused(broken):
    with pytest.raises(CheckpointError):
        encoder_from_description(broken)


@pytest.mark.parametrize("family", HUB)
def test_a_deep_copy_is_independent(family, tmp_path):
    encoder = small_encoder(tmp_path, family).eval()
    twin = copy.deepcopy(encoder)
    with torch.no_grad():
        before = [m.clone() for m in encoder(pixels())]
        for block in twin.blocks:
            for parameter in block.parameters():
                parameter.zero_()
        assert all(torch.equal(a, b) for a, b in zip(encoder(pixels()), before, strict=True))
        assert not torch.equal(twin(pixels())[-1], before[-1])


@pytest.mark.parametrize(
    ("family", "wanted", "fitting"),
    [
        ("dinov2", (62.0, 66.1), (64, 68)),  # of two equally near the larger
        ("dinov2", (1, 1), (4, 8)),  # two positions at least
        ("convnext", (100.0, 47.9), (96, 32)),
        ("resnet", (65.0, 33.9), (64, 32)),
        ("resnet", (1, 70), (32, 72)),
        ("swinv2", (1, 70), (32, 72)),
    ],
)
def test_the_nearest_size_that_fits(family, wanted, fitting):
    config = HUB[family][1]()
    found = fitting_size(FAMILIES[family], config, wanted)
    assert found == fitting
    require_fitting_size(FAMILIES[family], config, found, "here")
