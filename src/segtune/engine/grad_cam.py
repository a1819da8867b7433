"""Grad-CAM: which part of an image speaks for a class, as seen by one layer of a dense model.

Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2. There the score is the logit of an image; of a
segmentation it is the sum of the logits over the pixels that are predicted as the class (Vinogradova et al. 2020,
arXiv 2002.11434).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segtune.core.config import nearest
from segtune.core.errors import ConfigError
from segtune.core.types import DenseOutput
from segtune.models.dense.network import DenseSegmenter

BINARY: Literal["binary"] = "binary"
Target = int | Literal["binary"]

_NAMED = 6  # layers that a message names


def grad_cam(
    model: DenseSegmenter, pixels: Tensor, layer: str, target: Target, *, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The heat map of one image.

    The layer's map A (channels k) is weighted by a_k, the mean over its places of the gradient of the score; the heat
    is ReLU(sum_k a_k A_k), brought to `size` (bilinear) and divided by its largest value. Of a layer that is called
    several times (a ViT's final norm) the last call counts. Nothing of the model is changed: what is frozen stays so,
    and no gradient is left.

    Args:
        model: In any mode; it answers in evaluation mode.
        pixels: Float `[3, h, w]`, model pixels, normalised.
        layer: Name of a module whose output is a map `[1, K, h', w']` or tokens `[1, T, K]` (class and register
            tokens before the patches are left out).
        target: A class, or `binary` for the binary head.
        size: (h, w) of the heat map, such as the original pixels; model pixels if None.

    Returns:
        float32 `[*size]`, 0 to 1; 0 everywhere where nothing speaks for the class.

    Raises:
        ConfigError: There is no such layer (the nearest are named), its output is no map of the image, the score does
            not depend on it, or the model has no such class or head.
    """
    _require_target(model, target)
    module = _layer(model, layer)
    height, width = pixels.shape[-2:]
    with torch.inference_mode(False), torch.enable_grad(), _evaluating(model), _watched(module) as seen:
        # a frozen model has a graph all the same: it hangs on the pixels
        shown = pixels.detach().clone()[None].requires_grad_()
        score = _score(model.decode(shown), target)
        if not seen:
            raise _no_map(model, layer, "it is not called, or gives no single map")
        activation = seen[-1]
        gradient = None
        if activation.requires_grad and score.requires_grad:
            (gradient,) = torch.autograd.grad(score, activation, allow_unused=True)
        if gradient is None:
            raise _no_map(model, layer, "the score does not depend on it, or it does not depend on the image")
    maps = [_as_map(values, (height, width), module, model) for values in (activation.detach(), gradient)]
    if maps[0] is None or maps[1] is None:
        raise _no_map(model, layer, f"an output of shape {list(activation.shape)}")
    values, slopes = maps[0].float(), maps[1].float()
    heat = (slopes.mean(dim=(1, 2), keepdim=True) * values).sum(dim=0).relu()
    wanted = (height, width) if size is None else size
    large = F.interpolate(heat[None, None], size=wanted, mode="bilinear")[0, 0]
    top = large.max()
    return (large / top if top > 0 else torch.zeros_like(large)).cpu().numpy()


def default_layer(model: DenseSegmenter) -> str:
    """The encoder's last block: where a class is told best, at the coarsest places."""
    return _blocks(model)[-1]


def _score(output: DenseOutput, target: Target) -> Tensor:
    """The sum of the target's logits over the pixels that are predicted as it, or over all where none is."""
    if target == BINARY:
        assert output.binary is not None
        logits, predicted = output.binary, output.binary > 0
    else:
        assert output.classes is not None
        assert isinstance(target, int)
        logits, predicted = output.classes[:, target], output.classes.argmax(dim=1) == target
    return logits[predicted].sum() if predicted.any() else logits.sum()


