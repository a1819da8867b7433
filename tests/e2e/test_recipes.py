"""Every shipped recipe is valid, described, and names what it promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from segtune.cli.main import main
from segtune.config import load_recipe
from segtune.core.recipe_files import shipped_recipes

EXPECTED = {"llava15-7b-qlora", "own", "quickstart", "street", "tiny-base"}


def shown(name: str, capsys: pytest.CaptureFixture[str], *settings: str) -> dict[str, Any]:
    assert main(["config", "show", name, *settings, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_the_promised_recipes_are_shipped() -> None:
    assert set(shipped_recipes()) >= EXPECTED


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_recipe_is_valid_and_described(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = shown(name, capsys, f"data.root={tmp_path}")
    assert config["recipe"] == name
    assert config["data"]["root"] == str(tmp_path)
    assert config["description"][:1].isupper()
    assert config["description"].endswith(".")
    assert config["data"]["train"].endswith("@train")
    assert config["data"]["val"].endswith("@val")


@pytest.mark.parametrize("name", ["street", "own", "llava15-7b-qlora"])
def test_recipes_for_data_of_ones_own_ask_for_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "data.root=DIR" in shown(name, capsys)["description"]
    monkeypatch.chdir(tmp_path)
    assert main(["train", name]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: data.root: ")
    assert "fix: add data.root=DIR" in message
    assert not list(tmp_path.iterdir())


def test_the_real_thing_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    model = shown("llava15-7b-qlora", capsys)["model"]
    assert model["vlm"] == "llava-hf/llava-1.5-7b-hf"
    assert model["mask_model"] == "facebook/sam-vit-base"
    assert model["base"] is None


def test_own_extends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\nextends: llava15-7b-qlora\n" in shipped_recipes()["own"].read_text()
    own, real = shown("own", capsys), shown("llava15-7b-qlora", capsys)
    assert own["model"] == real["model"]
    assert own["data"] != real["data"]


def test_what_a_recipe_shows_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "quickstart", "train.epochs=7"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert main(["config", "diff", "quickstart", str(path)]) == 0
    assert f"train.epochs: {load_recipe('quickstart').train.epochs} -> 7\n" in capsys.readouterr().out
