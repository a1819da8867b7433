"""`segtune search --ray` on a real Ray of this machine; skips where Ray is not installed (`pip install ray`)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.e2e.commands import finish, start

from segtune.core.files import write_text
from segtune.core.yaml_files import dump_mapping

pytest.importorskip("optuna")
pytest.importorskip("ray")

SETTINGS = (
    "data.train=synth:shapes@train", "data.val=synth:shapes@val", "data.synth={scenes: 20, seed: 1}",
    "model={width: 16, image_size: [64, 64]}", "train.batch_size=4", "optim.warmup_steps=1", "eval.final=false",
)  # fmt: skip
GRID = {
    "recipe": "shapes",
    "overrides": list(SETTINGS),
    "epochs": 1,
    "axes": {"optim.lr": [1e-3, 2e-3, 4e-3], "losses.dice": [0.0, 1.0]},
}


@pytest.mark.slow
def test_two_workers_of_a_ray_run_each_point_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    write_text(tmp_path / "small.yaml", dump_mapping(GRID))
    done = finish(start(["search", "small.yaml", "--ray", "--workers", "2"], tmp_path))
    assert done.code == 0, done.err
    assert "2 trials at once on Ray, 0 GPUs each" in done.err
    assert "6 points: 6 complete, 0 pruned, 0 running, 0 failed, 0 not begun" in done.out
    with (tmp_path / "runs/searches/small/leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    settings = {(float(row["optim.lr"]), float(row["losses.dice"])) for row in rows}
    assert settings == {(rate, dice) for rate in (1e-3, 2e-3, 4e-3) for dice in (0.0, 1.0)}
    assert all(0 < float(row["val_mIoU"]) < 1 for row in rows)