def _require_target(model: DenseSegmenter, target: Target) -> None:
    if target == BINARY:
        if model.binary_head is None:
            raise ConfigError("the model has no binary head", where="target=binary", expected="a class")
        return
    if model.class_head is None:
        raise ConfigError("the model has no head for classes", where=f"target={target}", expected=BINARY)
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < len(model.classes):
        raise ConfigError(
            "there is no such class", where=f"target={target}",
            expected=f"0 to {len(model.classes) - 1} ({', '.join(model.classes)})", found=str(target),
        )  # fmt: skip


def _layer(model: DenseSegmenter, name: str) -> nn.Module:
    modules = dict(model.named_modules())
    if name in modules and name:
        return modules[name]
    near = nearest(name, modules, 3)
    raise ConfigError(
        "the model has no such layer", where=f"layer={name}", expected=f"a name such as {_examples(model)}", found=name,
        fix=f"did you mean {' or '.join(near)}?" if near else "",
    )  # fmt: skip


def _no_map(model: DenseSegmenter, layer: str, found: str) -> ConfigError:
    return ConfigError(
        "the layer gives no map of the image", where=f"layer={layer}", found=found,
        expected="one map [1, K, h, w] or tokens [1, T, K] that lead from the image to the score",
        fix=f"choose another layer, such as {_examples(model)}",
    )  # fmt: skip


def _blocks(model: DenseSegmenter) -> list[str]:
    """The names of the layers at the ends of the encoder's blocks, first to last."""
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(block[-1])] for block in model.encoder.blocks]


def _examples(model: DenseSegmenter) -> str:
    """A few layers worth naming: blocks spread over the depth of the encoder, the last of them and the decoder."""
    blocks = _blocks(model)
    chosen = dict.fromkeys(blocks[len(blocks) * part // _NAMED] for part in range(_NAMED))
    last = [name for name in ("decoder.last",) if name in dict(model.named_modules())]
    return ", ".join([*dict.fromkeys([*chosen, blocks[-1]]), *last])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the modes of before afterwards, module by module."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what a module gives at each call, if that is one tensor of three or four dimensions."""
    seen: list[Tensor] = []

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        """Keeps the output, and hands a copy on that whatever comes next may change in place."""
        parts = list(output) if isinstance(output, tuple) else [output]
        maps = [index for index, part in enumerate(parts) if isinstance(part, Tensor) and part.ndim in (3, 4)]
        if len(maps) != 1:
            return None
        seen.append(parts[maps[0]])
        parts[maps[0]] = seen[-1].clone()
        return tuple(parts) if isinstance(output, tuple) else parts[0]

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def _as_map(values: Tensor, size: tuple[int, int], module: nn.Module, model: DenseSegmenter) -> Tensor | None:
    """The output of a layer as a map `[K, h', w']`, None where it is none of the image of `size` (h, w)."""
    if len(values) != 1:
        return None
    if values.ndim == 3:
        grid = _grid(values.shape[1], size, model)
        if grid is None:
            return None
        patches = values[0, values.shape[1] - grid[0] * grid[1] :]
        return patches.T.reshape(-1, *grid)
    first, last = _same_shape(values.shape[2:], size), _same_shape(values.shape[1:3], size)
    # some layers of ConvNeXt have the channels last; where both would fit, the kind of the layer tells
    normal = isinstance(module, nn.Linear | nn.LayerNorm) and getattr(module, "data_format", "") != "channels_first"
    if last and (normal or not first):
        return values[0].permute(2, 0, 1)
    return values[0] if first else None


def _same_shape(grid: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether height and width of a grid are in the proportion of the image, but for one place more or less."""
    return abs(grid[0] * size[1] - grid[1] * size[0]) <= max(size)


def _grid(tokens: int, size: tuple[int, int], model: DenseSegmenter) -> tuple[int, int] | None:
    """Height and width of the grid that so many tokens lie in: all of them, or but for class and register tokens."""
    own = model.encoder.backbone.config
    special = 0 if model.encoder.family.pyramid else 1 + getattr(own, "num_register_tokens", 0)
    for stride in dict.fromkeys(model.encoder.strides):
        grid = (-(-size[0] // stride), -(-size[1] // stride))
        if tokens - grid[0] * grid[1] in {0, special}:
            return grid
    return None
