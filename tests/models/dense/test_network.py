from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.models.dense.encoders import CLASSES, HUB, SIZE, dense_config, pixels, small_model
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from segtune.core.errors import ConfigError
from segtune.core.records import LabelledImage
from segtune.core.types import DenseBatch
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.encoder import encoder_from_description
from segtune.models.dense.network import DenseSegmenter, build_dense

KINDS = ("unet", "dpt", "linear")


def _batch(images):
    labels = torch.zeros(len(images), *images.shape[-2:], dtype=torch.uint8)
    items = tuple(
        LabelledImage(str(i), np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)) for i in range(len(images))
    )
    return DenseBatch(pixels=images, labels=labels, items=items)


@pytest.mark.parametrize("decoder", KINDS)
@pytest.mark.parametrize("family", ["dinov2", "resnet"])
@pytest.mark.parametrize(("multiclass", "binary"), [(True, ()), (False, ("car",)), (True, ("car", "tree"))])
def test_one_network_with_either_head_or_both(decoder, family, multiclass, binary, tmp_path):
    model = small_model(tmp_path, family, decoder=decoder, multiclass=multiclass, binary_classes=binary).eval()
    output = model(_batch(pixels()))
    size = (int(SIZE[0] / model.stride), int(SIZE[1] / model.stride))
    assert (output.classes is None, output.binary is None) == (not multiclass, not binary)
    if multiclass:
        assert (output.classes.shape, output.classes.dtype) == ((2, 3, *size), torch.float32)
    if binary:
        assert (output.binary.shape, output.binary.dtype) == ((2, *size), torch.float32)
    assert model.classes == CLASSES
    assert model.binary_classes == binary
    assert model.binary_indices == tuple(i for i, name in enumerate(CLASSES) if name in binary)


def test_forward_is_decode_of_the_pixels_and_does_not_see_labels(tmp_path):
    model = small_model(tmp_path, "dinov2").eval()
    batch = _batch(pixels())
    other = DenseBatch(batch.pixels, batch.labels + 2, batch.items)
    assert torch.equal(model(batch).classes, model.decode(batch.pixels).classes)
    assert torch.equal(model(batch).classes, model(other).classes)


@pytest.mark.parametrize("family", HUB)
def test_in_evaluation_an_image_stands_alone(family, tmp_path):
    model = small_model(tmp_path, family, **({} if family == "resnet" else {"drop_path": 0.5})).eval()
    with torch.no_grad():
        together = model.decode(pixels()).classes
        alone = torch.cat([model.decode(pixels()[i : i + 1]).classes for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("decoder", KINDS)
def test_dropout_is_there_in_training_and_only_there(decoder, tmp_path):
    model = small_model(tmp_path, "dinov2", decoder=decoder, dropout=0.5)
    with torch.no_grad():
        torch.manual_seed(0)
        first, second = model.train().decode(pixels()), model.decode(pixels())
        assert not torch.equal(first.classes, second.classes)
        assert torch.equal(model.eval().decode(pixels()).classes, model.decode(pixels()).classes)


def test_logits_are_float32_whatever_the_autocast(tmp_path):
    model = small_model(tmp_path, "convnext", binary_classes=("car",)).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.decode(pixels())
    assert output.classes.dtype == output.binary.dtype == torch.float32


def test_a_model_is_built_again_from_description_and_state(tmp_path):
    config = dense_config(str(tmp_path), binary_classes=("tree",))
    model = small_model(tmp_path, "swinv2", binary_classes=("tree",)).eval()
    again = build_dense(config, CLASSES, encoder_from_description(model.encoder.describe()))
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval().decode(pixels()).classes, model.decode(pixels()).classes)
        assert torch.equal(copy.deepcopy(model).decode(pixels()).binary, model.decode(pixels()).binary)


@pytest.mark.parametrize(
    ("settings", "classes", "message"),
    [
        ({"binary_classes": ("cars",)}, CLASSES, r"no class 'cars'(.|\n)*did you mean 'car'"),
        ({"binary_classes": ("zebra",)}, CLASSES, r"no class 'zebra'(.|\n)*some of: background, tree, car"),
        ({"binary_classes": CLASSES}, CLASSES, "the binary foreground is everything"),
        ({}, ("wound",), r"nothing to tell apart(.|\n)*found: wound"),
        ({}, (), r"nothing to tell apart(.|\n)*found: none"),
    ],
)
def test_heads_that_the_data_do_not_fit_are_refused(settings, classes, message):
    config = DenseModelConfig(**settings)
    with pytest.raises(ConfigError, match=message):
        build_dense(config, classes)


def test_an_image_size_that_does_not_fit_is_refused_when_built():
    with pytest.raises(ConfigError, match=r"multiples of 8(.|\n)*\[120, 152\] or \[128, 160\]"):
        build_dense(DenseModelConfig(encoder="segtune/tiny-vit", image_size=(124, 156)), CLASSES)


def test_activations_dropped_and_computed_anew_give_the_same_gradients(tmp_path):
    """The engine's switch, a flag of transformers' layers, finds those of a ViT too."""

    def gradients(model):
        model.zero_grad()
        model.decode(pixels()).classes.square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    model = small_model(tmp_path, "dinov2", dropout=0.0).train()
    plain = gradients(model)
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert len(layers) == 5
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    again = gradients(model)
    assert plain.keys() == again.keys()
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)


@pytest.mark.parametrize(("encoder", "size"), [("tiny-vit", (32, 32)), ("tiny-cnn", (32, 36))])
def test_the_tiny_models_learn_two_pictures(encoder, size):
    """A red square and a green oblong on grey: after a few steps almost every pixel is right."""
    torch.manual_seed(0)
    config = DenseModelConfig(
        encoder=f"segtune/{encoder}", image_size=size, width=32, binary_classes=("car",), dropout=0.0
    )
    model: DenseSegmenter = build_dense(config, CLASSES).train()
    labels = torch.zeros(2, *size, dtype=torch.long)
    labels[0, 8:24, 8:24], labels[1, 4:20, 14:30] = 1, 2
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [0.0, 1.5, 0.0]])
    images = colours[labels].permute(0, 3, 1, 2) + 0.1 * torch.randn(2, 3, *size)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(50):
        output = model.decode(images)
        logits = F.interpolate(output.classes, size=size, mode="bilinear")
        binary = F.interpolate(output.binary[:, None], size=size, mode="bilinear")[:, 0]
        loss = F.cross_entropy(logits, labels)
        loss = loss + F.binary_cross_entropy_with_logits(binary, (labels == 2).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (logits.argmax(dim=1) == labels).float().mean() > 0.95
    assert ((binary > 0) == (labels == 2)).float().mean() > 0.95


@pytest.mark.parametrize("decoder", KINDS)
def test_maps_lie_channels_last_and_say_the_same(decoder, tmp_path):
    """The order in memory that makes convolutions fast survives the encoder, and changes no answer."""
    model = small_model(tmp_path, "resnet", decoder=decoder).eval()
    orders = []
    model.decoder.register_forward_hook(
        lambda module, inputs, output: orders.extend(
            one.is_contiguous(memory_format=torch.channels_last) for one in inputs[0]
        )
    )
    images = pixels()
    with torch.no_grad():
        answer = model.decode(images).classes
        plain = model.class_head(model.decoder(model.encoder(images), images))
    assert all(orders[: len(orders) // 2])
    torch.testing.assert_close(answer, plain, rtol=1e-4, atol=1e-5)
