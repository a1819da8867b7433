"""Damaged recipes and `config.yaml` are refused by file and key, or read as what they now say; see `mutations.py`.

The oracle knows nothing of segtune's reader: it takes the plain texts of a YAML or JSON file and lays them over the
values that a recipe without settings has. A value that is taken is the one that was written, and all else stays.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from tests.mutations import (
    FOREIGN,
    Layout,
    Mutation,
    Reading,
    by_outcome,
    byte_mutations,
    encoding_mutations,
    json_mutations,
    run,
)

from segtune.config import load_recipe
from segtune.core.rundir import RunDir
from segtune.experiment.again import load_run

RECIPE = f"""\
task: dense
description: "{FOREIGN}"
run: {{name: one, seed: 3}}
data:
  train: masks:photos@train
  val: masks:photos@val
  class_weights: none
  augment: {{flip: 0.5, flip_vertical: 0.25}}
model:
  encoder: segtune/tiny-cnn
  width: 16
  image_size: [32, 48]
  dropout: 0.1
losses: {{ce: 1.0, dice: 0.5}}
optim: {{lr: 5e-3, warmup_steps: 2, clip: 1.0}}
train:
  epochs: 4
  batch_size: 2
  log_every: 1
  tf32: false
eval: {{final: true, overlays: 2}}
"""

FILES = ("recipe.yaml", "recipe.json", "run/config.yaml")
_TEXTS = ("run.name", "data.val")
"""Keys that hold a text and are null by default."""

_CHOSEN = {
    "name": ("run", "name"), "seed": ("run", "seed"), "lr": ("optim", "lr"), "epochs": ("train", "epochs"),
    "batch_size": ("train", "batch_size"), "width": ("model", "width"), "final": ("eval", "final"),
    "train": ("data", "train"),
}  # fmt: skip
_VALUES = (
    "null", "true", "yes", '"7"', "7", "-1", "0", "1e400", "-1e-400", "9" * 500, ".nan", ".inf", "0x10", "010", "1_000",
    "12:30", "[1, 2]", "{a: 1}", "!!python/object/apply:os.system [ls]", "!!int 7", "*nothing", "&a 7", "7.0", "7.5",
    "é", "a\\x00b", '"\\ud800"', "''", "~", "|\n    text", "2001-01-01",
)  # fmt: skip


def _write(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    values = yaml.safe_load(RECIPE)
    values["optim"]["lr"] = 5e-3  # a text for PyYAML
    (folder / "recipe.json").write_text(json.dumps(values, indent=1, ensure_ascii=False), encoding="utf-8")
    (folder / "run" / "checkpoints").mkdir(parents=True)
    (folder / "run" / "metrics.jsonl").write_text("")
    (folder / "run" / "config.yaml").write_text(RECIPE, encoding="utf-8")


def _read(folder: Path) -> Reading:
    return Reading({Path(name).name: _read_one(folder / name, (folder / name).read_bytes()) for name in FILES})


@cache
def _read_one(path: Path, raw: bytes) -> dict[str, Any]:
    """What is read of a file with these bytes."""
    config = load_run(RunDir.open(path.parent)) if path.name == "config.yaml" else load_recipe(str(path))
    return _flat({**config.model_dump(mode="json"), "recipe": ""})


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Every value by its dotted key; those of lists by their place."""
    children = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else None
    if children is None:
        return {prefix: values}
    found = {} if values else {prefix: type(values)()}
    for key, value in children:
        found |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


@cache
def _defaults(folder: Path) -> dict[str, Any]:
    """The values of a recipe that says next to nothing."""
    path = folder.parent / "nothing.yaml"
    path.write_text("task: dense\ndata: {train: 'masks:photos@train'}\n")
    return _read_one(path, path.read_bytes())


def _plain(folder: Path) -> dict[str, Any]:
    return {Path(name).name: _laid_over(_defaults(folder), (folder / name).read_bytes()) for name in FILES}


