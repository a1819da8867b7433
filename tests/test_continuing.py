"""A run goes on with the settings and data that it began with, or is refused with the difference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from tests.interrupting import history_without_times, interrupted
from tests.photos import SIZE, write_photos

from segtune import experiment
from segtune.cli.main import main
from segtune.config import DenseExperimentConfig, load_recipe
from segtune.core.errors import CheckpointError, ConfigError, DataError
from segtune.core.files import read_json, read_jsonl, write_json
from segtune.core.rundir import RunDir
from segtune.engine.checkpoint import open_checkpoint
from segtune.engine.checkpoint_files import entry
from segtune.engine.state import TrainerState
from segtune.experiment import continuing
from segtune.experiment import run as course
from segtune.experiment.again import find_run, settled_as
from segtune.models.pretrained import may_fetch

EPOCHS = 2
STEPS = 2  # of an epoch


def arguments(name: str | None, *settings: str) -> list[str]:
    """The command line of a run of two epochs over eight images."""
    return [
        "shapes",
        "data.train=masks:photos@train",
        "data.val=masks:photos@val",
        f"model={{encoder: segtune/tiny-cnn, width: 16, image_size: {list(SIZE)}}}",
        f"train={{epochs: {EPOCHS}, batch_size: 2, accumulate: 2, log_every: 1}}",
        "optim={lr: 5e-3, warmup_steps: 2}",
        "eval={final: false, batch_size: 2, overlays: 2}",
        "run.threads=1",
        *([] if name is None else [f"run.name={name}"]),
        *settings,
    ]


def config(name: str | None, *settings: str) -> DenseExperimentConfig:
    recipe, *rest = arguments(name, *settings)
    found = load_recipe(recipe, rest)
    assert isinstance(found, DenseExperimentConfig)
    return found


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and `runs/a`, stopped in the middle of its second epoch; only copy it."""
    place = tmp_path_factory.mktemp("stopped")
    write_photos(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        interrupted(patch, config("a"), after=3)
    return place


@pytest.fixture(autouse=True)
def _place(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a copy of that folder, without reports."""
    shutil.copytree(stopped, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(course, "write_report", lambda path: None)


def _edited(key: str, value: object) -> None:
    """Edits `config.yaml` by hand, as people do."""
    path = Path("runs/a/config.yaml")
    settings = yaml.safe_load(path.read_text())
    section = settings
    for part in key.split(".")[:-1]:
        section = section[part]
    section[key.split(".")[-1]] = value
    path.write_text(yaml.safe_dump(settings))


# --- an edited config.yaml


EDITS = {
    "train.batch_size": 4, "train.accumulate": 7, "run.seed": 1, "optim.lr": 0.1, "optim.schedule": "constant",
    "train.epochs": 9, "train.precision": "bf16", "data.train": "masks:photos@val", "data.augment": {"flip": 0.5},
    "data.num_workers": 2, "losses.dice": 9.0, "model.dropout": 0.5, "train.log_every": 5,
}  # fmt: skip


@pytest.mark.parametrize("key", EDITS)
def test_an_edited_configuration_is_refused_with_the_difference(key: str) -> None:
    before = Path("runs/a/metrics.jsonl").read_text()
    _edited(key, EDITS[key])
    with pytest.raises(ConfigError) as caught:
        experiment.resume("runs/a")
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "config.yaml: the settings are no longer those that this run was trained with" in message
    assert f"    {key}" in message
    assert " -> " in caught.value.found
    assert caught.value.found.count("->") == 1
    assert Path("runs/a/metrics.jsonl").read_text() == before


def test_the_same_settings_written_otherwise_go_on() -> None:
    path = Path("runs/a/config.yaml")
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(settings, sort_keys=True, default_flow_style=True))
    run, told = RunDir.open("runs/a"), open_checkpoint(Path("runs/a/checkpoints/last")).about
    found = load_recipe(str(path))
    assert continuing.require_settings(run, found, told) == ""
    assert continuing.digests_told(told).keys() == {"train", "val"}


def test_a_checkpoint_from_before_says_what_could_not_be_compared() -> None:
    run, found = RunDir.open("runs/a"), load_recipe("runs/a/config.yaml")
    assert "was not compared" in continuing.require_settings(run, found, {"epoch": 1})
    assert continuing.digests_told({}) == {}
    assert continuing.epochs_of({}, found) == EPOCHS


@pytest.mark.parametrize("told", [7, [], "text", {"train": {"epochs": -3}}, {"task": "video"}, {"nothing": 1}])
def test_settings_in_a_checkpoint_that_are_none_are_refused(told: object) -> None:
    run, found = RunDir.open("runs/a"), load_recipe("runs/a/config.yaml")
    with pytest.raises(CheckpointError, match="not the settings of a run"):
        continuing.require_settings(run, found, {"config": told})
    with pytest.raises(CheckpointError, match="not the digests"):
        continuing.digests_told({"data": told if isinstance(told, int | list) else {"train": 3}})


# --- a changed checkpoint


def _rewritten(directory: Path, file: str, **changes: object) -> None:
    """A file of a checkpoint with other values, and a manifest that was written anew."""
    write_json(directory / file, {**read_json(directory / file), **changes})
    manifest = read_json(directory / "manifest.json")
    write_json(directory / "manifest.json", {"files": {**manifest["files"], file: entry(directory / file)}})


def _checkpoints(file: str) -> list[Path]:
    """The directories of checkpoints that have such a file, the newest first."""
    found = [path for path in Path("runs/a/checkpoints").glob("step-*") if (path / file).is_file()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]), reverse=True)


def _other_settings(directory: Path) -> dict:
    settings = read_json(directory / "checkpoint.json")["config"]
    return {**settings, "train": {**settings["train"], "batch_size": 4}}


def test_settings_changed_in_one_checkpoint_are_the_fault_of_the_checkpoint() -> None:
    newest, *others = _checkpoints("checkpoint.json")
    assert others
    _rewritten(newest, "checkpoint.json", config=_other_settings(newest))
    with pytest.raises(CheckpointError, match="contradict each other") as caught:
        experiment.resume("runs/a")
    assert caught.value.exit_code == 3
    assert caught.value.where.endswith(f"{newest.name}/checkpoint.json")
    assert any(f"{other.name}/checkpoint.json" in caught.value.expected for other in others)
    assert "train.batch_size: 2 -> 4" in caught.value.found
    for other in others:  # nobody knows which is right: both files are named
        _rewritten(other, "checkpoint.json", config=_other_settings(other))
    with pytest.raises(ConfigError, match="no longer those") as refused:
        experiment.resume("runs/a")
    assert "config.yaml" in refused.value.where
    assert f"{newest.name}/checkpoint.json" in refused.value.expected


def test_settings_that_a_resume_has_changed_are_no_contradiction() -> None:
    experiment.resume("runs/a", ["train.epochs=3", "train.save_total_limit=9"])
    epochs = {
        read_json(path / "checkpoint.json")["config"]["train"]["epochs"] for path in _checkpoints("manifest.json")
    }
    assert epochs == {2, 3}
    _edited("optim.lr", 0.1)
    with pytest.raises(ConfigError, match="no longer those"):
        experiment.resume("runs/a")


def test_a_changed_number_of_processes_is_the_fault_of_the_checkpoint() -> None:
    newest, *others = _checkpoints("trainer_state.json")
    assert others
    _rewritten(newest, "trainer_state.json", processes=2)
    with pytest.raises(CheckpointError, match="contradict each other") as caught:
        experiment.resume("runs/a")
    assert caught.value.exit_code == 3
    assert caught.value.where.endswith(f"{newest.name}/trainer_state.json")
    assert f"{others[0].name}/trainer_state.json" in caught.value.expected
    assert "processes: 1 -> 2" in caught.value.found
    for other in others:
        _rewritten(other, "trainer_state.json", processes=2)
    with pytest.raises(ConfigError, match="as many processes") as refused:
        experiment.resume("runs/a")
    assert f"{newest.name}/trainer_state.json" in refused.value.expected


@pytest.mark.parametrize("changes", [{"best": 0.999}, {"best": -7.5}, {"skipped": 10**9}, {"reductions": 60}])
def test_a_state_that_the_run_never_had_is_refused(changes: dict[str, object]) -> None:
    _rewritten(_checkpoints("trainer_state.json")[0], "trainer_state.json", **changes)
    before = Path("runs/a/metrics.jsonl").read_text()
    with pytest.raises(CheckpointError, match=next(iter(changes))) as caught:
        experiment.resume("runs/a")
    assert "trainer_state.json" in caught.value.where
    assert Path("runs/a/metrics.jsonl").read_text() == before


def test_best_is_not_made_to_mean_other_weights() -> None:
    newest = _checkpoints("trainer_state.json")[0]
    (best,) = [path for path in _checkpoints("manifest.json") if path.name.endswith("-weights")]
    other = Path(shutil.copytree(best, best.with_name("step-00000001-weights")))
    _rewritten(other, "checkpoint.json", metrics={"val_mIoU": 0.01}, step=1)
    _rewritten(newest, "checkpoint.json", names={"best": other.name})
    with pytest.raises(CheckpointError, match=r"names\.best is step-00000001-weights") as caught:
        experiment.resume("runs/a")
    assert caught.value.where.endswith(f"{newest.name}/checkpoint.json")
    assert Path("runs/a/checkpoints/best").resolve().name == best.name


# --- changes on the command line


REFUSED = {
    "train.batch_size=4": "train.batch_size: 2 -> 4",
    "train.epochs=1": "train.epochs: 2 -> 1",
    "run.seed=3": "run.seed: 0 -> 3",
    "data.val=null": "data.val: masks:photos@val -> null",
    "optim.lr=1": "optim.lr: 0.005 -> 1.0",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_may_not_change_is_refused_by_name(change: str) -> None:
    with pytest.raises(ConfigError, match="goes on with the settings that it began with") as caught:
        experiment.resume("runs/a", [change, "train.log_every=3"])
    assert REFUSED[change] in caught.value.found
    assert "log_every" not in caught.value.found
    assert "begin a new run" in caught.value.fix
    assert not Path("runs/a/resumes.jsonl").exists()


def test_every_setting_that_may_change_is_one(stopped: Path) -> None:
    keys = {row[0] for kind in ("shapes", "quickstart") for row in continuing.diff(load_recipe(kind), {})}
    for pattern, reason in continuing.MAY_CHANGE.items():
        assert reason
        assert "*" in pattern or pattern in keys, pattern


def test_more_epochs_are_taken_recorded_and_their_rates_told(capsys: pytest.CaptureFixture[str]) -> None:
    experiment.resume("runs/a", ["train.epochs=3", "train.log_every=2"])
    said = capsys.readouterr().out
    assert "changed from here on: train.epochs: 2 -> 3" in said
    assert "the schedule cosine spans all epochs, so the rate of step 4 is" in said
    assert yaml.safe_load(Path("runs/a/config.yaml").read_text())["train"]["epochs"] == 3
    (row,) = read_jsonl("runs/a/resumes.jsonl")
    assert row["changes"] == {"train.epochs": [2, 3], "train.log_every": [1, 2]}
    assert (row["step"], row["processes"]) == (3, 1)
    assert [row["epoch"] for row in history_without_times(Path("runs/a"))["train"]] == [1, 2, 3]
    # complete now: said, and again opened by one more epoch
    experiment.resume("runs/a")
    assert "is complete: 3 of 3" in capsys.readouterr().out
    experiment.resume("runs/a", ["train.epochs=4"])
    assert [row["epoch"] for row in history_without_times(Path("runs/a"))["train"]] == [1, 2, 3, 4]
    last = open_checkpoint(Path("runs/a/checkpoints/last")).about
    assert (last["step"], last["config"]["train"]["epochs"]) == (4 * STEPS, 4)
    assert read_json("runs/a/checkpoints/last/trainer_state.json")["step"] == 4 * STEPS


def test_a_change_that_was_recorded_and_not_yet_written_is_not_taken() -> None:
    run, found = RunDir.open("runs/a"), load_recipe("runs/a/config.yaml")
    told = open_checkpoint(Path("runs/a/checkpoints/last")).about
    continuing.record(run, TrainerState(), [("train.epochs", 2, 3)], {})
    assert continuing.require_settings(run, found, told) == ""
    _edited("train.epochs", 3)  # written: the checkpoint is older than the change
    assert continuing.require_settings(run, load_recipe("runs/a/config.yaml"), told) == ""
    _edited("train.epochs", 4)
    with pytest.raises(ConfigError, match=r"train.epochs: 3 -> 4"):
        continuing.require_settings(run, load_recipe("runs/a/config.yaml"), told)


@pytest.mark.parametrize("row", ['{"changes": 3}', '{"changes": {"train.epochs": 3}}', '{"changes": {"a": [1]}}', "3"])
def test_damaged_rows_of_changes_are_refused(row: str) -> None:
    Path("runs/a/resumes.jsonl").write_text(row + "\n")
    with pytest.raises(CheckpointError, match=r"resumes\.jsonl"):
        experiment.resume("runs/a")


REOPENED = {
    "a stage that is over": ("train.stages=[{epochs: null}, {epochs: 1}]", 1),
    "early stopping": ("train.early_stopping={patience: 1}", 1),
    "a plateau": ("optim.schedule=plateau", 1),
}


@pytest.mark.parametrize("kind", REOPENED)
def test_epochs_that_cannot_be_added_are_refused(kind: str) -> None:
    setting, stage = REOPENED[kind]
    more = config("b", setting, "train.epochs=4")
    state = TrainerState(epoch=2, step=4, stage=stage)
    with pytest.raises(ConfigError, match=r"(?s)cannot be given more epochs.*train.epochs: 2 -> 4.*model.start="):
        continuing.reopen(state, 2, more.train, more.optim, RunDir.open("runs/a"))


def test_a_complete_run_of_one_stage_is_opened_again() -> None:
    more, state = config("b", "train.epochs=4"), TrainerState(epoch=2, step=4, stage=1)
    continuing.reopen(state, 2, more.train, more.optim, RunDir.open("runs/a"))
    assert (state.stage, state.stage_epoch, state.stage_step) == (0, 2, 4)
    constant = config("b", "train.epochs=4", "optim.schedule=constant")
    assert continuing.rates_told(state, 2, constant.train, constant.optim, 2) == ""


# --- data, processes, base and versions


def test_data_that_have_moved_are_known_by_their_digest(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.move("photos", "elsewhere")
    with pytest.raises(DataError, match="does not exist"):
        experiment.resume("runs/a")
    moved = ["data.train=masks:elsewhere@train", "data.val=masks:elsewhere@val"]
    swapped = [moved[0].replace("@train", "@val"), moved[1].replace("@val", "@train")]
    with pytest.raises(DataError, match="no longer those that this run was trained on"):
        experiment.resume("runs/a", swapped)
    environment = read_json("runs/a/environment.json")
    environment["packages"]["torch"] = "1.0"
    write_json("runs/a/environment.json", environment)
    experiment.resume("runs/a", moved)
    assert "other versions than when the run began: torch 1.0 -> 2." in capsys.readouterr().out
    assert read_jsonl("runs/a/resumes.jsonl")[0]["versions"]["torch"][0] == "1.0"
    assert Path(read_json("runs/a/data.json")["train"]["path"]).name == "elsewhere"
    assert open_checkpoint(Path("runs/a/checkpoints/last")).about["step"] == EPOCHS * STEPS


def test_other_processes_and_another_base_are_told_alike() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainerState(processes=2).require_processes(1)
    assert caught.value.found == "processes: 2 -> 1"
    with pytest.raises(CheckpointError, match=r"fingerprint of hub/one: abc -> def"):
        continuing.require_same_base("last", {"fingerprint": "abc", "base": "hub/one"}, "def")
    continuing.require_same_base("last", {"fingerprint": "abc"}, "abc")


# --- the same command again


def test_the_same_command_begins_goes_on_and_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *arguments("a"), "--resume", "auto"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "--resume auto: runs/a is there" in said
    assert "after epoch 1 of 2, step 3" in said
    assert main(command) == 0
    assert "runs/a is complete" in capsys.readouterr().out
    assert main([*command, "optim.lr=1"]) == 2
    assert "optim.lr: 0.005 -> 1.0" in capsys.readouterr().err
    shutil.rmtree("runs/a")
    Path("runs/a/base").mkdir(parents=True)  # killed before it had written anything
    Path("runs/a/.lock").touch()
    assert main(command) == 0
    assert "a new one begins" in capsys.readouterr().out
    assert Path("runs/a/README.md").is_file()


@pytest.mark.parametrize("begun", [False, True], ids=["no-checkpoint-yet", "checkpoint"])
def test_the_same_command_may_fetch_the_base_that_its_recipe_names(
    begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was killed during the first download has a configuration and no checkpoint."""
    asked: list[bool] = []

    def opened(*_: object) -> None:
        asked.append(may_fetch())
        raise KeyboardInterrupt

    if not begun:
        shutil.rmtree("runs/a/checkpoints")
    monkeypatch.setattr(course, "_open", opened)
    with pytest.raises(KeyboardInterrupt):
        experiment.resume_or_train(config("a"))
    with pytest.raises(KeyboardInterrupt):  # a run directory alone names what anybody may have written
        experiment.resume("runs/a")
    assert asked == [True, False]
    with pytest.raises(ConfigError, match=r"model\.encoder: segtune/tiny-cnn -> some/body"):
        experiment.resume_or_train(config("a", "model.encoder=some/body"), ["model.encoder=some/body"])
    assert asked == [True, False]


def test_without_a_name_the_newest_unfinished_run_with_these_settings_goes_on() -> None:
    assert find_run(config(None), []) == Path("runs/a")
    assert find_run(config(None, "optim.lr=0.1"), ["optim.lr=0.1"]) is None
    assert find_run(config(None, "train.epochs=5"), ["train.epochs=5"]) == Path("runs/a")
    assert find_run(config(None, "train.epochs=5"), []) is None
    with RunDir("runs/a"):  # somebody trains it
        other = RunDir("runs/a")
        with pytest.raises(ConfigError, match="another process"):
            other.lock()
        assert find_run(config(None), []) is None
    Path("runs/a/README.md").touch()
    assert find_run(config(None), []) is None
    assert find_run(config("a"), []) == Path("runs/a")
    assert find_run(config("b"), []) is None


def test_a_folder_that_is_no_run_is_not_removed() -> None:
    Path("runs/b").mkdir()
    Path("runs/b/notes.txt").touch()
    assert find_run(config("b"), []) == Path("runs/b")
    with pytest.raises(CheckpointError, match="not a run directory"):
        experiment.resume_or_train(config("b"))
    assert Path("runs/b/notes.txt").is_file()


def test_what_a_run_fills_in_is_no_difference(tmp_path: Path) -> None:
    wanted = load_recipe("quickstart", ["model.base=base", "run.name=q"])
    found = load_recipe("quickstart", [f"model.base={tmp_path / 'base'}", "run.name=q", "model.seg_hidden=64"])
    assert settled_as(wanted, found) == found
    drawn = load_recipe("quickstart", ["model.base=segtune/tiny-random"])
    begun = load_recipe("quickstart", ["model.base=run:base", "model.seg_hidden=128", "run.name=x", "run.root=there"])
    assert settled_as(drawn, begun) == begun


def test_a_named_run_takes_no_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "shapes", "--resume", "runs/a"]) == 2
    assert "--resume RUN takes no recipe" in capsys.readouterr().err
    assert main(["train", "--resume", "runs/a", "train.batch_size=4"]) == 2
    assert "train.batch_size: 2 -> 4" in capsys.readouterr().err
    assert main(["train", "--resume", "auto"]) == 2
    assert "which recipe?" in capsys.readouterr().err
