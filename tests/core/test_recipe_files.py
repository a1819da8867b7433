from __future__ import annotations

import os
from pathlib import Path

import pytest

from segtune.core import recipe_files
from segtune.core.errors import ConfigError
from segtune.core.recipe_files import find_recipe, read_recipe, recipe_name


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "quickstart.yaml").write_text("optim: {lr: 1e-3, steps: 5}\nrun: {seed: 1}\n")
    (folder / "street.yaml").write_text("extends: quickstart\noptim: {steps: 9}\n")
    monkeypatch.setattr(recipe_files, "_SHIPPED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_extends_and_overrides(shipped: Path) -> None:
    assert read_recipe("street", ["run.seed=4"]) == {"optim": {"lr": 1e-3, "steps": 9}, "run": {"seed": 4}}


def test_extends_a_file_beside_it(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.yaml").write_text("extends: street\na: 1\n")
    (tmp_path / "deep" / "mine.json").write_text('{"extends": "base.yaml", "b": 2}')
    recipe = read_recipe("deep/mine.json")
    assert (recipe["a"], recipe["b"], recipe["optim"]["steps"]) == (1, 2, 9)


def test_unknown_recipe_names_the_nearest(shipped: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean quickstart") as raised:
        find_recipe("quikstart")
    assert "quickstart, street" in str(raised.value)
    with pytest.raises(ConfigError, match="no such file"):
        find_recipe("nowhere/mine.yaml")


def test_a_run_directory_is_its_configuration(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError):
        find_recipe("run")
    (tmp_path / "run" / "config.yaml").write_text("run: {seed: 8}\n")
    assert read_recipe("run") == {"run": {"seed": 8}}


def test_a_folder_and_a_pipe_are_no_recipes(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, found in (("photos", "a folder that holds no run"), ("pipe.yaml", "a pipe or device")):
        with pytest.raises(ConfigError, match=f"not a recipe\n.*\n  found: {found}"):
            find_recipe(name)


def test_a_circle_is_told(shipped: Path) -> None:
    (shipped / "quickstart.yaml").write_text("extends: street\n")
    with pytest.raises(ConfigError, match="circle"):
        read_recipe("street")


def test_recipe_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("quickstart", "a/b/mine.yaml", "runs/first-1.5", "runs/first/config.yaml", "config.yaml")
    assert [recipe_name(name) for name in names] == ["quickstart", "mine", "first-1.5", "first", tmp_path.name]
