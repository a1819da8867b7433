"""Whatever a person may get wrong: one message that says what to do, the documented exit code, and no traceback."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tests.e2e.commands import RUNS, SCENES, training
from tests.e2e.conftest import Trained
from tests.interrupting import checkpoint_names

from segtune.cli.main import main
from segtune.core.files import read_json
from segtune.engine.checkpoint import open_checkpoint

IMAGE = f"{SCENES}/val/scene_00008_a.jpg"
HTML = "<!DOCTYPE html><html><body>404 not found</body></html>"
SHAPE = {"label": "target", "points": [[1, 1], [30, 1], [30, 30]]}


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail with a code; gives its one message, which must hold all the given texts."""

    def run(code: int, arguments: list[object], *texts: str) -> str:
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == code
        message = capfd.readouterr().err
        assert "Traceback" not in message
        assert "internal error" not in message
        assert len(re.findall(r"^error: ", message, re.MULTILINE)) == 1, message
        missing = [text for text in texts if text not in message]
        assert not missing, message
        return message

    return run


Fails = Callable[..., str]


# --- predict


def test_images_that_are_none(trained: Trained, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "page.jpg").write_text(HTML)
    whole = Path(IMAGE).read_bytes()
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    expected = {
        "nothing.jpg": "found: no such file", "page.jpg": "found: really an HTML page",
        "short.jpg": "the image is damaged or cut short", "empty.png": "an empty file", ".": "a directory",
    }  # fmt: skip
    for name, found in expected.items():
        out = tmp_path / "out"
        message = fails(3, ["predict", trained.run, tmp_path / name, "the red one", "--out", out], found, "fix: ")
        assert message.startswith(f"error: {tmp_path / name}: ")
        assert not out.exists()


@pytest.mark.parametrize("query", ["", "  \n"])
def test_an_empty_question(query: str, trained: Trained, fails: Fails) -> None:
    fails(2, ["predict", trained.run, IMAGE, query], "the question is empty", "expected: words")


def test_a_place_that_cannot_be_written_to(trained: Trained, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        fails(1, ["predict", trained.run, IMAGE, "the red one", "--out", out], str(tmp_path / "file"), "fix: ")


# --- models and runs


def test_models_that_are_none(trained: Trained, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "folder").mkdir()
    for command in (["predict", "MODEL", IMAGE, "the red one"], ["evaluate", "MODEL", "--data", f"{SCENES}@val"]):
        for model, found in ((f"{RUNS}/b", "no such file or directory"), (tmp_path / "folder", "none of these")):
            arguments = [model if word == "MODEL" else word for word in command]
            fails(3, arguments, f"error: {model}: this is no model", found, "fix: ")
        arguments = [f"{trained.run}@first" if word == "MODEL" else word for word in command]
        fails(3, arguments, "this run has no checkpoint 'first'", "expected: best, last")
    assert "runs there: runs/a" in fails(3, ["predict", f"{RUNS}/b", IMAGE, "the red one"])


def test_resuming_what_is_no_run(tmp_path: Path, trained: Trained, fails: Fails) -> None:
    fails(3, ["train", "--resume", tmp_path / "nothing"], "no such run", "fix: ")
    fails(3, ["train", "--resume", SCENES], "not a run directory", "expected: config.yaml", "runs there: runs/a")
    fails(2, ["train", "quickstart", "--resume", trained.run], "--resume RUN takes no recipe")


@pytest.mark.parametrize("command", ["evaluate", "predict", "resume"])
@pytest.mark.parametrize("damage", ["bytes", "missing", "manifest", "unsealed"])
def test_a_damaged_checkpoint(damage: str, command: str, trained: Trained, tmp_path: Path, fails: Fails) -> None:
    left_out = shutil.ignore_patterns("README.md", "step-*")  # of the checkpoints a copy of each, under its name
    run = shutil.copytree(trained.run, tmp_path / "run", ignore=left_out)
    place = run / "checkpoints" / "last"
    file = place / "trained.safetensors"
    if damage == "bytes":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    elif damage == "manifest":
        (place / "manifest.json").write_text("[]")
    else:
        (place / "manifest.json").unlink()
    arguments = {
        "evaluate": ["evaluate", f"{run}@last", "--data", f"{SCENES}@val"],
        "predict": ["predict", f"{run}@last", IMAGE, "the red one"],
        "resume": ["train", "--resume", run],
    }[command]
    message = fails(3, arguments)
    if damage != "unsealed":
        assert "this checkpoint is damaged" in message
    if command == "resume":
        assert "no other checkpoint of this run can be resumed" in message
        assert "from the weights of RUN@best" in message
    elif damage != "unsealed":
        assert "use another checkpoint of the run (RUN@best), or copy it again" in message


def test_a_checkpoint_of_another_base(trained: Trained, tmp_path: Path, workplace: Path, fails: Fails) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    base = shutil.copytree(workplace / "base", tmp_path / "base")
    weights = base / "vlm" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 64
    weights.write_bytes(content)
    for name in ("best", "last"):
        place = run / "checkpoints" / name
        about = (place / "checkpoint.json").read_text()
        (place / "checkpoint.json").write_text(about.replace(str(workplace / "base"), str(base)))
        manifest = read_json(place / "manifest.json")
        manifest["files"]["checkpoint.json"] = _entry(place / "checkpoint.json")
        (place / "manifest.json").write_text(json.dumps(manifest))
    fails(3, ["predict", run, IMAGE, "the red one"], "this checkpoint belongs to another base", "fingerprint")


def _entry(path: Path) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}


