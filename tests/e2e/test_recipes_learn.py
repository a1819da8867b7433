"""Every shipped recipe for a CPU teaches its model something: it beats the best that can be had without a model.

The runs are those of the real command. Where the recipe takes many minutes its epochs are fewer, as the schedule is
then too, and the score is lower than the one in `benchmarks/results`. `tiny-base` begins with nothing and needs hours;
its scores stand beside the weights that it made.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.commands import segtune
from tests.external import shared_data

from segtune.core.files import read_json
from segtune.core.recipe_files import shipped_recipes

pytestmark = pytest.mark.slow

TWO = "run.num_processes=auto"
NEED_A_GPU = {"own", "llava15-7b-qlora", "dinov2-giant-stages"}
LEARNS: dict[str, tuple[str, str | None, list[str], float]] = {
    "quickstart": ("gIoU", None, [TWO, "train.epochs=1", "eval.before=false"], 0.20),
    "shapes": ("mIoU", None, ["run.threads=2"], 0.30),
    "tiny-vit": ("mIoU", None, ["run.threads=2", "train.epochs=1", "optim.warmup_steps=30"], 0.0),
    "street": ("gIoU", "camvid_reasonseg", [TWO, "train.epochs=12"], 0.0),
    "camvid": ("mIoU", "camvid", ["train.epochs=2"], 0.10),
    "wounds": ("foreground_dice", "foot_ulcer", ["train.epochs=2"], 0.15),
}
"""By recipe: the score, the data from outside, what is different, and a score that it reaches besides."""

SHORT = ("quickstart", "shapes")
"""Those that `make test-slow` trains; the others take minutes each: `make test-slow ARGS='-m long'`."""

TINY_BASE = Path(__file__).resolve().parents[2] / "src" / "segtune" / "models" / "tiny" / "weights" / "README.md"
EVERYTHING = 0.052
"""The gIoU of painting all pixels on the stream that the tiny base is validated on (docs/tiny-base.md)."""


def test_no_recipe_is_left_out() -> None:
    assert {*LEARNS, *NEED_A_GPU, "tiny-base"} == set(shipped_recipes())


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[] if name in SHORT else pytest.mark.long) for name in LEARNS]
)
def test_a_recipe_beats_the_best_trivial_baseline(recipe: str, tmp_path: Path) -> None:
    metric, data, settings, bound = LEARNS[recipe]
    root = [] if data is None else [f"data.root={shared_data(data)}"]
    common = ["run.name=run", "eval.overlays=0", "train.validate_every=100"]
    done = segtune(["train", recipe, *common, *root, *settings], tmp_path, timeout=1500)
    assert done.code == 0, done.err
    documents = [read_json(path) for path in (tmp_path / "runs" / "run").glob("eval_*.json")]
    assert documents
    for document in documents:
        score, best = document["metrics"][metric], _best_baseline(document, metric)
        print(f"{recipe}: {metric} {score:.3f}, without a model {best:.3f}")
        assert score > best
        assert score >= bound


def _best_baseline(document: dict[str, Any], metric: str) -> float:
    values = [row[metric] for row in document["baselines"].values() if row.get(metric) is not None]
    if metric == "mIoU":  # a stream has no training data whose most frequent class is known; this is the best class
        most = max(row["truth"] for row in document["by_class"].values())
        values.append(most / document["counts"]["pixels"] / len(document["classes"]))
    assert values
    return float(max(values))


def test_the_tiny_base_beats_painting_everything() -> None:
    row = next(line for line in TINY_BASE.read_text().splitlines() if line.startswith("| attributes | val | forced"))
    assert float(re.split(r"\s*\|\s*", row)[5]) > EVERYTHING
