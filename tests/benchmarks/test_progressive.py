"""The arms of the benchmark of progressive training: what each of them trains, without training it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from segtune.config import load_recipe
from segtune.engine.stages import plan
from segtune.models.dense.tiny import tiny_vit

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "progressive.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segtune_progressive", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_encoder_and_stages_differ(bench: ModuleType, tmp_path: Path) -> None:
    shown = {
        name: load_recipe("camvid", ["data.root=photos", "train.epochs=10", *settings]).model_dump(mode="json")
        for name, settings in bench.arms(tmp_path, 10).items()
    }
    encoders = [one["model"].pop("encoder") for one in shown.values()]
    assert encoders == ["segtune/tiny-cnn", "segtune/tiny-vit", str(tmp_path), str(tmp_path)]
    assert [len(one["train"].pop("stages")) for one in shown.values()] == [0, 0, 0, 3]
    rest = list(shown.values())
    assert rest == [rest[0]] * 4


@pytest.mark.parametrize(("epochs", "lengths"), [(4, [1, 1, 2]), (10, [3, 3, 4]), (12, [4, 4, 4]), (100, [30, 30, 40])])
def test_the_stages_are_those_of_the_giant_in_proportion(bench: ModuleType, epochs: int, lengths: list[int]) -> None:
    config = load_recipe("camvid", ["data.root=photos", f"train.epochs={epochs}", bench.stages(epochs)])
    giant = load_recipe("dinov2-giant-stages", ["data.root=photos"])
    ours, theirs = (plan(one.train, one.optim) for one in (config, giant))
    assert [stage.epochs for stage in ours] == lengths
    assert [stage.optim.lr / config.optim.lr for stage in ours] == pytest.approx(
        [stage.optim.lr / giant.optim.lr for stage in theirs]
    )
    blocks = tiny_vit().num_hidden_layers
    assert [stage.unfreeze for stage in ours] == [round(int(stage.unfreeze or 0) * blocks / 40) for stage in theirs]
