"""Dense segmentation by the real command: a run in stages, what can be done with it, and whatever may be wrong."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tests.e2e.commands import BASE, RUNS, finish, segtune, start, wait_for
from tests.e2e.conftest import Trained
from tests.e2e.launch import FLOAT64, PYTHON, succeeded, torchrun
from tests.float64 import TOLERANCE
from tests.interrupting import checkpoint_names, history_without_times
from tests.photos import CLASSES, write_photos

from segtune.cli.main import main
from segtune.core.files import read_json, read_jsonl

SHAPES = 11  # classes of drawn scenes
IMAGE = "shapes/val/images/scene_00014.jpg"
TENSORS = ("trained.safetensors", "optimizer.safetensors")
Run = Callable[..., str]


def training(name: str, *settings: str) -> list[str]:
    """The arguments of a small run over drawn shapes: three epochs of four steps in two stages."""
    return [
        "train", "shapes", "data.synth.scenes=20", "model.image_size=[48, 48]", "model.width=16", "train.epochs=3",
        "train.batch_size=4", "train.log_every=1", "optim.lr=5e-3", "optim.warmup_steps=2",
        "train.stages=[{epochs: 1, unfreeze: 0}, {unfreeze: all, lr_factor: 0.3}]", "eval.overlays=3",
        f"run.name={name}", *settings,
    ]  # fmt: skip


def photos(name: str, *settings: str) -> list[str]:
    """The arguments of a smaller run over photographs of one's own."""
    return [
        "train", "shapes", "data.train=masks:photos@train", "data.val=masks:photos@val", "model.image_size=[32, 48]",
        "model.width=16", "train.epochs=1", "train.batch_size=4", f"run.name={name}", *settings,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `photos`; `shapes` are drawn by the first run."""
    place = tmp_path_factory.mktemp("dense")
    write_photos(place / "photos")
    return place


@pytest.fixture(scope="module")
def dense(place: Path) -> Trained:
    """The run `a`, trained by the real command; only read it."""
    done = segtune(training("a"), place)
    assert done.code == 0, done.err
    return Trained(place / RUNS / "a", done)


@pytest.fixture(autouse=True)
def _there(_in_the_workplace: None, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture
def does(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed; gives what it printed."""

    def run(*arguments: object) -> str:
        capfd.readouterr()
        code, printed = main([str(argument) for argument in arguments]), capfd.readouterr()
        assert code == 0, printed.err
        return printed.out

    return run


@pytest.fixture
def fails(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must fail with a code; gives its one message, which must hold all the given texts."""

    def run(code: int, arguments: list[object], *texts: str) -> str:
        capfd.readouterr()
        before = sorted(Path(RUNS).glob("*"))
        assert main([str(argument) for argument in arguments]) == code
        message = capfd.readouterr().err
        assert "Traceback" not in message
        assert "internal error" not in message
        assert len(re.findall(r"^error: ", message, re.MULTILINE)) == 1, message
        assert [text for text in texts if text not in message] == [], message
        assert sorted(Path(RUNS).glob("*")) == before
        return message

    return run


# --- what is done


def test_training_tells_what_it_does(dense: Trained) -> None:
    out = dense.done.out
    assert "\nstage 1 of 2, stage-1: 1 epochs, rate 0.005\n" in out
    assert "\nstage 2 of 2, stage-2: 2 epochs, rate 0.0015\n" in out
    assert [re.search(rf"^{part} .* 0 ", out, re.MULTILINE) is not None for part in ("encoder", "decoder")] == [
        True, False,
    ]  # fmt: skip
    assert re.search(r"^background +[\d,]+ +\d+\.\d+%", out, re.MULTILINE)
    assert re.search(r"^epoch 3/3  loss [\d.]+  mIoU [\d.]+  val_loss [\d.]+  val_mIoU [\d.]+", out, re.MULTILINE)
    assert re.search(rf"^shapes val, dense: \d+ images, [\d,]+ pixels, {SHAPES} classes$", out, re.MULTILINE)
    assert "baseline most_frequent_class (background): mIoU " in out
    assert "\x1b" not in out
    assert "Traceback" not in dense.done.err
    for name in ("best", "last", "stage-1-best", "stage-2-best"):
        assert (dense.run / "checkpoints" / name / "manifest.json").is_file()
    assert len(list((dense.run / "predictions/shapes_val_dense").glob("*.png"))) == 3


def test_each_command_to_try_next_works(dense: Trained, place: Path, does: Run) -> None:
    tail = dense.done.out.partition("\nrun directory: runs/a\ntry next:\n")[2]
    commands = [shlex.split(line, comments=True) for line in tail.splitlines()]
    assert [[Path(command[0]).name, command[1]] for command in commands] == [
        ["segtune", "predict"], ["segtune", "evaluate"], ["segtune", "data"]
    ]  # fmt: skip
    for command in commands:
        assert does(*["shapes" if word == "DIR" else word for word in command[1:]])
    assert (place / "scores/eval_shapes_val_dense-tta.json").is_file()


def test_scores_with_views_and_windows(dense: Trained, tmp_path: Path, does: Run) -> None:
    command = ["evaluate", f"{dense.run}@last", "--data", "shapes@val", "--flip", "--scales", "0.75,1"]
    printed = does(*command, "--window", "80x100", "--out", tmp_path, "--json", "--limit", 2)
    (document,) = json.loads(printed)
    assert document == read_json(tmp_path / "eval_shapes_val_dense-tta-windows.json")
    assert document["protocol"] == "segtune-dense-1"
    assert document["inference"] == {
        "tta": {"flip": True, "flip_vertical": False, "mirror": "auto", "scales": [0.75, 1.0]},
        "window": [80, 100], "overlap": 0.5,
    }  # fmt: skip
    assert document["counts"]["images"] == 2
    assert document["deviations"] == ["first_2_images"]
    assert len(read_jsonl(tmp_path / "predictions/shapes_val_dense-tta-windows.jsonl")) == 2


def test_a_prediction_is_what_was_scored(dense: Trained, tmp_path: Path, does: Run) -> None:
    printed = does("predict", dense.run, IMAGE, "--out", tmp_path, "--heat", "disc").splitlines()
    stem = Path(IMAGE).stem
    names = [f"{stem}_labels.png", f"{stem}_overlay.png", f"{stem}.json", f"{stem}_heat_disc.png"]
    assert printed[1:] == [str(tmp_path / name) for name in names]
    assert "%" in printed[0]
    assert all((tmp_path / name).is_file() for name in names)
    labels = np.asarray(Image.open(tmp_path / names[0]))
    row = next(row for row in read_jsonl(dense.run / "predictions/shapes_val_dense.jsonl") if row["id"] == stem)
    assert labels.shape == tuple(row["size"])
    document = json.loads(does("predict", dense.run, IMAGE, "--out", tmp_path, "--json"))
    assert document == read_json(tmp_path / f"{stem}.json")
    assert set(document["shares"]) == set(row["classes"])
    assert sum(document["shares"].values()) == pytest.approx(1)


def test_report_and_comparison(dense: Trained, does: Run) -> None:
    assert does("report", "runs/a").splitlines() == ["runs/a/training_history.png", "runs/a/report.html"]
    table = does("compare", "runs/a", "runs/a")
    assert "| IoU of background " in table
    assert "segtune-dense-1" not in does("config", "diff", "runs/a", "shapes")


def test_killed_in_the_first_stage_and_resumed(dense: Trained, place: Path, does: Run) -> None:
    process = start(training("killed"), place)
    run = place / RUNS / "killed"
    wait_for((run / "checkpoints/last/manifest.json").is_file, process)
    process.kill()
    assert finish(process).code == -signal.SIGKILL
    with (run / "metrics.jsonl").open("a") as file:  # what a crash may tear
        file.write('{"step": 9, "epo')
    (run / "checkpoints/.writing-last-1").mkdir()
    assert "resuming runs/killed after epoch " in does("train", "--resume", "runs/killed")
    names = checkpoint_names(dense.run)
    assert checkpoint_names(run) == names
    for name in names:
        for file in TENSORS if name == "last" else TENSORS[:1]:
            ours, theirs = (load_file(one / "checkpoints" / name / file) for one in (run, dense.run))
            assert ours.keys() == theirs.keys()
            assert [key for key in ours if not np.array_equal(ours[key], theirs[key])] == [], f"{name}/{file}"
    assert read_jsonl(run / "metrics.jsonl") == read_jsonl(dense.run / "metrics.jsonl")
    assert history_without_times(run) == history_without_times(dense.run)
    assert read_json(run / "eval_shapes_val_dense.json") == read_json(dense.run / "eval_shapes_val_dense.json")


def test_configurations_of_both_kinds(dense: Trained, does: Run) -> None:
    shown = json.loads(does("config", "show", "shapes", "model.unfreeze=2", "--json"))
    assert (shown["task"], shown["model"]["unfreeze"]) == ("dense", 2)
    for first, second in (("shapes", "quickstart"), ("quickstart", "runs/a")):
        rows = {row["key"]: row for row in json.loads(does("config", "diff", first, second, "--json"))}
        assert {rows["task"]["a"], rows["task"]["b"]} == {"dense", "reasoning"}
        assert "(absent)" in (rows["model.decoder"]["a"], rows["model.decoder"]["b"])
    both, alone = (json.loads(does("config", "schema", *more)) for more in ((), ("--task", "dense")))
    assert alone["properties"] == both["$defs"]["DenseExperimentConfig"]["properties"]
    assert "lora" in both["$defs"]["ModelConfig"]["properties"]
    assert "lora" not in json.dumps(alone["$defs"]["DenseModelConfig"])


# --- what may be wrong


def _of_other_size(photos: Path) -> None:
    mask = photos / "train/masks/train1.png"
    Image.open(mask).crop((0, 0, 40, 30)).save(mask)


def _beyond_the_classes(photos: Path) -> None:
    mask = photos / "train/masks/train1.png"
    labels = np.asarray(Image.open(mask)).copy()
    labels[3, :5] = 7
    Image.fromarray(labels).save(mask)


@pytest.mark.parametrize(
    ("spoil", "texts"),
    [
        (_of_other_size, ["train/masks/train1.png", "image and mask differ in size", "40 x 30", "48 x 32 pixels"]),
        (_beyond_the_classes, ["train/masks/train1.png", "the mask holds values outside", "7 (5 pixels)", "0 to 2"]),
    ],
)
def test_masks_that_do_not_fit(spoil, texts, tmp_path: Path, monkeypatch, fails: Run, does: Run, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos")
    spoil(tmp_path / "photos")
    fails(3, photos("bad"), "at most 10% bad items", "fix: ", *texts)
    assert main(["data", "check", "masks:photos"]) == 3
    assert texts[0] in capfd.readouterr().out
    printed = does(*photos("rest", "data.max_bad_fraction=0.2", "eval.final=false"))
    assert "masks:photos@train: 7 images\n  left out: " in printed
    assert read_json(tmp_path / "runs/rest/data.json")["train"]["bad"]


def test_a_class_without_pixels_that_needs_a_weight(tmp_path: Path, monkeypatch, fails: Run) -> None:
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", train=1)
    fails(3, photos("bad", "data.class_weights=inverse"), "green", "fix: ")


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("model.unfreeze=9", ["unfreeze=9", "the encoder has 4 blocks"]),
        ("train.stages=[{epochs: 1, unfreeze: 9}]", ["train.stages, stage-1: unfreeze=9", "the encoder has 4 blocks"]),
        ("train.stages=[{epochs: 1, unfrees: 1}]", ["unfrees: no such key", "did you mean train.stages.unfreeze?"]),
        ("train.stages=[{epochs: 2}]", ["2 epochs in all", "epochs=1"]),
        ("model.encodr=a", ["model.encodr: no such key", "did you mean model.encoder?"]),
        ("model.base=a", ["model.base: no such key"]),
        ("model.binary_classes=[gren]", ["model.binary_classes", "no class 'gren'", "did you mean 'green'?"]),
        ("train.best=val_foreground_dice", ["train.best=val_foreground_dice never comes"]),
        ("train.best=val_gIoU", ["best is no key of the history", "did you mean val_mIoU?"]),
        ("model.image_size=[30, 48]", ["model.image_size", "multiples of 4", "[32, 48]"]),
        ("model.image_size=[32, 32]", ["model.image_size", "[32, 36]"]),
        ("model.encoder=./nowhere", ["model.encoder=", "there is no such encoder"]),
        ("data.exclude=[gren]", ["gren", "green"]),
        ("task=dens", ["no such task", "reasoning or dense"]),
    ],
)
def test_settings_that_cannot_be(setting: str, texts: list[str], fails: Run) -> None:
    fails(2, photos("never", setting), *texts)


def test_models_that_cannot_be_started_from(dense: Trained, workplace: Path, fails: Run) -> None:
    fails(3, photos("never", "model.start=runs/b"), "runs/b", "no such file or directory")
    fails(3, photos("never", f"model.start={dense.run}"), "other classes apart", ", ".join(CLASSES), "background, disc")
    fails(3, photos("never", f"model.start={workplace / BASE}"), "this model answers questions")
    fails(2, ["train", "quickstart", f"model.base={dense.run}", "data.synth.scenes=20"], "tells classes apart")


def test_what_only_the_other_kind_of_model_can(dense: Trained, workplace: Path, tmp_path: Path, fails: Run) -> None:
    base, out = workplace / BASE, ["--out", tmp_path / "out"]
    fails(2, ["predict", dense.run, IMAGE, "the red one", *out], "tells classes apart", "leave the question away")
    fails(2, ["predict", base, IMAGE, *out], "answers questions", "fix: give a question")
    fails(2, ["predict", base, IMAGE, "the red one", "--flip", *out], "--flip", "dense models")
    fails(2, ["evaluate", base, "--data", "shapes@val", "--flip", *out], "no views and no windows")
    for words in (["--mode", "forced"], ["--first-query-only"]):
        fails(2, ["evaluate", dense.run, "--data", "shapes@val", *words, *out], "no modes and no first query")
    fails(2, ["predict", dense.run, IMAGE, "--layer", "decoder", *out], "--layer is the layer of --heat")
    fails(3, ["evaluate", dense.run, "--data", "masks:photos@val", *out], "other classes than the model")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--scales", "a"], ["--scales", "0.75,1,1.25"]),
        (["--scales", "0"], ["scales", "greater than or equal to 0.1"]),
        (["--window", "12"], ["--window", "HxW"]),
        (["--window", "0x9"], ["window", "greater than or equal to 1"]),
        (["--heat", "disk"], ["no such class", "did you mean disc?"]),
        (["--heat", "disc", "--layer", "decodr"], ["decodr"]),
    ],
)
def test_views_that_cannot_be(options: list[str], texts: list[str], dense: Trained, tmp_path, fails: Run) -> None:
    fails(2, ["predict", dense.run, IMAGE, *options, "--out", tmp_path / "out"], *texts)
    if "--heat" not in options:
        fails(2, ["evaluate", dense.run, "--data", "shapes@val", *options, "--out", tmp_path / "out"], *texts)
    assert not (tmp_path / "out").exists()


def test_a_damaged_checkpoint_loses_nothing(dense: Trained, tmp_path: Path, fails: Run, does: Run) -> None:
    run = shutil.copytree(dense.run, tmp_path / "run", ignore=shutil.ignore_patterns("README.md", "step-*"))
    file = run / "checkpoints/last/trained.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    for arguments in (
        ["evaluate", f"{run}@last", "--data", "shapes@val"],
        ["predict", f"{run}@last", IMAGE],
        ["train", "--resume", run],
    ):
        fails(3, arguments, f"{file}: this checkpoint is damaged", "RUN@best")
    assert bytes(content) == file.read_bytes()
    assert does("predict", f"{run}@stage-1-best", IMAGE, "--out", tmp_path / "out")


# --- two processes


@pytest.mark.parametrize("encoder", ["tiny-vit", pytest.param("tiny-cnn", marks=pytest.mark.slow)])
def test_two_processes_do_what_one_does(encoder: str, place: Path, does: Run) -> None:
    """Five images: in the second step one process has nothing to do. Batch norms see what their own process has."""
    settings = [
        "train.epochs=2", "train.log_every=1", "data.max_train_images=5", "model.dropout=0", "optim.lr=1e-3",
        "model.binary_classes=[red]", f"model.encoder=segtune/{encoder}", "eval.overlays=1",
        f"model.norm={'group' if encoder == 'tiny-vit' else 'batch'}",
    ]  # fmt: skip
    two = place / RUNS / f"two-{encoder}"
    out = succeeded(torchrun(str(FLOAT64), *photos(two.name, *settings, "train.batch_size=2")), place)
    assert out.count(f"run directory: runs/{two.name}\n") == 2  # at the start and at the end
    # of photographs as large as the model sees them, the scores of the best checkpoint are those of its validation
    scores = read_json(two / "eval_photos_val_dense.json")["metrics"]
    values = read_json(two / "checkpoints/best/checkpoint.json")["metrics"]
    for name in ("mIoU", "accuracy", "foreground_auroc"):
        assert scores[name] == pytest.approx(values[f"val_{name}"], abs=1e-6), name
    if encoder == "tiny-cnn":
        return
    succeeded([str(PYTHON), str(FLOAT64), *photos("one", *settings)], place)
    steps = [read_jsonl(run / "metrics.jsonl") for run in (place / RUNS / "one", two)]
    assert [row["step"] for row in steps[1]] == [1, 2, 3, 4]
    for ours, theirs in zip(*steps, strict=True):
        assert theirs == pytest.approx(ours, rel=TOLERANCE)
    files = [
        sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.suffix != ".png")
        for run in (place / RUNS / "one", two)
    ]
    assert files[0] == files[1]
    assert sorted(row["id"] for row in read_jsonl(two / "predictions/photos_val_dense.jsonl")) == [
        "val0", "val1", "val2",
    ]  # fmt: skip
