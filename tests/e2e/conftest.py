"""One working directory for the session: a random tiny base, a small drawn dataset and a run trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.commands import BASE, RUNS, SCENES, Done, segtune, training

from segtune.core.input_spec import ConversationConfig
from segtune.data.sources.synthetic.corpus import training_texts
from segtune.models.tiny.architecture import write_tiny_base


@dataclass(frozen=True)
class Trained:
    """A finished run and what its command printed."""

    run: Path
    done: Done


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `base` and `scenes` (8 training, 2 validation and 2 test images) in it; only read these."""
    place = tmp_path_factory.mktemp("e2e")
    write_tiny_base(place / BASE, training_texts(0, 500), 0, ConversationConfig(answers=("<SEG>.",)), 64)
    done = segtune(["data", "synth", SCENES, "--scenes", "12", "--seed", "3"], place)
    assert done.code == 0, done.err
    return place


@pytest.fixture(scope="session")
def trained(workplace: Path) -> Trained:
    """The run `a`, trained by the real command; only read it."""
    done = segtune(training("a"), workplace)
    assert done.code == 0, done.err
    return Trained(workplace / RUNS / "a", done)


@pytest.fixture(autouse=True)
def _in_the_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
