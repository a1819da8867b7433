"""What the documentation shows works: its commands, settings, recipes, annotations and links, read from the pages.

The commands of `TRIED` are run; those of the other pages are parsed, because they need what is not here.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import math
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from segtune.cli.main import app, main
from segtune.config import DenseExperimentConfig, ExperimentConfig, load_recipe, validate_run
from segtune.core.config import known_keys, validate
from segtune.core.errors import ConfigError
from segtune.core.recipe_files import read_recipe, shipped_recipes
from segtune.core.rundir import RunDir
from segtune.core.yaml_files import load_mapping
from segtune.data.dense.config import DenseDataConfig
from segtune.data.sources.annotations import read_annotation, read_explanations
from segtune.data.sources.classes import read_classes
from segtune.data.sources.coco_file import read_coco
from segtune.data.sources.index import read_index
from segtune.data.spec import KINDS
from segtune.engine.config import BINARY_METRICS, CLASS_METRICS, DENSE_LOSSES, LOSSES, METRICS
from segtune.metrics.predictions import parse_prediction
from segtune.ops.rle import rle_decode
from segtune.sweep.config import SearchConfig
from segtune.sweep.grids import load_search, shipped_grids
from segtune.sweep.points import Base, resolved

ROOT = Path(__file__).resolve().parents[1]
QUANTIZES = importlib.util.find_spec("bitsandbytes") is not None
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRIED = ("dense.md", "quick-reference.md", "train.md", "troubleshooting.md")
REFERENCE, TROUBLE = ROOT / "docs" / "quick-reference.md", ROOT / "docs" / "troubleshooting.md"
KEYS = known_keys(ExperimentConfig)
DENSE_KEYS = known_keys(DenseExperimentConfig)
STREETS = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "person", "bicyclist",
)  # fmt: skip
SHELL = ("console", "sh")
LAUNCHER = r"^(python|torchrun|accelerate launch) (.* )?-m segtune "
ONLY_IN_SCORES = ("boundary_mIoU", "boundary_mIoU_images", "foreground_boundary_iou", "foreground_boundary_iou_images")
PLACEHOLDER = r"\{\w+\}|N(?=\.json)|K(?=\.json|-best)"  # of the name of a file
FILES = ("json", "jsonl", "yaml", "png", "md", "py")  # suffixes: `data.json` is a file and no setting


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of these languages."""
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", _text(page), flags=re.MULTILINE | re.DOTALL):
        if language in languages:
            yield body


def _prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", _text(page), flags=re.MULTILINE | re.DOTALL)


def _command_lines() -> list[tuple[str, str]]:
    """(page, line) of every `segtune` command in a shell block, continued lines joined, without its launcher."""
    found = []
    for page in PAGES:
        for block in _blocks(page, *SHELL):
            lines = (line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())
            called = (re.sub(LAUNCHER, "segtune ", line) for line in lines)
            found += [(page.name, line) for line in called if line.startswith("segtune ")]
    return found


@cache
def _parser() -> Any:
    return typer.main.get_command(app)


def _parse(line: str) -> tuple[str, dict[str, Any]]:
    """The command that a line calls and its parameters, parsed as the program parses them, nothing run."""
    words = shlex.split(line, comments=True)
    stop = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";")), len(words))
    arguments, command, context, path = words[1:stop], _parser(), None, []
    while hasattr(command, "resolve_command"):
        if arguments[:1] in (["--help"], ["-h"], ["--version"]):
            return " ".join(path), {}
        own, context = context, None
        context = command.make_context(path[-1] if path else "segtune", list(arguments), parent=own)
        name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        path.append(name)
    if "--help" in arguments or "-h" in arguments:
        return " ".join(path), {}
    return " ".join(path), command.make_context(path[-1], list(arguments), parent=context).params


def test_there_are_commands_to_check() -> None:
    called = {_parse(line)[0] for _, line in _command_lines()}
    assert called >= {"train", "evaluate", "predict", "data check", "data synth", "config show", "config diff"}


@pytest.mark.parametrize(
    "line", ["segtune nonsense", "segtune train a --nonsense", "segtune evaluate a", "segtune data"]
)
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(typer.TyperException):
        _parse(line)


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_commands_are_understood(page: str, line: str) -> None:
    command, given = _parse(line)
    if command in ("train", "config show") and given.get("recipe") in shipped_recipes():
        load_recipe(given["recipe"], given["settings"] or [])
    elif command == "train" and given.get("settings"):
        # a recipe or run of the reader's own: only the settings can be checked, over a shipped recipe of either kind
        try:
            load_recipe("quickstart", given["settings"])
        except ConfigError:
            load_recipe("shapes", given["settings"])
    if command == "evaluate" and ":" in given["data"]:
        assert given["data"].partition(":")[0] in KINDS


