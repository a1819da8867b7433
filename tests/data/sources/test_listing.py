"""Links in a dataset: one rule for every kind, and advice that can be followed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from segtune.core.errors import DataError
from segtune.data.check import check_dataset
from segtune.data.config import DataConfig
from segtune.data.dense.config import DenseDataConfig
from segtune.data.dense.prepare import prepare_dense
from segtune.data.prepare import prepare
from segtune.data.sources.listing import link_roots, list_files


@pytest.fixture
def linked(tmp_path, write_pair, write_masked, write_classes) -> Path:
    """Three datasets whose split `train` is a link to a store beside them."""
    write_pair(tmp_path / "store/asked", "a")
    write_masked(tmp_path / "store/dense", "a", np.zeros((12, 16)))
    write_pair(tmp_path / "store/coco", "a")
    image = {"id": 1, "file_name": "a.png", "height": 12, "width": 16}
    content = {"images": [image], "categories": [{"id": 1, "name": "thing"}], "annotations": []}
    (tmp_path / "store/coco/_annotations.coco.json").write_text(json.dumps(content))
    for kind in ("asked", "dense", "coco"):
        (tmp_path / "sets" / kind).mkdir(parents=True)
        (tmp_path / "sets" / kind / "train").symlink_to(tmp_path / "store" / kind)
    write_classes(tmp_path / "sets/dense")
    return tmp_path


@pytest.mark.parametrize(
    "kind", ["reasonseg:{}/sets/asked@train", "masks:{}/sets/dense@train", "coco:{}/sets/coco@train"]
)
def test_check_and_training_follow_links_below_a_named_root(linked, kind):
    name = kind.format(linked)
    with pytest.raises(DataError, match="out of the data root") as caught:
        check_dataset(name)
    advised = caught.value.fix.partition("--root ")[2].split()[0]
    assert advised == str(linked)
    assert f"data.root={linked} for `segtune train`" in caught.value.fix
    report = check_dataset(name, advised)
    assert (report.bad, report.splits[0].images) == ((), 1)
    if kind.startswith("reasonseg"):
        assert len(prepare(name, DataConfig(train=name, root=advised)).source) == 1
    else:
        assert len(prepare_dense(name, DenseDataConfig(train=name, root=advised)).source) == 1


def test_a_root_does_not_forbid_the_dataset_itself(linked, tmp_path_factory):
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    assert check_dataset(f"reasonseg:{linked}/store/asked", elsewhere).bad == ()


def test_a_linked_file_is_told_with_the_same_advice(linked):
    place = linked / "sets/asked/val"
    place.mkdir()
    for suffix in ("png", "json"):
        (place / f"a.{suffix}").symlink_to(linked / f"store/asked/a.{suffix}")
    refused = list_files(place, link_roots(linked / "sets/asked")).refused
    assert [item.path for item in refused] == ["a.json", "a.png"]
    assert all(f"--root {linked} for `segtune data check`" in item.reason for item in refused)
    assert list_files(place, link_roots(linked / "sets/asked", linked)).files == ("a.json", "a.png")
