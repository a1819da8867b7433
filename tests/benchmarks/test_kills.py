"""Three kills of the benchmark of kills: before a pointer moves, in the middle of a checkpoint, in a validation."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from segtune import experiment

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"
KIND = "dense"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segtune_kills", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the run that nothing has stopped, and copies of it before its file events."""
    place = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        with bench.quick():
            experiment.train(bench.configuration(KIND, place / "straight"))
            with bench.Recorder(place / "watched" / bench.NAME, place / "copies") as recorder:
                experiment.train(bench.configuration(KIND, place / "watched"))
    assert recorder.events == len(recorder.taken) > 100
    place.joinpath("moments").write_text("\n".join(f"{path}\t{moment}" for path, moment in recorder.taken))
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.mark.parametrize(
    ("moment", "which", "went_on"), [("os.rename .last.", 3, "resumed"), ("open trainer_state.json", 0, "anew")]
)
def test_killed_before_a_file_event(moment: str, which: int, went_on: str, bench: ModuleType, place: Path) -> None:
    lines = [line.split("\t") for line in (place / "moments").read_text().splitlines()]
    path, told = [(Path(path), told) for path, told in lines if told.startswith(moment)][which]
    outcome = bench.go_on(KIND, path, told, place / "straight" / bench.NAME)
    assert (outcome.went_on, outcome.different) == (went_on, "")


def test_killed_in_a_validation(bench: ModuleType, place: Path) -> None:
    path, moment = bench.killed(KIND, place / "killed", None, 60.0)
    assert moment.endswith("in a validation")
    assert os.readlink(path / "checkpoints/last").endswith("-unvalidated")
    outcome = bench.go_on(KIND, path, moment, place / "straight" / bench.NAME)
    assert (outcome.went_on, outcome.different) == ("resumed", "")
