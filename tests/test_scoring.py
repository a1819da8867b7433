"""What scoring by name tells of the model: a base that knows drawn scenes alone is asked about photographs."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import tiny_base

from segtune import experiment
from segtune.config import load_recipe
from segtune.data.sources.synthetic.write import write_dataset
from segtune.engine import base_notes

WORDS = "segtune/tiny knows drawn scenes of coloured shapes and nothing else"


@pytest.fixture(autouse=True)
def _told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A directory with photographs, no accelerator, and warnings that the test can read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(logging.getLogger("segtune"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="segtune")
    asked = {"text": ["the dog"], "shapes": [{"label": "target", "points": [[4, 4], [30, 6], [20, 30]]}]}
    for index, split in enumerate(("train", "train", "val")):
        path = Path("photos") / split / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(noise).save(path)
        path.with_suffix(".json").write_text(json.dumps(asked))


def _score(model: str, data: str) -> None:
    experiment.evaluate(model, data, modes=["forced"], out=Path("scores"), limit=1)


def test_the_embedded_base_is_told_to_know_no_photographs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`predict` said so, `evaluate` did not."""
    _score("segtune/tiny", "photos@val")
    assert caplog.text.count(WORDS) == 1
    caplog.clear()
    _score(str(tiny_base()), "photos@val")
    monkeypatch.setattr(base_notes, "is_first", lambda: False)  # of several processes one speaks
    assert base_notes.tell_what_it_knows("segtune/tiny").startswith(WORDS)
    assert WORDS not in caplog.text


@pytest.mark.parametrize("data", ["synth:scenes@val", "scenes@val", "reasonseg:scenes@val", "stream:attributes@val"])
def test_of_drawn_scenes_it_is_silent(data: str, caplog: pytest.LogCaptureFixture) -> None:
    write_dataset(Path("scenes"), scenes=8, seed=3)
    _score("segtune/tiny", data)
    assert WORDS not in caplog.text
    shutil.rmtree("scenes")


def test_training_from_it_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    settings = [
        "data.train=photos@train", "data.val=photos@val", "model.base=segtune/tiny", "optim.warmup_steps=0",
        "train={epochs: 1, batch_size: 2}", "eval={final: true, before: true, max_new_tokens: 2}",
        "run={name: a, threads: 1}",
    ]  # fmt: skip
    run = experiment.train(load_recipe("quickstart", settings))
    _score(str(run.path), "photos@val")
    assert WORDS not in caplog.text