@pytest.mark.parametrize("damage", ["cut", "no tokenizer", "no base"])
def test_a_base_that_cannot_be_loaded_leaves_no_run(damage: str, tmp_path: Path, workplace: Path, fails: Fails) -> None:
    base = tmp_path / "base"
    if damage != "no base":
        shutil.copytree(workplace / "base", base)
    if damage == "cut":
        weights = base / "vlm" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    if damage == "no tokenizer":
        (base / "vlm" / "tokenizer.json").unlink()
    fails(3, training("broken", model__base=base, run__root=tmp_path / "runs"), str(base), "fix: ")
    assert not (tmp_path / "runs" / "broken").exists()  # the name is free for the next attempt


# --- recipes and settings


def test_recipes_that_are_none(tmp_path: Path, fails: Fails) -> None:
    fails(2, ["train", "quickstrat"], "no such recipe", "did you mean quickstart?", "street")
    fails(2, ["train", tmp_path / "mine.yaml"], "no such file")
    fails(2, ["train"], "which recipe?", "quickstart")
    (tmp_path / "bad.yaml").write_text("data: [\n")
    fails(2, ["train", tmp_path / "bad.yaml"], "not well-formed YAML", "line")


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("optim.lrr=1", ("optim.lrr: no such key", "did you mean optim.lr?")),
        ("lr=1", ("lr: no such key", "did you mean optim.lr?")),
        ("model.lora.rank=4", ("model.lora.rank: no such key", "known there: r, alpha")),
        ("optim.lr=quick", ("optim.lr: ", "number", "'quick'")),
        ("optim.lr=-1", ("optim.lr: ", "greater than 0")),
        ("optim=3", ("optim: is a section",)),
        ("nonsense", ("not a setting: 'nonsense'", "expected: section.key=value")),
        ("=3", ("not a setting",)),
        ("optim.lr.x=3", ("optim.lr is a value",)),
        ("train.best=val_gIuO", ("did you mean val_gIoU?",)),
        ("train.best=val_focal", ("train.best=val_focal needs losses.focal above 0",)),
        ("losses.dice=-1", ("losses.dice: ", "greater than or equal to 0")),
        ("train.validate_generate=false", ("best=val_generate_gIoU needs train.validate_generate=true",)),
        ("conversation.short=hello", ("short must hold {query}",)),
        ("model.lora.targets=[q_prj]", ("no layer of the language model is called q_prj", "q_proj")),
    ],
)
def test_settings_that_are_none(setting: str, texts: tuple[str, ...], fails: Fails) -> None:
    fails(2, [*training("never"), setting], *texts)
    assert not Path(RUNS, "never").exists()


def test_a_name_that_is_taken(trained: Trained, fails: Fails) -> None:
    before = trained.run.joinpath("config.yaml").read_bytes()
    fails(2, training("a"), "this run exists already", "segtune train --resume runs/a`")
    assert trained.run.joinpath("config.yaml").read_bytes() == before
    fails(2, training("../a"), "run.name", "expected: one file name")


# --- datasets


