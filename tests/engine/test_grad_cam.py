"""Grad-CAM by hand on a linear model, on every family, and on models that have learned where an object is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.engine.dense_toys import upsampled
from tests.models.dense.encoders import HUB, SIZE, VITS, pixels, small_model
from torch import nn

from segtune.core.errors import ConfigError
from segtune.core.types import DenseOutput
from segtune.data.dense.transforms import DenseTransform
from segtune.engine.dense_predictor import DensePredictor
from segtune.engine.grad_cam import default_layer, grad_cam
from segtune.models.dense.blocks import unfreeze
from segtune.models.dense.config import DenseModelConfig
from segtune.models.dense.network import build_dense


class Linear(nn.Module):
    """Two 1x1 convolutions: maps of two channels, then logits."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = ("a", "b")
        self.features = nn.Conv2d(3, 2, 1, bias=False)
        self.features.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[:, :, None, None]
        self.act = nn.ReLU(inplace=True)
        self.class_head = nn.Conv2d(2, 2, 1, bias=False)
        self.class_head.weight.data = torch.tensor([[3.0, -1.0], [0.0, 2.0]])[:, :, None, None]
        self.binary_head = None

    def decode(self, shown: torch.Tensor) -> DenseOutput:
        return DenseOutput(self.class_head(self.act(self.features(shown))), None)


def _picture() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(3, 6, 8)).astype(np.float32))


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("layer", ["features", "act"])
@pytest.mark.parametrize("size", [None, (15, 13)])
def test_a_linear_model_by_hand(target, layer, size) -> None:
    """Also in front of an activation that changes its input in place."""
    shown = _picture().double().numpy()
    before = shown[:2]
    after = np.maximum(before, 0)
    weights = np.array([[3.0, -1.0], [0.0, 2.0]])
    logits = np.einsum("ck,khw->chw", weights, after)
    predicted = logits.argmax(axis=0) == target
    slope = weights[target][:, None, None] * predicted  # d score / d (what comes after the activation)
    values = after
    if layer == "features":
        values, slope = before, slope * (before > 0)
    heat = np.maximum((slope.mean(axis=(1, 2), keepdims=True) * values).sum(axis=0), 0)
    expected = upsampled(heat, (6, 8) if size is None else size)
    found = grad_cam(Linear(), _picture(), layer, target, size=size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-5)


def test_where_nothing_is_predicted_all_pixels_count() -> None:
    model = Linear()
    model.class_head.weight.data[0] = 0
    shown = _picture()
    shown[1] = shown[1].abs() + 0.1  # class 1 everywhere
    model.class_head.weight.data[0, 0] = 1e-3
    heat = np.maximum(_picture()[0].numpy(), 0)
    np.testing.assert_allclose(grad_cam(model, shown, "act", 0), heat / heat.max(), atol=1e-5)


def test_nothing_speaks_for_a_class() -> None:
    model = Linear()
    model.class_head.weight.data[1] = -1
    assert not grad_cam(model, _picture(), "act", 1).any()


@pytest.mark.parametrize("family", HUB)
@pytest.mark.parametrize("frozen", [True, False])
def test_every_family_and_nothing_is_left_behind(family, frozen, tmp_path) -> None:
    model = small_model(tmp_path, family, binary_classes=("car",)).train()
    unfreeze(model, 0 if frozen else 1)
    if frozen:
        model.requires_grad_(False)
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    image = pixels()[0]
    with torch.no_grad():
        model.decode(image[None])  # transformers puts hooks of its own in at the first call
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    for layer in (default_layer(model), "decoder.last", "decoder"):
        for target in (1, "binary"):
            heat = grad_cam(model, image, layer, target, size=(31, 50))
            assert (heat.shape, heat.dtype) == ((31, 50), np.float32)
            assert heat.min() >= 0
            assert heat.max() in (0, 1)
    with torch.inference_mode():
        again = grad_cam(model, image, default_layer(model), 1)
    np.testing.assert_allclose(again, grad_cam(model, image, default_layer(model), 1), atol=1e-6)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == wanted
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert not image.requires_grad