def _made(line: str) -> tuple[set[str], set[str]]:
    """Runs and folders that a command makes, and those that may not be there before."""
    command, given = _parse(line)
    settings = dict(setting.partition("=")[::2] for setting in given.get("settings") or [])
    if command == "train" and not given.get("resume"):
        wanted = {f"run {settings['run.name']}"} if "run.name" in settings else set()
        wanted |= {f"folder {settings['run.export']}"} if "run.export" in settings else set()
        recipe = given.get("recipe")
        data = {"data.train": "", **settings}["data.train"] or (
            load_recipe(recipe).data.train if recipe in shipped_recipes() else ""
        )
        drawn = {f"folder {data[6:].partition('@')[0]}"} if data.startswith("synth:") else set()
        return (set() if given.get("dry_run") else wanted | drawn), wanted
    if command == "data synth":
        return ({f"folder {given['directory']}"},) * 2
    return set(), set()


def _not_in_order(lines: list[str]) -> list[str]:
    """The commands that a clean folder, in which those before them ran, would refuse because something is there."""
    there: set[str] = set()
    refused = []
    for line in lines:
        made, absent = _made(line)
        refused += [line] if absent & there else []
        there |= made
    return refused


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_can_run_in_order(page: Path) -> None:
    """A run is never overwritten: a page that uses a name twice shows a command that is refused."""
    assert _not_in_order([line for name, line in _command_lines() if name == page.name]) == []


