"""Drawing and checking datasets by the real command."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.commands import segtune


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
