"""The rows of the quickstart's benchmark: appended and never lost, compared with their like, quoted by the README."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.factory import tiny_base

from segtune.config import load_recipe

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "quickstart.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segtune_quickstart", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_score(value: float, negation: float, **changes: Any) -> dict[str, Any]:
    kinds = {"comparison": value, "function": value, "negation": negation, "relation": value}
    base = {"gIoU": value, "kinds": kinds, "emission_rate": 1.0, "mean_mask_of_the_words": 0.1, "empty_targets": 0}
    return {**base, **changes}


def a_row(value: float, negation: float, **changes: Any) -> dict[str, Any]:
    before, after = a_score(0.15, 0.15), a_score(value, negation)
    base = {
        "settings": {"train.epochs": 1}, "before": before, "before_forced": before, "validation": after,
        "validation_forced": after, "test": a_score(value - 0.1, negation - 0.1), "exchanged": a_score(0.05, 0.05),
    }  # fmt: skip
    return {**base, **changes}


def test_rows_are_appended_and_those_that_are_there_stay(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.json"
    assert bench.append({"seed": 0}, path) == [{"seed": 0}]
    assert bench.append({"seed": 1}, path) == [{"seed": 0}, {"seed": 1}]
    assert json.loads(path.read_text()) == [{"seed": 0}, {"seed": 1}]


def test_a_range_is_of_the_rows_with_the_same_settings(bench: ModuleType) -> None:
    rows = [a_row(0.9, 0.8, settings={"train.epochs": 6}), a_row(0.7, 0.5), a_row(0.75, 0.45)]
    assert bench.ranges(rows, {"train.epochs": 1}) == {
        "validation": (0.7, 0.75), "validation negation": (0.45, 0.5),
        "test": (pytest.approx(0.6), pytest.approx(0.65)), "test negation": (pytest.approx(0.35), pytest.approx(0.4)),
    }  # fmt: skip
    assert bench.ranges(rows, {"train.epochs": 2}) == {}


def test_what_is_promised_and_not_kept_is_named(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    low, negation = 0.6, 0.4
    monkeypatch.setattr(bench, "FLOORS", {"gIoU": low, "negation": negation})
    assert all(bench.promises(a_row(low, negation)).values())
    for row, broken in (
        (a_row(low - 0.01, 0.9), {f"gIoU >= {low:.2f}"}),
        (a_row(0.9, negation - 0.01), {f"negation >= {negation:.2f}"}),
        (a_row(0.9, 0.9, exchanged=a_score(0.3, 0.3)), {"exchanged query: gIoU < 0.30"}),
        (a_row(0.9, 0.9, before=a_score(0.15, 0.15, emission_rate=0.5)), {"base emits <SEG> on >= 90%"}),
        (a_row(0.9, 0.9, before_forced=a_score(0.75, 0.15)), {
            "gIoU rises by >= 0.20 in both modes", "gIoU rises by >= 0.20 on every kind",
        }),
    ):  # fmt: skip
        assert {name for name, kept in bench.promises(row).items() if not kept} == broken


def test_the_settings_of_a_row_tell_versions_of_the_recipe_apart(bench: ModuleType) -> None:
    ours = bench.settings_of(load_recipe("quickstart"))
    assert ours["optim.rates"]["embeddings"] == load_recipe("quickstart").optim.rates["embeddings"]
    assert bench.settings_of(load_recipe("quickstart", ["run.seed=5", "run.num_processes=2"])) == ours
    assert bench.settings_of(load_recipe("quickstart", ["train.epochs=1"])) != ours


@pytest.mark.slow
def test_a_run_of_the_command_becomes_a_row(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Trained by two processes from a random base, so that the promises are broken and the exit code says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setattr(bench, "FLOORS", {"gIoU": 0.99, "negation": 0.99})
    overrides = [
        f"model.base={tiny_base()}", "data.synth={scenes: 12, seed: 3}", "data.queries_per_image=1",
        "data.max_train_samples=20", "train.epochs=1", "eval.overlays=0", "eval.max_new_tokens=2",
        "run.num_processes=2",
    ]  # fmt: skip
    assert bench.main(["--seeds", "5", "--out", "rows.json", "--note", "idle", *overrides]) == 1
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert (row["seed"], row["processes"], row["instructions"]) == (5, 2, "AVX2")
    assert row["note"] == "idle"
    assert row["processor"]
    assert row["date"]
    assert row["minutes"] >= row["minutes_of_training"] >= 0
    assert set(row["validation"]["kinds"]) == set(row["test"]["kinds"]) == {
        "comparison", "function", "negation", "relation",
    }  # fmt: skip
    assert row["settings"]["train.epochs"] == 1
    assert (row["validation"]["queries"], row["exchanged"]["queries"]) == (row["validation_forced"]["queries"],) * 2
    out = capfd.readouterr().out
    assert "BROKEN: gIoU >= 0.99" in out
    assert "all rows of this recipe: test " in out
    (run,) = (tmp_path / "runs").iterdir()
    assert bench.main(["--runs", str(run), "--seeds", "--out", "rows.json"]) == 1  # a finished run gives the same row
    first, second = json.loads((tmp_path / "rows.json").read_text())
    assert second == {**first, "note": ""}


def test_the_readme_quotes_the_range_of_the_recipe_as_it_stands(bench: ModuleType) -> None:
    """And it promises 0.05 below the lowest, rounded down."""
    found = bench.ranges(json.loads(bench.RESULTS.read_text()), bench.settings_of(load_recipe("quickstart")))
    if not found:
        pytest.skip("no run of the recipe as it stands has been measured yet")
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for low, high in found.values():
        assert f"{low:.3f} to {high:.3f}" in readme
    for name, key in (("gIoU", "validation"), ("negation", "validation negation")):
        assert bench.FLOORS[name] == pytest.approx(int((found[key][0] - 0.05) * 100) / 100)
        assert re.search(rf"at least {bench.FLOORS[name]:.2f}\b", readme)
