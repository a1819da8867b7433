from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from segtune.core.errors import CheckpointError
from segtune.engine.ema import Ema


def _model(value: float = 1.0, dtype: torch.dtype = torch.float32) -> nn.Module:
    model = nn.Linear(3, 2).to(dtype)
    with torch.no_grad():
        model.weight.fill_(value)
    model.bias.requires_grad_(False)
    return model


def _set(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        model.weight.fill_(value)


def test_the_average_by_hand():
    """The decays of the first steps are 1/10 and 2/11, and never more than the one that is asked for."""
    model = _model(1.0)
    ema = Ema(model, 0.15)
    _set(model, 2.0)
    ema.update(0)
    assert ema.state()["weight"][0, 0] == pytest.approx(0.1 * 1.0 + 0.9 * 2.0)
    _set(model, 4.0)
    ema.update(1)
    assert ema.state()["weight"][0, 0] == pytest.approx(0.15 * 1.9 + 0.85 * 4.0)
    long = Ema(_model(0.0), 0.9999)
    long._weights["weight"].data.fill_(1.0)
    long.update(1)
    assert long.state()["weight"][0, 0] == pytest.approx(9 / 11)


def test_only_what_trains_is_averaged():
    assert Ema(_model(), 0.9).state().keys() == {"weight"}


def test_the_weights_come_back_bit_for_bit():
    torch.manual_seed(0)
    model = _model()
    ema = Ema(model, 0.9)
    with torch.no_grad():
        model.weight.normal_()
    ema.update(0)
    own, place = model.weight.detach().clone(), model.weight.data_ptr()
    with ema.applied():
        assert torch.equal(model.weight, ema.state()["weight"])
        assert not torch.equal(model.weight, own)
    assert torch.equal(model.weight, own)
    assert model.weight.data_ptr() == place  # the optimiser still has them
    with contextlib.suppress(KeyError), ema.applied():
        raise KeyError
    assert torch.equal(model.weight, own)


def test_low_precision_does_not_stall_the_average():
    model = _model(1.0, torch.bfloat16)
    ema = Ema(model, 0.999)
    _set(model, 2.0)
    for _ in range(100):
        ema.update(10**6)
    assert ema.state()["weight"].dtype == torch.float32
    assert ema.state()["weight"][0, 0] == pytest.approx(2 - 0.999**100, rel=1e-4)


def test_it_goes_on_where_it_was_saved():
    straight = Ema(_model(), 0.9)
    straight._weights["weight"].data.normal_(generator=torch.Generator().manual_seed(0))
    straight.update(3)
    resumed = Ema(_model(), 0.9)
    resumed.load({name: value.clone() for name, value in straight.state().items()}, "here")
    assert torch.equal(resumed.state()["weight"], straight.state()["weight"])


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"weight": torch.zeros(2, 3), "other": torch.zeros(1)},
        {"weight": torch.ones(3)},
        {"weight": torch.zeros(2, 3).half()},
    ],
)
def test_the_averages_of_another_model_are_refused(state):
    with pytest.raises(CheckpointError, match="other parameters") as caught:
        Ema(_model(), 0.9).load(state, "last")
    assert caught.value.found in ("weight", "other")