def _laid_over(defaults: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """The defaults with the texts of a file over them; a text is taken as the kind of value that stands there."""
    said = _flat(yaml.load(raw.decode("utf-8-sig"), Loader=yaml.BaseLoader))
    assert said.pop("recipe", "") in ("", "recipe")
    result = dict(defaults)
    for key, text in said.items():
        for other in [one for one in result if one.startswith(f"{key}.")]:
            del result[other]  # a list or mapping is replaced
        result.pop(key.rpartition(".")[0], None)
        result[key] = _valued(text, is_text=key in _TEXTS or isinstance(defaults.get(key), str))
    return result


def _valued(text: Any, *, is_text: bool) -> Any:
    words: dict[str, Any] = {"null": None, "~": None, "true": True, "false": False}
    if not isinstance(text, str) or text.lower() in words:
        return words[text.lower()] if isinstance(text, str) else text
    if is_text:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _mutations(rng: random.Random, files: Mapping[str, bytes]) -> Iterator[tuple[str, Mutation]]:
    for name, flips, cuts in (("recipe.yaml", 60, 6), ("recipe.json", 30, 4), ("run/config.yaml", 20, 3)):
        raw = files[name]
        for one in byte_mutations(rng, len(raw), flips, cuts):
            yield name, Mutation(one.name, one.apply)
        yield from ((name, mutation) for mutation in encoding_mutations())
    yield from (("recipe.json", mutation) for mutation in json_mutations(rng, files["recipe.json"], 25))
    for key, place in _CHOSEN.items():
        for value in _VALUES:
            yield "recipe.yaml", Mutation(f"{'.'.join(place)} is {value[:40]}", _with_value(place, value), key=key)
        yield "recipe.yaml", Mutation(f"{key} stands twice", _twice(place), warned=True, key=key)
        yield "recipe.yaml", Mutation(f"{key} is misspelt", _misspelt(place), warned=True, key=f"{key}z")


def _edited(place: tuple[str, str], old: str, new: str) -> Any:
    """Edits the text of one section alone."""

    def apply(raw: bytes) -> bytes:
        text = raw.decode()
        start = text.index(f"\n{place[0]}:")
        key = text.index(f"{place[1]}:", start)
        return (text[:key] + text[key:].replace(old, new, 1)).encode()

    return apply


def _value_of(place: tuple[str, str]) -> str:
    section = yaml.load(RECIPE, Loader=yaml.BaseLoader)[place[0]]
    return str(section[place[1]])


def _with_value(place: tuple[str, str], value: str) -> Any:
    return _edited(place, f"{place[1]}: {_value_of(place)}", f"{place[1]}: {value}")


def _twice(place: tuple[str, str]) -> Any:
    old = f"{place[1]}: {_value_of(place)}"

    def apply(raw: bytes) -> bytes:
        text = raw.decode()
        start = text.index(old, text.index(f"\n{place[0]}:"))
        line = text[text.rindex("\n", 0, start) + 1 : text.index("\n", start)]
        again = f", {old}" if "{" in line else f"\n{line}"
        return (text[: start + len(old)] + again + text[start + len(old) :]).encode()

    return apply


def _misspelt(place: tuple[str, str]) -> Any:
    return _edited(place, f"{place[1]}:", f"{place[1]}z:")


CONFIGS = Layout(
    "configs", _write, _read, _plain, _mutations, lambda file: (file,),
    lambda file: (Path(file).name,), kind=lambda file: "config",
)  # fmt: skip


def test_no_setting_is_misread_in_silence(tmp_path: Path) -> None:
    found, failures = run(CONFIGS, tmp_path / "data")
    outcomes = by_outcome(found)
    assert not failures, "\n".join(failures)
    assert outcomes.total() >= 400
    assert outcomes["refused"] >= 200
    assert outcomes["honest"] >= 30
    assert outcomes["same"] >= 10