@pytest.mark.parametrize("family", VITS)
def test_tokens_lie_where_their_patches_do(family, tmp_path) -> None:
    """Against the reading of tokens by hand: class and register tokens first, then the rows of patches."""
    model = small_model(tmp_path, family).eval()
    name = default_layer(model)
    module, kept = dict(model.named_modules())[name], []
    handle = module.register_forward_hook(lambda _, __, output: kept.append(output))
    shown = pixels(1).requires_grad_()
    logits = model.decode(shown).classes
    handle.remove()
    (tokens,) = (kept[0],) if isinstance(kept[0], torch.Tensor) else kept[0][:1]
    (slope,) = torch.autograd.grad(logits[:, 0][logits.argmax(1) == 0].sum(), tokens)
    grid = (SIZE[0] // 4, SIZE[1] // 4)
    special = tokens.shape[1] - grid[0] * grid[1]
    assert special == {"dinov2": 1, "dinov2_with_registers": 5, "dinov3_vit": 3}[family]
    weight = slope[0, special:].mean(0)
    heat = (tokens[0, special:] @ weight).detach().relu().reshape(grid)
    found = grad_cam(model, pixels(1)[0], name, 0)
    expected = upsampled(heat.numpy(), SIZE)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-4)


def test_channels_that_come_last_are_recognised(tmp_path) -> None:
    """Inside ConvNeXt's blocks; the linear layer and the activation behind it have the same places."""
    model = small_model(tmp_path, "convnext").eval()
    block = default_layer(model)
    inner = [name for name in dict(model.named_modules()) if name.startswith(f"{block}.")]
    for suffix in ("pwconv1", "act", "dwconv", "layernorm"):
        (name,) = [one for one in inner if one.endswith(suffix)]
        assert grad_cam(model, pixels(1)[0], name, 0).shape == SIZE


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("decoder.lats", r"no such layer(.|\n)*such as encoder\.backbone(.|\n)*did you mean decoder\.last"),
        ("", "no such layer"),
        ("encoder", r"no map of the image(.|\n)*choose another layer, such as encoder\.backbone"),
        ("class_head.dropout.x", "no such layer"),
        ("decoder.stem", "no map of the image"),
        ("binary_head", "no map of the image(.|\n)*does not depend on"),
    ],
)
def test_a_layer_that_cannot_be_is_told_with_others(layer, message, tmp_path) -> None:
    model = small_model(tmp_path, "resnet", binary_classes=("car",))
    with pytest.raises(ConfigError, match=message):
        grad_cam(model, pixels()[0], layer, 0)


def test_a_class_or_head_that_is_not_there_is_told(tmp_path) -> None:
    model = small_model(tmp_path, "resnet")
    for target, message in ((3, r"no such class(.|\n)*0 to 2 \(background, tree, car\)"), ("binary", "no binary head")):
        with pytest.raises(ConfigError, match=message):
            grad_cam(model, pixels()[0], default_layer(model), target)
    alone = small_model(tmp_path / "b", "resnet", multiclass=False, binary_classes=("car",))
    with pytest.raises(ConfigError, match="no head for classes"):
        grad_cam(alone, pixels()[0], default_layer(alone), 1)


@pytest.mark.parametrize("encoder", ["tiny-vit", "tiny-cnn"])
def test_heat_lies_on_the_object_that_a_model_has_learned(encoder) -> None:
    """Red squares at random places on grey: after some steps the heat is inside, for the class and the mask."""
    torch.manual_seed(0)
    size = (64, 64)
    model = build_dense(
        DenseModelConfig(encoder=f"segtune/{encoder}", image_size=size, width=32, binary_classes=("car",), dropout=0.0),
        ("background", "car"),
    ).train()
    draw = torch.Generator().manual_seed(1)

    def scenes(count):
        labels = torch.zeros(count, *size, dtype=torch.long)
        for one in labels:
            top, left = torch.randint(0, 32, (2,), generator=draw).tolist()
            one[top : top + 32, left : left + 32] = 1
        shown = 0.3 * torch.randn(count, 3, *size, generator=draw)
        shown[:, 0] += 2.0 * labels
        return shown, labels

    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        shown, labels = scenes(4)
        output = model.decode(shown)
        logits = F.interpolate(output.classes, size=size, mode="bilinear")
        binary = F.interpolate(output.binary[:, None], size=size, mode="bilinear")[:, 0]
        loss = F.cross_entropy(logits, labels) + F.binary_cross_entropy_with_logits(binary, labels.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.requires_grad_(False)
    shown, labels = scenes(3)
    for one, truth in zip(shown, labels.numpy() == 1, strict=True):
        for target in (1, "binary"):
            heat = grad_cam(model, one, "decoder.last", target)
            assert heat[truth].mean() > 2 * heat[~truth].mean()


def test_the_predictor_asks_by_name_in_original_pixels(tmp_path) -> None:
    model = small_model(tmp_path, "resnet", binary_classes=("car",))
    predictor = DensePredictor(model, DenseTransform(SIZE, (0.5,) * 3, (0.5,) * 3))
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3)).astype(np.uint8)
    by_name, by_label = (predictor.heat(image, target, "decoder.last") for target in ("tree", 1))
    assert np.array_equal(by_name, by_label)
    assert predictor.heat(image, "binary").shape == (40, 70)
