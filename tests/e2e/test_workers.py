"""An error or the death of a data worker ends every command soon, with one message and the right exit code."""

from __future__ import annotations

import shutil
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from tests.e2e import faults
from tests.e2e.commands import BASE, RUNS, SCENES, training
from tests.e2e.faults import Ended, Fault, command
from tests.photos import write_photos

WITHIN = 10.0
KINDS = {
    "vanished": (3, "cannot be read"),
    "transform": (3, "this sample cannot be prepared"),
    "end of file": (3, "this sample cannot be prepared"),
    "memory": (1, "out of memory in a data worker"),
    "killed": (1, "a data worker was killed"),
    "exit": (1, "a data worker ended by itself"),
}
PHASES = ("before", "train", "validation", "resume")
QUICK = [
    ("killed", "train", 4, "reasoning"), ("vanished", "train", 1, "reasoning"), ("memory", "validation", 1, "dense"),
    ("killed", "validation", 4, "dense"), ("exit", "resume", 1, "reasoning"), ("transform", "before", 4, "reasoning"),
    ("end of file", "train", 1, "dense"), ("vanished", "resume", 4, "dense"),
]  # fmt: skip
ALL = [
    (kind, phase, count, task)
    for kind in KINDS for phase in PHASES for count in (1, 4) for task in ("reasoning", "dense")
    if (kind, phase, count, task) not in QUICK and (task, phase) != ("dense", "before")
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    return faults.context()


@pytest.fixture
def place(workplace: Path, tmp_path: Path) -> Path:
    """A directory with `data` of its own, for both kinds of segmentation."""
    shutil.copytree(workplace / SCENES, tmp_path / "data")
    shutil.copytree(workplace / BASE, tmp_path / BASE)
    write_photos(tmp_path / "data" / "photos")
    return tmp_path


def _arguments(task: str, count: int, *, before: bool) -> list[str]:
    common = {
        "data.num_workers": count, "train.epochs": 3, "eval.final": False, "eval.before": before, "eval.overlays": 0,
        "run.threads": 1,
    }  # fmt: skip
    if task == "reasoning":
        own = {"data__max_train_samples": 40, "data__max_val_samples": 20, "train__validate_generate": False}
        arguments = training("a", train__best="val_gIoU", train__batch_size=1, eval__max_new_tokens=2, **own)
        arguments = [one.replace(f"synth:{SCENES}@", "reasonseg:data@") for one in arguments]
    else:
        del common["eval.before"], common["eval.overlays"]
        arguments = [
            "train", "shapes", "data.train=masks:data/photos@train", "data.val=masks:data/photos@val",
            "model.image_size=[32, 48]", "model.width=16", "train.batch_size=2", "run.name=a", "train.log_every=1",
            "data.cache=false",
        ]  # fmt: skip
    return [*arguments, *(f"{key}={value}" for key, value in common.items())]


def _require_told(ended: Ended, kind: str) -> None:
    code, words = KINDS[kind]
    assert ended.code == code, ended.err
    assert ended.seconds < WITHIN
    assert ended.err.count("error: ") == 1
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert "bug of segtune" not in ended.err
    assert not ended.left


def _check(kind: str, phase: str, count: int, task: str, place: Path, server: ForkServerContext) -> None:
    samples = "_TrainingSamples" if phase in ("train", "resume") else "_ScoredSamples"
    arguments = _arguments(task, count, before=phase == "before")
    fault = Fault(kind, samples, 1 if phase in ("train", "resume") else None)
    shutil.copytree(place / "data", place / "kept")
    _require_told(command(arguments, fault, place, server), kind)
    run = place / RUNS / "a"
    if phase == "resume":
        shutil.rmtree(place / "data")
        shutil.copytree(place / "kept", place / "data")
        (place / faults.STAMP).unlink()
        _require_told(command(["train", "--resume", str(run)], fault, place, server), kind)
    if kind == "killed" and phase == "train":  # what has been saved is whole
        shutil.rmtree(place / "data")
        shutil.copytree(place / "kept", place / "data")
        resumed = command(["train", "--resume", str(run)], None, place, server)
        assert resumed.code == 0, resumed.err
        assert "after epoch 1 of 3" in resumed.out


@pytest.mark.parametrize(("kind", "phase", "count", "task"), QUICK)
def test_what_happens_to_a_worker_is_one_message(
    kind: str, phase: str, count: int, task: str, place: Path, server: ForkServerContext
) -> None:
    _check(kind, phase, count, task, place, server)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "phase", "count", "task"), ALL)
def test_whatever_happens_to_a_worker_is_one_message(
    kind: str, phase: str, count: int, task: str, place: Path, server: ForkServerContext
) -> None:
    _check(kind, phase, count, task, place, server)
