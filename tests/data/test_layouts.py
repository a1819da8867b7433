from __future__ import annotations

import pytest

from segtune.core.errors import ConfigError, DataError
from segtune.data.layouts import coco_file, find_splits, recognise
from segtune.data.open import open_source
from segtune.data.spec import DataSpec


def _coco(folder, name="annotations/instances_{}.json", splits=("val", "train2017")):
    for split in splits:
        path = folder / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        (folder / split).mkdir(exist_ok=True)
    return folder


def test_index_masks(tmp_path, write_masked, write_classes):
    for split in ("val", "extra", "train"):
        write_masked(tmp_path / "d" / split, "a", [[0, 1]])
    (tmp_path / "d" / "notes").mkdir()
    write_classes(tmp_path / "d")
    assert find_splits(tmp_path / "d", "masks") == ("train", "val", "extra")
    assert recognise(tmp_path / "d") == "masks"
    assert DataSpec.parse(f"{tmp_path / 'd'}@val") == DataSpec("masks", str(tmp_path / "d"), "val")
    assert DataSpec.parse(f"masks:{tmp_path / 'd'}", default_split="train").split == "train"
    with pytest.raises(DataError, match="did you mean @val"):
        DataSpec.parse(f"masks:{tmp_path / 'd'}@vali")


def test_index_masks_without_splits(tmp_path, write_masked, write_classes):
    write_masked(tmp_path, "a", [[0, 1]])
    write_classes(tmp_path)
    assert find_splits(tmp_path, "masks") == ()
    assert DataSpec.parse(str(tmp_path), default_split="val") == DataSpec("masks", str(tmp_path), "")


def test_splits_with_a_description_of_their_own_are_no_questions(tmp_path, write_masked, write_classes):
    write_masked(tmp_path / "train", "a", [[0, 1]])
    write_classes(tmp_path / "train")
    assert recognise(tmp_path) == "masks"


@pytest.mark.parametrize("name", ["annotations/instances_{}.json", "{}/_annotations.coco.json"])
def test_coco(tmp_path, name):
    _coco(tmp_path, name)
    assert find_splits(tmp_path, "coco") == ("val", "train2017")
    assert recognise(tmp_path) == "coco"
    assert coco_file(tmp_path, "val") == tmp_path / name.format("val")
    assert coco_file(tmp_path, "test") is None
    assert DataSpec.parse(f"{tmp_path}@val").kind == "coco"


def test_coco_without_splits(tmp_path):
    (tmp_path / "_annotations.coco.json").write_text("{}")
    assert find_splits(tmp_path, "coco") == ()
    assert DataSpec.parse(str(tmp_path)) == DataSpec("coco", str(tmp_path), "")


def test_questions_are_still_recognised(tmp_path, write_pair):
    write_pair(tmp_path / "train", "a")
    (tmp_path / "train" / "images").mkdir()
    assert recognise(tmp_path) == "reasonseg"
    assert recognise(tmp_path / "train" / "images") == ""


@pytest.mark.parametrize("kind", ["masks", "coco"])
def test_a_model_that_answers_questions_cannot_read_them(tmp_path, kind):
    with pytest.raises(ConfigError, match="asks nothing in words"):
        open_source(DataSpec(kind, str(tmp_path), ""))


@pytest.mark.parametrize("kind", ["masks", "coco", "reasonseg"])
def test_a_folder_that_cannot_be_listed(tmp_path, kind):
    with pytest.raises(DataError, match="cannot be listed"):
        find_splits(tmp_path / "absent", kind)


@pytest.mark.parametrize(("kind", "shown"), [("masks", r"masks/NAME\.png"), ("coco", r"instances_train\.json")])
def test_a_directory_that_holds_something_else(tmp_path, write_pair, kind, shown):
    write_pair(tmp_path / "val", "a")
    with pytest.raises(DataError, match=f"(?s)no dataset of the kind '{kind}'.*{shown}.*1 directories"):
        DataSpec.parse(f"{kind}:{tmp_path}@val")
