"""A dry run refuses what the training would refuse, with the same exit code, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from segtune.cli.main import main
from segtune.core.rundir import RunDir
from segtune.data.sources.synthetic.write import write_dataset
from segtune.data.sources.synthetic.write_masks import write_masks
from segtune.engine import dense_loading
from segtune.experiment import rehearsal

PHOTOS = ["street", "data.root=photos"]
STREETS = ["camvid", "data.root=streets", "data.class_weights=none"]  # ten scenes do not hold every class
WEIGHTED = [*STREETS[:2], "data.class_weights=inverse"]
HALVES = ["model.base=null", "model.vlm=somebody/a-vlm", "model.mask_model=somebody/a-sam"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("drawn")
    write_dataset(place / "photos", scenes=10, seed=0)
    write_masks(place / "streets", scenes=10, seed=0)
    return place


@pytest.fixture
def place(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def _files(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


@pytest.mark.parametrize("recipe", [PHOTOS, STREETS, ["shapes"], ["quickstart"]])
def test_what_could_start_is_printed_and_leaves_nothing(
    recipe: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(place)
    assert main(["train", *recipe, "run.name=first", "run.root=new/runs", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "  name: first" in printed.out
    assert ("images can be read" in printed.err) == (recipe in (PHOTOS, STREETS))
    assert _files(place) == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["own"], 2, "data.root"),
        (["street", "data.root=nowhere"], 3, "directory does not exist"),
        (["camvid", "data.root=nowhere"], 3, "directory does not exist"),
        (["camvid", "data.root=photos"], 3, "this is no dataset of the kind"),
        ([*PHOTOS, "train.precision=fp16"], 2, "fp16 needs an accelerator"),
        ([*STREETS, "train.precision=fp16"], 2, "fp16 needs an accelerator"),
        ([*PHOTOS, "model.base=runs/nothing"], 3, "this is no model"),
        ([*PHOTOS, *HALVES[:2], "model.mask_model=./nothing"], 3, "no such directory"),
        ([*STREETS, "model.encoder=./nothing"], 2, "there is no such encoder"),
        ([*STREETS, "model.encoder=segtune/tiny-vit", "model.image_size=[61, 61]"], 2, "image_size"),
        ([*STREETS, "model.start=runs/nothing"], 3, "this is no model"),
        ([*PHOTOS, "run.name=taken"], 2, "this run exists already"),
        ([*STREETS, "run.name=taken"], 2, "this run exists already"),
        ([*PHOTOS, "run.root=photos/synth.json"], 2, "not a folder for runs"),
        ([*PHOTOS, "run.root=/proc/nothing"], 2, "a run cannot be made here"),
        ([*PHOTOS, "optim.lrr=1"], 2, "no such key"),
    ],
)
def test_what_could_not_start_is_refused_as_the_training_would(
    arguments: list[str], code: int, words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("runs/taken").mkdir(parents=True)
    Path("runs/taken/config.yaml").touch()  # without it a start that was killed leaves the name free
    before = _files(place)
    assert main(["train", *arguments, "--dry-run"]) == code
    printed = capsys.readouterr()
    assert words in printed.err
    assert "internal error" not in printed.err
    assert not printed.out
    assert _files(place) == before


@pytest.mark.parametrize("split", ["train", "val"])
def test_damaged_data_are_refused(split: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("photos", split).glob("*.jpg"):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    assert main(["train", *PHOTOS, "--dry-run"]) == 3
    assert "complete JPEG image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("bitsandbytes", [*PHOTOS, "model.quantize.llm=4bit", "model.train.llm=lora"]),
        ("bitsandbytes", [*PHOTOS, "optim.name=adamw8bit"]),
        ("bitsandbytes", [*STREETS, "optim.name=adamw8bit"]),
    ],
)
def test_a_missing_package_is_named(
    package: str,
    arguments: list[str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == package else find(name, *more))
    monkeypatch.setitem(sys.modules, package, None)  # an import of it fails
    assert main(["train", *arguments, "--dry-run"]) == 2
    assert package in capsys.readouterr().err


def test_a_search_without_optuna_is_told_by_a_dry_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", "quickstart", "--dry-run"]) == 2
    assert "a search needs Optuna" in capsys.readouterr().err


def test_what_cannot_be_known_is_said_and_refuses_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([*PHOTOS, *HALVES], [*STREETS, "model.encoder=somebody/an-encoder"]):
        assert main(["train", *arguments, "--dry-run"]) == 0
        message = capsys.readouterr().err
        name = arguments[-1].partition("=")[2]
        assert f"not known: whether {name} can be had" in message


def test_a_dry_run_of_a_finished_run_names_the_next(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunDir.create("runs", "first") as run:
        run.write_text(
            "config.yaml", json.dumps({"extends": "street", "data": {"root": "photos"}, "run": {"name": "first"}})
        )
    assert main(["train", "runs/first", "--dry-run"]) == 2
    assert "this run exists already" in capsys.readouterr().err
    assert main(["train", "runs/first", "run.name=second", "--dry-run"]) == 0
    assert RunDir.open("runs/first").config.is_file()


def _rename_classes(*names: str) -> None:
    """Gives the classes of `streets` other names, perhaps more of them than there are in its masks."""
    path = Path("streets/classes.json")
    content = json.loads(path.read_text())
    content["classes"] = [*names, *content["classes"][len(names) :]]
    path.write_text(json.dumps(content))


def _ask_at_length() -> None:
    path = next(Path("photos/train").glob("*.json"))
    content = json.loads(path.read_text())
    content["text"] = ["the red thing " * 200, *content["text"][1:]]
    path.write_text(json.dumps(content))


def _add_class_without_pixel() -> None:
    path = Path("streets/classes.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "classes": [*content["classes"], "ghost"]}))


CERTAIN = [
    (lambda: _rename_classes("background", "ulcer"), ["wounds", "data.root=streets"], "no class 'wound'"),
    (_add_class_without_pixel, WEIGHTED, "a class without a pixel has no weight"),
    (
        lambda: _rename_classes("background", "left_hand"),
        [*STREETS, "data.augment.flip=0"],
        "a mirror image would be taken for what it is not",
    ),
    (lambda: write_dataset(Path("scenes"), scenes=10, seed=7), ["quickstart"], "were drawn otherwise"),
    (_ask_at_length, PHOTOS, "do not fit the context of the model"),
]


@pytest.mark.parametrize(("change", "arguments", "words"), CERTAIN, ids=[words for _, _, words in CERTAIN])
def test_what_does_not_go_together_is_refused_in_the_words_of_the_training(
    change: Callable[[], object], arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change()
    before, told = _files(place), []
    for more in (["--dry-run"], []):
        code = main(["train", *arguments, "run.name=first", *more])
        error = capsys.readouterr().err.partition("error: ")[2]
        told.append((code, error))
        assert words in error
    assert told[0] == told[1]
    assert [path for path in _files(place) if path != "runs"] == before


def test_a_model_to_start_from_has_the_classes_of_the_data(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = SimpleNamespace(about={"task": "dense"}, fact=lambda key: {"classes": ["background", "cat"]}[key])
    monkeypatch.setattr(dense_loading, "find_checkpoint", lambda name: start)
    assert main(["train", *STREETS, "model.start=runs/cats", "--dry-run"]) == 3
    assert "the model to start from tells other classes apart" in capsys.readouterr().err


def test_a_class_may_have_its_pixels_beyond_the_images_that_are_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _add_class_without_pixel()
    monkeypatch.setattr(rehearsal, "_MOST_READ", 4)
    assert main(["train", *WEIGHTED, "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "4 images can be read, 0 items are bad, of the first 4 images alone" in told
    assert "ghost: the first 4 images have none" in told.partition("not known: whether there is a pixel of ")[2]
    assert main(["train", *WEIGHTED, "data.max_train_images=4", "--dry-run"]) == 3


def test_what_is_left_out_and_warned_of_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(next(Path("photos/train").glob("*.jpg")), "photos/val/same.jpg")
    shutil.copy(next(Path("photos/train").glob("*.json")), "photos/val/same.json")
    Path("photos/train/alone.json").write_text("{}")
    assert main(["train", *PHOTOS, "data.max_shared_fraction=1", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert "share 1 images (same.jpg)" in printed.err
    assert "left out: train/alone.json" in printed.err
    assert "warning" not in printed.out


def test_texts_for_a_model_of_the_hub_are_said_to_be_unknown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _ask_at_length()
    assert main(["train", *PHOTOS, *HALVES, "--dry-run"]) == 0
    message = capsys.readouterr().err
    assert "not known: whether the texts fit the context of somebody/a-vlm: its tokenizer is not on this" in message
    assert main(["train", *PHOTOS, "model.base=segtune/tiny-random", "--dry-run"]) == 0
    assert "its tokenizer is made by the training" in capsys.readouterr().err
