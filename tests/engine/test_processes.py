"""What concerns several processes and can be seen in one; two real ones are in `e2e/test_distributed.py`."""

from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.engine.test_tracker import _seen
from tests.factory import DrawnSource, plain_loaded

from segtune.core.errors import ConfigError, DataError
from segtune.core.rundir import RunDir
from segtune.data.config import AugmentConfig
from segtune.data.loader import Draw, TrainingLoader
from segtune.engine import loop, processes
from segtune.engine.loop import Trainer
from segtune.engine.state import TrainerState
from segtune.engine.tracker import Tracker

LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP")


@pytest.fixture(autouse=True)
def _not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_is_alone_waits_for_nobody() -> None:
    processes.join()
    value = {"a": 1}
    assert (processes.rank(), processes.world(), processes.is_first()) == (0, 1, True)
    assert processes.gather(value) == [value]
    assert processes.gather(value)[0] is value
    assert processes.from_first(lambda: value) is value
    assert processes.largest(3) == 3
    parameter = torch.nn.Parameter(torch.zeros(2))
    processes.add_gradients([parameter])
    assert parameter.grad is None
    processes.share_buffers(torch.nn.BatchNorm2d(2))


def test_buffers_of_what_trains_travel_and_of_what_rests_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[torch.Tensor] = []
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes.dist, "broadcast", lambda tensor, src: sent.append(tensor))
    training, resting = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2).requires_grad_(False)
    processes.share_buffers(torch.nn.Sequential(resting, torch.nn.ReLU(), torch.nn.Sequential(training)))
    assert len(sent) == 3
    assert all(one is buffer for one, buffer in zip(sent, training.buffers(), strict=True))


def test_an_error_of_a_process_that_is_alone_passes_as_it_is() -> None:
    error = DataError("cannot be read")
    with pytest.raises(DataError) as caught, processes.together():
        raise error
    assert caught.value is error


def test_accelerate_that_starts_one_process_of_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # one process, asked for
    processes.join()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ConfigError, match="has started a single one"):
        processes.join()


def test_shared_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="share one model by FSDP"):
        processes.join()


def test_gradients_travel_in_pieces_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BUCKET", 10)
    sizes = [(4, torch.float32), (6, torch.float32), (1, torch.float32), (2, torch.bfloat16), (99, torch.bfloat16)]
    tensors = [torch.zeros(size, dtype=kind) for size, kind in sizes]
    buckets = list(processes._buckets(tensors))
    assert [[len(tensor) for tensor in bucket] for bucket in buckets] == [[4, 6], [1], [2], [99]]
    assert all(a is b for a, b in zip(chain(*buckets), tensors, strict=True))


@pytest.mark.parametrize("count", [5, 6, 8, 9])
@pytest.mark.parametrize("start", [0, 1])
def test_windows_are_dealt_out_whole(count: int, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with batches of one see in every step what one sees with twice as many micro-batches."""
    loaded = plain_loaded()
    draw = Draw(0, loaded.conversation.wording, None, AugmentConfig())
    loader = TrainingLoader(DrawnSource(count), loaded.transform, draw, batch_size=1, pad_id=0)

    def windows(rank: int, world: int, accumulate: int) -> list[list[str]]:
        monkeypatch.setattr(loop, "rank", lambda: rank)
        monkeypatch.setattr(loop, "world", lambda: world)
        settings = SimpleNamespace(train=SimpleNamespace(accumulate=accumulate))
        trainer: Any = SimpleNamespace(
            settings=settings, training=loader, state=TrainerState(epoch=1, window=start),
            windows_per_epoch=-(-count // (accumulate * world)),
        )  # fmt: skip
        return [[id for batch in window for id in batch.group_ids] for window in Trainer._windows(trainer)]

    whole = windows(0, 1, 4)
    shares = [windows(rank, 2, 2) for rank in (0, 1)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == -(-count // 4) - start
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(window) for window in whole]
    ids = list(chain(*whole))
    assert len(ids) == len(set(ids)) == count - 4 * start


def test_trackers_of_several_processes_are_one() -> None:
    seen = [_seen(seed) for seed in range(4)]
    alone, first, second = Tracker(), Tracker(), Tracker()
    for index, one in enumerate(seen):
        alone.observe(*one)
        (first, second)[index % 2].observe(*one)
    for tracker in (alone, first, second):  # each knows the losses of all
        tracker.step({"ce": 0.5, "bce": 0.5, "dice": 0.5, "loss": 1.5}, 0.25)
    first.merge(second)
    assert first.compute() == pytest.approx(alone.compute(), rel=1e-12)
    assert (first.steps, first.iou.queries, first.pixels) == (1, alone.iou.queries, alone.pixels)


def test_another_process_gets_a_run_directory_that_it_does_not_write(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a")
    run.write_text("kept.txt", "as it was")
    with pickle.loads(pickle.dumps(run)) as other:  # would be refused if it locked
        assert other.write_text("kept.txt", "another") == run.path / "kept.txt"
        other.write_json("new.json", {})
        other.append_jsonl("new.jsonl", {})
        other.write_jsonl("new.jsonl", [{}])
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "kept.txt"]
    assert (run.path / "kept.txt").read_text() == "as it was"
    run.release()


def test_a_run_goes_on_with_as_many_processes_as_it_had() -> None:
    TrainerState().require_processes(1)
    TrainerState(processes=2).require_processes(2)
    with pytest.raises(ConfigError, match="torchrun --nproc-per-node 2"):
        TrainerState(processes=2).require_processes(1)
    with pytest.raises(ConfigError, match="without torchrun"):
        TrainerState().require_processes(4)
