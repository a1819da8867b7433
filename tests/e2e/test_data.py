"""Drawing and checking datasets by the real command."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.commands import segtune

from segtune.cli.main import main


def test_index_masks_are_drawn_once_and_checked(tmp_path: Path) -> None:
    draw = ["data", "synth", "shapes", "--kind", "masks", "--scenes", "40", "--seed", "2"]
    done = segtune(draw, tmp_path)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.partition(" images, ")[0] for line in lines[:3]] == ["train: 28", "val: 6", "test: 6"]
    assert lines[-1].strip() == "segtune data check shapes"
    assert len(list((tmp_path / "shapes/val/masks").glob("*.png"))) == 6
    assert segtune(draw, tmp_path) == done
    checked = segtune(["data", "check", "shapes@train"], tmp_path)
    assert checked.code == 0, checked.err
    assert "shapes (masks)" in checked.out
    assert "train: 28 of 28 images can be used" in checked.out
    assert "no bad items" in checked.out
    other = segtune(["data", "synth", "shapes", "--scenes", "40", "--seed", "2"], tmp_path)
    assert (other.code, other.out) == (2, "")
    assert "there is something else in the way" in other.err


def test_an_unknown_kind_names_those_that_there_are(tmp_path: Path) -> None:
    done = segtune(["data", "synth", "shapes", "--kind", "coco"], tmp_path)
    assert done.code == 2
    assert "'reasonseg', 'masks'" in done.err
    assert not (tmp_path / "shapes").exists()


def test_links_to_another_disk_are_followed_where_a_root_is_named(
    workplace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "photos"
    place.mkdir()
    (place / "val").symlink_to(workplace / "scenes/val")
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "photos"]) == 3
    told = capsys.readouterr().err
    advised = told.partition("--root ")[2].split()[0]
    assert advised in (str(tmp_path.resolve().parent), str(tmp_path.resolve().parents[1]))
    assert main(["data", "check", "photos", "--root", advised]) == 0
    assert "no bad items" in capsys.readouterr().out


def test_the_limits_on_pictures_are_options(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "scenes@val", "--max-pixels", "9999"]) == 3
    told = capsys.readouterr().err
    assert "expected at most 9,999 pixels" in told
