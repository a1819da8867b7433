"""A step that is skipped or given up leaves no trace: neither in weights nor in what a forward pass moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from tests.data.dense.labelled import Drawn
from tests.models.dense.encoders import dense_config
from torch import nn

from segtune.core.types import DenseBatch
from segtune.data.dense.loader import DenseScoringLoader
from segtune.engine.buffers import BufferSnapshot, preserved_buffers
from segtune.engine.config import OptimConfig
from segtune.engine.dense_loading import DenseLoaded, build_loaded
from segtune.engine.optim import build_optimizer
from segtune.engine.step import StepReport, train_step
from segtune.losses.config import DenseLossConfig
from segtune.losses.dense import DenseObjective


def _loaded() -> DenseLoaded:
    """A model with batch norms in encoder and decoder, in training mode."""
    torch.manual_seed(0)
    loaded = build_loaded(
        dense_config("segtune/tiny-cnn", image_size=(32, 64), width=8, norm="batch"), Drawn.classes, "all"
    )
    loaded.model.train()
    return loaded


def _window(loaded: DenseLoaded, *spoiled: int, size: int = 4, value: float = float("nan")) -> list[DenseBatch]:
    """Micro-batches of two images, those of some positions with a pixel that no picture has."""
    window = list(DenseScoringLoader(Drawn(2 * size), loaded.transform, batch_size=2).batches())
    for index in spoiled:
        pixels = window[index].pixels.clone()
        pixels[0, 0, 5, 5] = value
        window[index] = replace(window[index], pixels=pixels)
    return window


def _step(loaded: DenseLoaded, optimizer: torch.optim.Optimizer, window, accelerator=None, observe=None) -> StepReport:
    objective = DenseObjective(DenseLossConfig(), multiclass=True, foreground=None)
    return train_step(
        loaded.model, window, optimizer, rate=1e-3, clip=1.0, objective=objective,
        accelerator=accelerator or Accelerator(cpu=True), observe=observe or (lambda *_: None),
    )  # fmt: skip


def _everything(loaded: DenseLoaded, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights, buffers and the optimiser's moments and counters."""
    kept = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    for index, entry in optimizer.state_dict()["state"].items():
        kept |= {f"optimizer.{index}.{key}": torch.as_tensor(value).clone() for key, value in entry.items()}
    return kept


def _assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("spoiled", [(0,), (2,), (3,), (0, 1, 2, 3)])
def test_a_skipped_window_leaves_everything_as_it_was(spoiled: tuple[int, ...]) -> None:
    loaded = _loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    assert not _step(loaded, optimizer, _window(loaded)).skipped
    before = _everything(loaded, optimizer)
    assert sum("running" in name for name in before) >= 10
    assert sum("num_batches_tracked" in name for name in before) >= 5
    assert _step(loaded, optimizer, _window(loaded, *spoiled)).skipped
    _assert_same(_everything(loaded, optimizer), before)


def test_training_goes_on_as_if_the_bad_window_had_never_come() -> None:
    results = []
    for windows in ([()], [(1,), ()], [(), (0,), (3,)]):
        loaded = _loaded()
        optimizer = build_optimizer(loaded.model, OptimConfig())
        for spoiled in windows:
            torch.manual_seed(7)  # dropout of each step as in the loop
            _step(loaded, optimizer, _window(loaded, *spoiled))
        results.append(_everything(loaded, optimizer))
    _assert_same(results[0], results[1])
    _assert_same(results[0], results[2])
    loaded.model.eval()
    assert bool(torch.isfinite(loaded.model(_window(loaded)[0]).classes).all())


def test_a_process_whose_own_batches_are_good_takes_them_back_with_the_others(monkeypatch) -> None:
    loaded, accelerator = _loaded(), Accelerator(cpu=True)
    optimizer = build_optimizer(loaded.model, OptimConfig())
    before = _everything(loaded, optimizer)
    elsewhere = iter([0.0, float("nan"), *[0.0] * 9])  # the counts, then the first sum of losses, of another process
    monkeypatch.setattr(accelerator, "reduce", lambda value, reduction: value + next(elsewhere))
    assert _step(loaded, optimizer, _window(loaded), accelerator).skipped
    _assert_same(_everything(loaded, optimizer), before)


def test_a_running_variance_that_overflows_is_no_step_though_the_loss_is_finite() -> None:
    loaded = _loaded()
    optimizer = build_optimizer(loaded.model, OptimConfig())
    before = _everything(loaded, optimizer)
    norm = next(module for module in loaded.model.modules() if isinstance(module, nn.BatchNorm2d))
    hook = norm.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 1e25,))
    report = _step(loaded, optimizer, _window(loaded))
    hook.remove()
    assert bool(torch.isfinite(report.terms["loss"]))
    assert report.skipped
    _assert_same(_everything(loaded, optimizer), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_a_window_given_up_in_the_middle_leaves_everything_as_it_was(error: type[BaseException]) -> None:
    loaded, seen = _loaded(), []

    def observe(output: object, batch: object) -> None:
        seen.append(batch)
        if len(seen) == 3:
            raise error

    optimizer = build_optimizer(loaded.model, OptimConfig())
    before = _everything(loaded, optimizer)
    with pytest.raises(error):
        _step(loaded, optimizer, _window(loaded), observe=observe)
    _assert_same(_everything(loaded, optimizer), before)
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


class _Replacing(nn.Module):
    """Assigns its buffer anew, as some modules do, beside one that was never finite and one that is absent."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("mask", torch.full((2, 2), float("-inf")))
        self.register_buffer("absent", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + x
        return x


def test_a_buffer_that_is_replaced_comes_back_and_one_that_was_infinite_is_not_broken() -> None:
    module = _Replacing()
    own = module.seen
    with preserved_buffers(module, torch.device("cpu")) as snapshot:
        module(torch.tensor([1.0, 2.0]))
        assert int(snapshot.broken()) == 0
        module(torch.tensor([float("inf"), 2.0]))
        assert int(snapshot.broken()) == 1
        snapshot.restore()
    assert module.seen is own
    assert module.seen.tolist() == [0, 0]


def test_modules_at_rest_are_not_copied() -> None:
    assert BufferSnapshot(nn.BatchNorm2d(2).eval(), torch.device("cpu")).broken() == 0
    assert BufferSnapshot(nn.Linear(2, 2), torch.device("cpu")).broken() == 0
