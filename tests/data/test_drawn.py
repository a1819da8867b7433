"""Drawn data that lie on the disk are those that a recipe describes, or training refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segtune.core.errors import DataError
from segtune.data.config import SynthConfig
from segtune.data.drawn import is_drawn, require_drawn_as_asked
from segtune.data.sources.synthetic.write import write_dataset
from segtune.data.sources.synthetic.write_masks import write_masks
from segtune.data.spec import DataSpec

ASKED = SynthConfig(scenes=10, seed=3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`scenes` with questions and `shapes` with masks, of ten scenes each; only read them."""
    place = tmp_path_factory.mktemp("drawn")
    write_dataset(place / "scenes", scenes=10, seed=3)
    write_masks(place / "shapes", scenes=10, seed=3)
    return place


def _names(name: str) -> dict[str, str | None]:
    return {"data.train": f"synth:{name}@train", "data.val": None}


@pytest.mark.parametrize("name", ["scenes", "shapes", "absent"])
def test_what_was_drawn_as_asked_or_will_be_is_taken(name: str, place: Path) -> None:
    require_drawn_as_asked(_names(name), str(place), ASKED)


@pytest.mark.parametrize(
    ("asked", "told"), [({"scenes": 400, "seed": 3}, "scenes 10"), ({"scenes": 10, "seed": 0}, "seed 3")]
)
@pytest.mark.parametrize(("name", "plain"), [("scenes", "reasonseg"), ("shapes", "masks")])
def test_another_size_or_seed_is_refused(name: str, plain: str, asked: dict, told: str, place: Path) -> None:
    with pytest.raises(DataError) as caught:
        require_drawn_as_asked(_names(name), str(place), SynthConfig(**asked))
    error = caught.value
    assert error.exit_code == 3
    assert error.message == "the data of data.train were drawn otherwise than data.synth says"
    assert told in error.found
    assert f"scenes {asked['scenes']}" in error.expected
    assert "data.synth={scenes: 10, seed: 3}" in error.fix
    assert f"synth:{place / name}2@train" in error.fix
    assert f"{plain}:{place / name}@train" in error.fix


def test_another_version_lost_files_and_files_of_others_are_refused(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    write_dataset(scenes, scenes=10, seed=3)
    made = json.loads((scenes / "synth.json").read_text())
    (scenes / "synth.json").write_text(json.dumps({**made, "version": 1}))
    with pytest.raises(DataError, match=r"found: version 1,"):
        require_drawn_as_asked(_names("scenes"), str(tmp_path), ASKED)
    (scenes / "synth.json").write_text(json.dumps(made))
    require_drawn_as_asked(_names("scenes"), str(tmp_path), ASKED)
    next((scenes / "train").glob("*.json")).unlink()
    with pytest.raises(DataError, match=r"found: \d+ of \d+ files train/\*\.json"):
        require_drawn_as_asked(_names("scenes"), str(tmp_path), ASKED)
    (scenes / "synth.json").unlink()
    with pytest.raises(DataError, match=r"(?s)found: a directory without synth\.json.*fix: draw others"):
        require_drawn_as_asked(_names("scenes"), str(tmp_path), ASKED)
    require_drawn_as_asked({"data.train": f"reasonseg:{scenes}@train"}, None, ASKED)  # files as they are


def test_drawn_is_what_this_program_drew_whatever_it_is_called(place: Path, tmp_path: Path) -> None:
    names = (f"synth:{place}/scenes@val", f"{place}/scenes", f"masks:{place}/shapes", "stream:attributes@val")
    assert all(is_drawn(DataSpec.parse(name)) for name in names)
    (tmp_path / "photos").mkdir()
    assert not is_drawn(DataSpec("synth", str(tmp_path / "photos"), "val"))