def test_a_name_that_is_used_twice_would_be_noticed() -> None:
    first, second = "segtune train own data.root=a run.name=x", "segtune train runs/x run.name=x optim.lr=1e-4"
    assert _not_in_order([f"{first} --dry-run", first, f"{second} --dry-run", second]) == [
        f"{second} --dry-run",
        second,
    ]
    assert _not_in_order(["segtune train quickstart", "segtune data synth scenes"]) == ["segtune data synth scenes"]
    assert _not_in_order([first, "segtune train --resume runs/x", "segtune train runs/x run.name=y"]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    """The names under which GitHub offers the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page() -> None:
    index = _text(ROOT / "docs" / "README.md")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"]({page.name}" not in index]
    assert missing == ["README.md"]


def test_every_shipped_recipe_is_described() -> None:
    text = _text(ROOT / "docs" / "train.md")
    assert [name for name in shipped_recipes() if f"| `{name}` |" not in text] == []


def test_every_shipped_grid_and_key_of_a_grid_file_is_described() -> None:
    text = _text(ROOT / "docs" / "search.md")
    assert [name for name in (*shipped_grids(), *SearchConfig.model_fields) if f"| `{name}` |" not in text] == []


def test_every_setting_is_described() -> None:
    both, dense = _text(ROOT / "docs" / "config.md").split("## Dense recipes\n")
    for keys, text in ((KEYS, both), (DENSE_KEYS, both + dense)):
        leaves = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
        assert [key for key in leaves if f"`{key}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_and_options_in_the_text_exist(page: Path) -> None:
    sections = {key.partition(".")[0] for key in KEYS if "." in key}
    for code in re.findall(r"`([^`\n]+)`", _prose(page)):
        key = re.match(r"([a-z_]+)\.[a-z0-9_.]*[a-z0-9_]", code)
        if key and key[1] in sections and key[0].rpartition(".")[2] not in FILES:
            known = re.sub(r"\.\d+(?=\.|$)", "", key[0])  # positions in lists are no part of a key
            assert known in {*KEYS, *DENSE_KEYS}, f"{page.name}: {code}"
        if code.startswith("segtune "):
            continue
        for option in re.findall(r"(?:^|\s)(--[a-z-]+)", code):
            assert option in _options(_parser()), f"{page.name}: {code}"


def _options(command: Any) -> set[str]:
    """Every option of a command and of those below it."""
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*(_options(one) for one in getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_on_the_pages_are_valid(page: Path, tmp_path: Path) -> None:
    _write_named(page, tmp_path)
    for block in _blocks(page, "yaml"):
        file = tmp_path / "recipe.yaml"
        file.write_text(block, encoding="utf-8")
        if "axes" in load_mapping(file):
            search = load_search(str(file))
            resolved(search, Base.read(search))
        elif list(load_mapping(file)) == ["data"]:
            validate(DenseDataConfig, load_mapping(file)["data"], where=page.name)
        else:
            validate_run(read_recipe(file), where=page.name)


def _write_named(page: Path, folder: Path) -> None:
    """Writes the blocks of a page that begin with the comment `# NAME.yaml`, which its commands and grids name."""
    for block in _blocks(page, "yaml"):
        if name := re.match(r"# ([\w-]+\.yaml)\n", block):
            (folder / name[1]).write_text(block, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_json_on_the_pages_is_what_the_readers_take(page: Path, tmp_path: Path) -> None:
    for block in _blocks(page, "json"):
        value = json.loads(block)
        file = tmp_path / "example.json"
        file.write_text(block, encoding="utf-8")
        if isinstance(value, list) and all("outputs" in entry for entry in value):
            assert read_explanations(file)
        elif isinstance(value, list):
            images = [entry["image"].removeprefix("train/") for entry in value]
            beside = [f"{Path(image).stem}.json" for image in images]
            index = read_index(
                file, "train", {*images, *beside, *(e["annotation"] for e in value if "annotation" in e)}
            )
            assert (index.refused, index.used) == ([], len(value))
        elif "classes" in value:
            assert read_classes(file).names == tuple(value["classes"])
        elif "annotations" in value:
            content = read_coco(file)
            assert content.refused == ()
            assert all(picture.instances and not picture.refused for picture in content.pictures)
        elif "shapes" in value:
            assert any(not shape.is_flag for shape in read_annotation(file).shapes)
        else:
            prediction = parse_prediction(block, page.name)
            assert rle_decode(prediction.masks[0]).any()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_the_pages_imports_what_exists(page: Path) -> None:
    for block in _blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{page.name}: {ast.unparse(node)}"


# --- the pages whose commands are run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the commands of the pages name.

    With questions there are the dataset `photos` and the complete runs `first` and `second`, with a class for every
    pixel the dataset `streets` and the complete run `streets`; besides `photo.jpg` and the recipes that the pages show.
    The pictures are drawn and the runs have few steps, so numbers mean nothing here.
    """
    place = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setenv("HF_HUB_OFFLINE", "1")
        assert main(["data", "synth", "photos", "--scenes", "10"]) == 0
        shutil.copy(sorted(Path("photos/val").glob("*.jpg"))[0], "photo.jpg")
        small = ["train.epochs=1", "train.batch_size=1", "data.max_train_samples=1"]
        cheap = ["data.queries_per_image=1", "eval.overlays=3"]
        assert main(["train", "street", "data.root=photos", "run.name=first", *small, *cheap]) == 0
        shutil.copytree("runs/first", "runs/second")
        _dense_workplace()
        _wounds()
        yield place


def _dense_workplace() -> None:
    """The drawn shapes under the names of what stands in a street, and a run of two stages on them."""
    assert main(["data", "synth", "streets", "--kind", "masks", "--scenes", "16"]) == 0  # fewer do not show every class
    Path("streets/classes.json").write_text(json.dumps(list(STREETS)), encoding="utf-8")
    data = ["data.train=masks:streets@train", "data.val=masks:streets@val", "data.max_train_images=2"]
    data.append("data.class_weights=none")  # two images do not show every class
    small = ["model.image_size=[64, 64]", "model.width=16", "train.epochs=2", "eval.overlays=3"]
    stages = "train.stages=[{epochs: 1, unfreeze: 0}, {unfreeze: 2}]"
    assert main(["train", "shapes", "run.name=streets", *data, *small, stages]) == 0
    for page in PAGES:
        _write_named(page, Path())


def _wounds() -> None:
    """The drawn shapes as one binary mask, as the recipe `wounds` wants it."""
    shutil.copytree("streets", "wounds")
    Path("wounds/classes.json").write_text(json.dumps(["background", "wound", *STREETS[2:]]), encoding="utf-8")


def _tried() -> list[str]:
    return list(dict.fromkeys(line for page, line in _command_lines() if page in TRIED))


@pytest.mark.parametrize("line", _tried())
def test_commands_run(line: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Training is checked by `--dry-run`; a resume finds a complete run. `tests/e2e` trains and resumes."""
    arguments = shlex.split(line, comments=True)[1:]
    if _parse(line)[0] == "train" and "--resume" not in arguments:
        # the runs that the pages make are there already
        arguments = [*(word for word in arguments if word != "--dry-run"), "run.root=tried", "--dry-run"]
    code = main(arguments)
    said = capfd.readouterr()
    if not QUANTIZES and re.search("needs? bitsandbytes", said.err):
        assert code == 2
        return
    assert code == 0, said.err
    assert said.out


@pytest.mark.parametrize("name", TRIED)
def test_shell_blocks_of_tried_pages_hold_nothing_else(name: str) -> None:
    lines = [line for block in _blocks(ROOT / "docs" / name, *SHELL) for line in block.splitlines()]
    assert [line for line in lines if not re.sub(LAUNCHER, "segtune ", line).startswith("segtune ")] == []


def _rows(page: Path, first: str) -> list[list[str]]:
    """The cells of the table whose first heading is `first`, without back-ticks, its headings first."""
    lines = _text(page).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    stop = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in (lines[start], *lines[start + 2 : stop])
    ]


def test_the_defaults_of_the_quick_reference_are_those_of_the_code(tmp_path: Path) -> None:
    """A cell, given as a setting, must change nothing: neither a bare recipe nor the shipped one of its column."""
    answers, dense = tmp_path / "answers.yaml", tmp_path / "dense.yaml"
    answers.write_text("{data: {train: photos@train}, model: {vlm: a, mask_model: b}}", encoding="utf-8")
    dense.write_text("{task: dense, data: {train: streets@train}}", encoding="utf-8")
    _compare_defaults("key", (str(answers), "own", "street"), at_least=40)
    _compare_defaults("key of a dense recipe", (str(dense), "camvid", "wounds"), at_least=30)


def _compare_defaults(first: str, recipes: tuple[str, str, str], at_least: int) -> None:
    """Compares a table with what three recipes give, of which the first says nothing itself."""
    heading, *rows = _rows(REFERENCE, first)
    assert heading == [first, "default", *recipes[1:]]
    assert len(rows) >= at_least
    for column, recipe in enumerate(recipes, start=1):
        expected = load_recipe(recipe)
        for row in rows:
            found = load_recipe(recipe, [f"{row[0]}={row[column]}"])
            assert found == expected, f"{heading[column]}: {row[0]} is not {row[column]}"


def test_a_wrong_default_would_be_noticed() -> None:
    assert load_recipe("own", ["optim.lr=2e-4"]) != load_recipe("own")


def test_the_quick_reference_names_every_metric_and_command() -> None:
    names = {name.strip() for row in _rows(REFERENCE, "metric")[1:] for name in row[0].split(",")}
    assert names == {*LOSSES, *METRICS, "emission_rate", "no_box"}
    dense = {name.strip() for row in _rows(REFERENCE, "metric of a dense model")[1:] for name in row[0].split(",")}
    assert dense == {*DENSE_LOSSES, *CLASS_METRICS, *BINARY_METRICS, *ONLY_IN_SCORES}
    called = {_parse(line)[0] for page, line in _command_lines() if page == REFERENCE.name}
    assert called >= set(_parser().commands) - {"data", "config"}


@pytest.mark.parametrize(("name", "headings"), [("first", ("file",)), ("streets", ("file", "file, with stages"))])
def test_the_quick_reference_names_what_a_run_leaves(name: str, headings: tuple[str, ...], workplace: Path) -> None:
    rows = [row for heading in headings for row in _rows(REFERENCE, heading)[1:]]
    named = [name.strip() for row in rows for name in row[0].split(",")]
    run = workplace / "runs" / name
    for one in named:
        assert list(run.glob("*".join(re.split(PLACEHOLDER, one)))), one
    tops = {one.partition("/")[0] for one in named}
    patterns = [re.compile(".+".join(map(re.escape, re.split(PLACEHOLDER, top)))) for top in tops]
    left = [path.name for path in run.iterdir() if not path.name.startswith(".")]
    assert [one for one in left if not any(pattern.fullmatch(one) for pattern in patterns)] == []
    assert RunDir.open(run).config.is_file()


def test_messages_that_are_quoted_are_those_of_the_program() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "segtune").rglob("*.py"))
    messages = [row[0] for row in _rows(TROUBLE, "message")[1:]]
    assert len(messages) > 15
    assert [message for message in messages if message not in source] == []
    told = ("loss or gradient is not finite; the step was skipped", "no mask: the model's answer asks for none")
    assert [text for text in told if text not in _text(TROUBLE) or text not in source] == []


def test_the_steps_that_the_guide_counts() -> None:
    config = load_recipe("own").train
    steps = math.ceil(math.ceil(300 / config.batch_size) / config.accumulate)
    assert f"300 photographs are {steps} steps an epoch and {steps * config.epochs} in all" in _text(
        ROOT / "docs" / "train.md"
    )
    assert load_recipe("own").optim.warmup_steps == 100