def test_datasets_that_are_none(trained: Trained, tmp_path: Path, fails: Fails) -> None:
    def both(spec: str, code: int, *texts: str) -> None:
        fails(code, ["evaluate", trained.run, "--data", spec], *texts)
        fails(code, training("never", data__train=spec), *texts)

    both(f"voc:{SCENES}@val", 2, "there is no kind of dataset called 'voc'", "expected: one of reasonseg, synth")
    both(f"{SCENES}@vall", 3, "the dataset has no split 'vall'", "did you mean @val?")
    both(f"{SCENES}", 3, "the dataset has several splits: name one", f"{SCENES}@train")
    both("photos@val", 3, "the dataset's directory does not exist", "found: nothing there")
    fails(2, ["evaluate", trained.run, "--data", ""], "no dataset is named")
    fails(3, ["data", "check", tmp_path], "the layout of this directory is not recognised", "NAME.json")
    fails(3, ["evaluate", trained.run, "--data", "synth:scnes@val"], "does not exist", "segtune data synth scnes")
    assert not Path("scnes").exists()
    fails(2, ["evaluate", trained.run, "--data", f"{SCENES}@val", "--mode", "forcd"], "'forced'", "--help")
    fails(2, ["data", "synth", SCENES, "--scenes", "14"], "there is something else in the way")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not valid JSON"),
        ({"text": ["a"], "is_sentence": False}, "the annotation has no 'shapes'"),
        ({"shapes": [SHAPE], "is_sentence": False}, "the annotation has no 'text'"),
        ({"text": [], "shapes": [SHAPE]}, "'text' is not as expected"),
        ({"text": ["a", " "], "shapes": [SHAPE]}, "'text' is not as expected"),
        ({"text": ["a"], "shapes": [{**SHAPE, "points": [[1, 1], [2, 2]]}]}, "3 points"),
        ({"text": ["a"], "shapes": [{**SHAPE, "points": [[1, 1], [2, float("nan")], [9, 9]]}]}, "found [2, nan]"),
        ([1], "not a JSON object"),
    ],
)
def test_an_annotation_that_cannot_be_used(
    content: Any, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = shutil.copytree(f"{SCENES}/val", tmp_path / "photos" / "val")
    bad = place / "scene_00009_a.json"
    bad.write_text(content if isinstance(content, str) else json.dumps(content))
    assert main(["data", "check", str(tmp_path / "photos")]) == 3
    printed = capfd.readouterr()
    assert "\n1 bad item:\n  val/scene_00009_a.json: " in printed.out
    assert reason in printed.out.partition("1 bad item:")[2]
    assert "Traceback" not in printed.err + printed.out
    assert main(["data", "check", str(tmp_path / "photos"), "--json"]) == 3
    assert json.loads(capfd.readouterr().out)["bad"] == 1


def _spoil_pixels(path: Path) -> None:
    """Makes an image whose header and end are in order, so that only decoding it tells."""
    buffer = io.BytesIO()
    Image.open(path).save(buffer, "PNG")  # the content decides what a file is, not its name
    content = bytearray(buffer.getvalue())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A copy of the dataset: three of its training annotations cannot be used, each in another way."""
    photos = shutil.copytree(SCENES, tmp_path / "photos")
    (photos / "train" / "scene_00000_b.json").write_text('{"text": ["half a fi')
    (photos / "train" / "scene_00001_a.jpg").write_text(HTML)
    _spoil_pixels(photos / "train" / "scene_00002_c.jpg")
    return photos


def test_training_goes_on_without_the_bad_files(
    spoilt: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changes = {"data__root": tmp_path, "run__root": tmp_path, "eval__before": False, "eval__final": False}
    data = {"data__train": "reasonseg:photos@train", "data__val": "reasonseg:photos@val", "train__epochs": 1}
    changes["data__max_bad_fraction"] = 0.2  # the default is a tenth, and one of these nine pictures is more
    assert main(training("r", **changes, **data, model__base=Path("base").absolute())) == 0
    printed = capfd.readouterr().out
    facts = read_json(tmp_path / "r" / "data.json")["train"]
    assert len(facts["bad"]) == 3
    for item, reason in (
        ("train/scene_00000_b.json", "not valid JSON"),
        ("train/scene_00001_a.jpg", "HTML"),
        ("train/scene_00002_c.jpg", "damaged or cut short"),
    ):
        (line,) = [text for text in facts["bad"] if text.startswith(f"{item}: ")]
        assert reason in line
        assert f"  left out: {line}\n" in printed
    trained_on = f"{facts['images']} images, {facts['queries']} queries"
    assert f"reasonseg:{tmp_path}/photos@train: {trained_on}\n" in printed
    spoilt_names = ("scene_00000_b", "scene_00001_a", "scene_00002_c")
    whole = [path for path in Path(SCENES, "train").glob("*.json") if path.stem not in spoilt_names]
    assert facts["queries"] == sum(len(read_json(path)["text"]) for path in whole)
    assert main(["data", "check", str(spoilt)]) == 3
    assert "3 bad items:" in capfd.readouterr().out


def test_too_many_bad_files_are_refused_before_anything_happens(spoilt: Path, tmp_path: Path, fails: Fails) -> None:
    for path in (spoilt / "train").glob("scene_0000[34]_*.json"):
        path.write_text("")
    settings = training("r", data__train=f"{spoilt}@train", run__root=tmp_path / "runs")
    fails(3, settings, "at most 10% bad items", "17 bad items among 53 annotation files", "data.max_bad_fraction")
    for path in (spoilt / "train").glob("*.json"):
        path.write_text("{}")
    fails(3, settings, "nothing that can be used", "scene_00000_a.json", "... and 43 more")
    assert not (tmp_path / "runs").exists()


def test_an_index_that_names_what_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    photos = shutil.copytree(SCENES, tmp_path / "photos")
    entries = [{"image": "scene_00000_a.jpg", "text": "more"}, {"image": "nothing.jpg", "text": "less"}]
    (photos / "train.json").write_text(json.dumps(entries))
    assert main(["data", "check", str(photos)]) == 3
    printed = capfd.readouterr()
    assert "1 bad item:\n  train.json: entry 1 (nothing.jpg): there is no such file in the split" in printed.out
    assert "Traceback" not in printed.err + printed.out


# --- settings that contradict each other, or the model


@pytest.mark.parametrize(
    ("settings", "texts"),
    [
        ({"model__lora__targets": "[nope]"}, ("model.lora.targets", "called nope", "q_proj")),
        ({"model__lora__targets": "[]"}, ("model.lora.targets", "an empty list")),
        ({"model__train__vision_tower": "lora", "model__lora__vision_targets": "[qkv]"}, ("vision_targets", "fc1")),
        ({"model__mask_features": "shared", "model__train__mask_encoder": "full"}, ("exclude each other",)),
        ({"model__quantize__llm": "4bit", "model__train__llm": "full"}, ("exclude each other",)),
        ({"losses__ce": 0, "losses__dice": 0}, ("every weight in losses is 0",)),
        ({"optim__schedule": "plateau", "optim__plateau_metric": "val_giou"}, ("did you mean val_gIoU?",)),
        ({"optim__schedule": "plateau", "optim__plateau_metric": "val_iou"}, ("losses.iou above 0",)),
        ({"model__img_size": 100}, ("model.img_size", "a multiple of 16", "model.img_size=96 or model.img_size=112")),
        ({"data__max_train_images": 3}, ("data.max_train_images", "no such key", "data.max_train_samples")),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant(settings: dict[str, Any], texts: tuple[str, ...], fails: Fails) -> None:
    fails(2, training("never", **settings), *texts)
    assert not Path(RUNS, "never").exists()


# --- the machine


def _full(*arguments: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "runs/full/file")


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    from segtune.engine import checkpoint_files as checkpoint

    really_save, saved = checkpoint.save_file, []

    def save(tensors: Any, path: Path) -> None:
        saved.append(path)
        _full() if len(saved) > 6 else really_save(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", save)
    settings = training("full", run__root=tmp_path, eval__before=False, train__best="loss")
    fails(1, settings, "the disk is full", "fix: free some space", "segtune train --resume RUN")
    run = tmp_path / "full"
    assert checkpoint_names(run) == ["best", "last"]  # nothing half-written
    assert open_checkpoint(run / "checkpoints" / "last").about["epoch"] == 1


def test_a_disk_that_is_full_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    monkeypatch.setattr("segtune.core.files.os.fsync", _full)
    fails(1, training("full", run__root=tmp_path), "the disk is full", "runs/full/file")
    assert not (tmp_path / "full").exists()


def test_a_damaged_configuration_of_a_run(trained: Trained, tmp_path: Path, fails: Fails) -> None:
    run = shutil.copytree(trained.run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["optim"]["lrr"] = config["optim"].pop("lr")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    fails(2, ["train", "--resume", run], f"{run / 'config.yaml'}", "optim.lrr: no such key; did you mean optim.lr?")
