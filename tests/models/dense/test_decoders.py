from __future__ import annotations

import itertools

import pytest
import torch
from tests.models.dense.encoders import dense_config
from torch import nn

from segtune.models.dense.decoders import build_decoder
from segtune.models.dense.layers import ConvNormAct

VIT, PYRAMID = ((12, 12, 12, 12), (8,) * 4), ((8, 12, 16, 20), (4, 8, 16, 32))
KINDS = ("unet", "dpt", "linear")


def _built(kind, encoder, **settings):
    torch.manual_seed(0)
    return build_decoder(dense_config("segtune/tiny-vit", decoder=kind, **settings), *encoder)


def _maps(encoder, size=(64, 96), seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [
        torch.randn(2, channels, -(-size[0] // stride), -(-size[1] // stride), generator=generator)
        for channels, stride in zip(*encoder, strict=True)
    ]
    return maps, torch.randn(2, 3, *size, generator=generator)


def _count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("kind", "encoder", "settings", "stride"),
    [
        ("unet", VIT, {}, 1), ("unet", PYRAMID, {}, 1), ("unet", PYRAMID, {"pixel_skips": False}, 4),
        ("dpt", VIT, {}, 1), ("dpt", PYRAMID, {}, 2), ("linear", VIT, {}, 8), ("linear", PYRAMID, {}, 4),
    ],
)  # fmt: skip
def test_the_map_covers_the_image_at_the_stride_it_says(kind, encoder, settings, stride):
    decoder = _built(kind, encoder, **settings)
    found = decoder(*_maps(encoder))
    assert decoder.stride == stride
    assert found.shape == (2, decoder.channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("kind", ["unet", "dpt"])
@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_every_norm_is_of_the_kind_that_was_asked_for(kind, encoder):
    found = {
        norm: [type(m) for m in _built(kind, encoder, norm=norm).modules() if "Norm" in type(m).__name__]
        for norm in ("group", "batch")
    }
    found = {norm: [one for one in types if not issubclass(one, ConvNormAct)] for norm, types in found.items()}
    assert set(found["group"]) == {nn.GroupNorm}
    assert set(found["batch"]) == {nn.BatchNorm2d}
    assert len(found["group"]) == len(found["batch"]) > 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_maps_that_are_no_multiples_of_each_other(kind, encoder):
    size = (120, 152)
    found = _built(kind, encoder)(*_maps(encoder, size))
    stride = _built(kind, encoder).stride
    assert found.shape[-2:] == (120 / stride, 152 / stride)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_every_map_and_every_parameter_counts(kind, encoder):
    decoder = _built(kind, encoder)
    maps, pixels = _maps(encoder)
    for map_ in maps:
        map_.requires_grad_()
    decoder(maps, pixels).square().sum().backward()
    assert all(map_.grad.abs().max() > 0 for map_ in maps)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in decoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_images_of_a_batch_do_not_mix_and_nothing_is_remembered(kind, encoder):
    decoder = _built(kind, encoder).train()
    assert not list(decoder.buffers())
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in decoder.modules())
    maps, pixels = _maps(encoder)
    together = decoder(maps, pixels)
    alone = torch.cat([decoder([m[i : i + 1] for m in maps], pixels[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_pixels_reach_the_unet_of_a_pyramid_only_by_the_skips_from_them():
    maps, pixels = _maps(PYRAMID)
    for skips in (True, False):
        decoder = _built("unet", PYRAMID, pixel_skips=skips)
        assert torch.equal(decoder(maps, pixels), decoder(maps, 2 * pixels)) is not skips


@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_the_linear_decoder_is_linear(encoder):
    decoder = _built("linear", encoder).double()
    (a, pixels), (b, _) = _maps(encoder), _maps(encoder, seed=1)
    a, b = [m.double() for m in a], [m.double() for m in b]
    zero = decoder([0 * m for m in a], pixels)
    mixed = decoder([2 * x - 3 * y for x, y in zip(a, b, strict=True)], pixels)
    expected = 2 * (decoder(a, pixels) - zero) - 3 * (decoder(b, pixels) - zero)
    torch.testing.assert_close(mixed - zero, expected)


def test_the_linear_decoder_at_one_place_is_a_sum_of_products():
    decoder = _built("linear", VIT)
    maps, pixels = _maps(VIT)
    found = decoder(maps, pixels)[1, :, 3, 5]
    expected = sum(layer.weight[:, :, 0, 0] @ m[1, :, 3, 5] + layer.bias
                   for layer, m in zip(decoder.projections, maps, strict=True))  # fmt: skip
    torch.testing.assert_close(found, expected)


def _conv(inputs, outputs, kernel, *, bias=False, norm=False):
    return inputs * outputs * kernel**2 + (outputs if bias else 0) + (2 * outputs if norm else 0)


@pytest.mark.parametrize(
    ("encoder", "widths", "stem", "settings"),
    [
        (VIT, [16, 32, 64, 64], 0, {}), (PYRAMID, [16, 16, 16, 32, 64, 64], 2, {}),
        (PYRAMID, [32, 32, 32, 32, 64, 64], 2, {"narrowest": 32}), (VIT, [64, 64, 64, 64], 0, {"narrowest": 99}),
    ],
)  # fmt: skip
def test_a_hand_count_of_the_unet(encoder, widths, stem, settings):
    total = sum(_conv(c, w, 1, norm=True) for c, w in zip(encoder[0], widths[stem:], strict=True))
    total += sum(
        _conv(i, o, 3, norm=True) + _conv(o, o, 3, norm=True) for i, o in itertools.pairwise([3, *widths[:stem]])
    )
    for fine, coarse in itertools.pairwise(widths):
        total += _conv(fine + coarse, fine, 3, norm=True) + _conv(fine, fine, 3, norm=True)
    total += _conv(widths[0], widths[0], 3, norm=True)
    assert _count(_built("unet", encoder, width=64, **settings)) == total


@pytest.mark.parametrize("encoder", [VIT, PYRAMID])
def test_a_hand_count_of_dpt(encoder):
    width = 24
    total = sum(_conv(c, width, 1, bias=True) + _conv(width, width, 3) for c in encoder[0])
    if encoder is VIT:
        total += sum(_conv(width, width, kernel, bias=True) for kernel in (4, 2, 3))
    units = 4 + 3  # one in each of four fusions, one more wherever there is a skip
    total += units * 2 * _conv(width, width, 3, norm=True) + 4 * _conv(width, width, 1, bias=True)
    total += _conv(width, width, 3, norm=True)
    assert _count(_built("dpt", encoder, width=24)) == total


def test_the_reassembled_depths_of_a_vit_have_the_strides_of_the_paper():
    decoder = _built("dpt", VIT)
    maps, _ = _maps(VIT)
    sides = [layer(m).shape[-1] for layer, m in zip(decoder.reassemble, maps, strict=True)]
    assert sides == [4 * 12, 2 * 12, 12, 6]
