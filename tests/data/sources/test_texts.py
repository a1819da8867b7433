from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tests.external import shared_data

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE, Example, Group, Query
from segtune.data.sources.classes import Classes
from segtune.data.sources.reasonseg import ReasonSeg
from segtune.data.sources.texts import TextClasses, classes_of_words

CLASSES = Classes(
    ("background", "car", "tree"),
    texts={"car": ("What could I  drive?",)},
    words={"car": ("car", "pick-up truck"), "tree": ("tree", "trees")},
)


class Asked:
    """One image with given texts and targets."""

    name = "asked"

    def __init__(self, *targets: tuple[str, object]) -> None:
        self.targets = targets

    def __len__(self) -> int:
        return 1

    def group(self, index: int, epoch: int = 0) -> Group:
        examples = tuple(
            Example(f"r{i}#0", Query(text, is_sentence=False), np.asarray(target, np.uint8))
            for i, (text, target) in enumerate(self.targets)
        )
        return Group("r0", np.zeros((*examples[0].target.shape, 3), np.uint8), examples)

    def ids(self, index: int) -> list[str]:
        return [f"r{i}#0" for i in range(len(self.targets))]


def _labels(*targets: tuple[str, object], classes: Classes = CLASSES) -> list[list[int]]:
    return TextClasses(Asked(*targets), classes).item(0).labels.tolist()


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (["the Red  CAR"], 1),
        (["what could i drive?"], 1),
        (["the pick-up truck on the left"], 1),
        (["trees"], 2),
        (["a carpet"], IGNORE),
        (["the car under the tree"], IGNORE),
        (["the car under the tree", "a tree"], 2),
        (["a car", "a tree"], IGNORE),
        (["something"], IGNORE),
        ([], IGNORE),
    ],
)
def test_what_texts_decide_for(texts, label):
    assert TextClasses(Asked(("a car", [[1]])), CLASSES).label_of(texts) == label


def test_a_whole_text_comes_before_its_words():
    classes = Classes(("background", "car", "tree"), texts={"tree": ("a car tree",)}, words={"car": ("car",)})
    assert TextClasses(Asked(("car", [[1]])), classes).label_of(["a  Car tree"]) == 2


def test_smaller_targets_win_and_of_equal_ones_the_earlier():
    large, small = [[1, 1, 1, 0]], [[0, 1, 0, 0]]
    for order in ((("tree", large), ("car", small)), (("car", small), ("tree", large))):
        assert _labels(*order) == [[2, 1, 2, 0]]
    assert _labels(("car", [[1, 1, 0]]), ("tree", [[0, 1, 1]])) == [[1, 1, 2]]


def test_what_nobody_can_name_and_what_is_open_is_ignored():
    assert _labels(("car", [[1, 0, IGNORE, 0]]), ("a thing", [[0, 1, 0, 0]])) == [[1, IGNORE, IGNORE, 0]]
    assert _labels(("car", [[IGNORE, 0]]), ("tree", [[1, 0]])) == [[2, 0]], "another target claims it"


def test_without_a_background_the_rest_is_ignored():
    classes = classes_of_words({"car": ["car"], "tree": ["tree"]})
    assert _labels(("car", [[1, 0]]), classes=classes) == [[0, IGNORE]]


def test_texts_about_one_target_decide_together(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=["what is it?", "the tree"])
    source = TextClasses(ReasonSeg(tmp_path), CLASSES)
    item = source.item(0)
    assert (item.id, source.item_id(0), source.files, len(source)) == ("a", "a", 1, 1)
    assert sorted(np.unique(item.labels)) == [0, 2]
    assert source.image_path(0) == tmp_path / "a.png"


def test_bad_items_are_handed_on(tmp_path, write_pair):
    write_pair(tmp_path, "a", text=["tree"])
    (tmp_path / "b.json").write_text("{")
    source = TextClasses(ReasonSeg(tmp_path), CLASSES)
    assert [item.path for item in source.bad] == ["b.json"]
    assert source.files == 2


def test_classes_nobody_asks_for_and_texts_of_two_classes():
    with pytest.raises(ConfigError, match=r"(?s)which texts mean these classes.*none for tree"):
        TextClasses(Asked(), Classes(("background", "tree")))
    with pytest.raises(ConfigError, match="none for background"):
        TextClasses(Asked(), Classes(("tree", "background"), words={"tree": ("tree",)}))
    with pytest.raises(ConfigError, match="stands for two classes"):
        TextClasses(Asked(), Classes(("a", "b"), texts={"a": ("X y",), "b": ("x Y",)}))
    with pytest.raises(ConfigError, match="too few classes"):
        classes_of_words({"a": ["x"]})


@pytest.mark.external
def test_street_photographs_become_classes():
    words = {
        "sky": ["birds and planes", "orange at sunset"],
        "road": ["lane markings", "grey asphalt"],
        "building": ["brick and glass", "an address"],
        "tree": ["greenery", "gardener"],
    }
    values = {"sky": 0, "road": 3, "building": 1, "tree": 5}
    source = TextClasses(ReasonSeg(shared_data("camvid_reasonseg"), "train"), classes_of_words(words))
    truth_folder = shared_data("camvid") / "train" / "masks"
    seen = agreed = known = 0
    for index in range(0, len(source), 5):
        item = source.item(index)
        with Image.open(truth_folder / f"{item.id}.png") as file:
            truth = np.asarray(file)
        for label, name in enumerate(words):
            seen += bool((item.labels == label).any())
            known += int((item.labels == label).sum())
            agreed += int((truth[item.labels == label] == values[name]).sum())
    assert seen > 10
    assert agreed / known > 0.9, "texts, targets and index masks name the same things"
