from __future__ import annotations

import copy
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from segtune.core import config
from segtune.core.config import Config, load_mapping, merge, merge_overrides, validate
from segtune.core.errors import ConfigError
from segtune.core.yaml_files import dump_mapping


class Optim(Config):
    lr: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epochs: int = Field(3, ge=1)


class Folder(Config):
    kind: Literal["folder"] = "folder"
    root: str = "."


class Drawn(Config):
    kind: Literal["drawn"] = "drawn"
    scenes: int = 10


class Run(Config):
    name: str | None = None
    seed: int = 0
    note: str = ""
    device: str | None = None
    tags: tuple[str, ...] | Literal["all"] = ()
    words: dict[str, tuple[str, ...]] = Field({})
    parts: int | str = 0


class Experiment(Config):
    run: Run = Run()
    optim: Optim = Optim()
    data: tuple[Folder | Drawn, ...] = ()
    debug: bool = False


def _write(tmp_path: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_is_read_as_people_mean_it(tmp_path: Path) -> None:
    text = (
        "a: 1e-3\nb: on\nc: no\nd: true\ne: False\nf: 12:30\ng: 2024-05-06\nh: 010\ni: -3\nj: 1.5e+2\nk:\nl: .5\nm: ~\n"
    )
    assert load_mapping(_write(tmp_path, text)) == {
        "a": 1e-3,
        "b": "on",
        "c": "no",
        "d": True,
        "e": False,
        "f": "12:30",
        "g": "2024-05-06",
        "h": "010",
        "i": -3,
        "j": 150.0,
        "k": None,
        "l": 0.5,
        "m": None,
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1, 2\n", "line 3", "well-formed"),
        ("a: 1\nb: 2\na: 3\n", "line 3", "stands twice"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1", "well-formed"),
        ("- 1\n- 2\n", "", "not a mapping"),
        ("a:\n  1: x\n", "line 2", 'not text: .1.; put it in quotation marks: "1"'),
        ("a: 1\nb: !!int\n", "line 2", "a tag (!!int) is not read"),
        ("a: !!int x\n", "line 1", "a tag (!!int) is not read"),
        ("a: !!timestamp x\n", "line 1", "a tag (!!timestamp) is not read"),
        ("a: !!set {x, y}\n", "line 1", "a tag (!!set) is not read"),
        ("a: !mine [1]\n", "line 1", "a tag (!mine) is not read"),
        ("a: 1\n? [b, c]\n: 2\n", "line 2", "a key is a list or a mapping"),
        ("a: 1\n? {b: c}\n: 2\n", "line 2", "a key is a list or a mapping"),
        ("a: &x\n  b: *x\n", "line 2", "the alias *x stands inside what it repeats"),
        ("a: &x [1, *x]\n", "line 1", "the alias *x stands inside what it repeats"),
        ("a: *x\n", "line 1", "undefined alias"),
        ("a: 1\nb:\t- 2\n", "line 2", "well-formed"),
        ("a: 1\n---\nb: 2\n", "line 2", "well-formed"),
        ("a: 1\nb: \x01\n", "line 2", "special characters are not allowed"),
        ("a: 1\nb: " + "[" * 60 + "\n", "line 2", "nested more than 50 deep"),
        ("a: 1\nb: " + "7" * 5000 + "\n", "line 2", "well-formed"),
        ('a: "\\ud83d"\n', "", "which UTF-8 cannot hold"),
    ],
)
def test_malformed_yaml_names_the_line(tmp_path: Path, text: str, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_mapping(_write(tmp_path, text))
    assert re.search(message.replace("(", r"\(").replace(")", r"\)").replace("*", r"\*"), str(raised.value))
    assert "recipe.yaml" in str(raised.value)
    assert line in str(raised.value)


def _bomb(levels: int, over: str = "[{}]") -> str:
    """Ten times as much at every level: a billion laughs in a few lines."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} " + over.format(", ".join([f"*a{level - 1}"] * 10)))
    return "\n".join(lines)


@pytest.mark.parametrize("over", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path, over: str) -> None:
    path = _write(tmp_path, _bomb(9, over))
    begun = time.process_time()
    with pytest.raises(ConfigError, match=r"line 6: .*more than 100,000 values"):
        load_mapping(path)
    assert time.process_time() - begun < 2


def test_aliases_and_merges_of_a_usual_file_are_read(tmp_path: Path) -> None:
    text = "a: &x {b: 1, c: [1, 2]}\nd: *x\ne: {<<: *x, b: 2}\nf: !!str 12\n"
    there = {"b": 1, "c": [1, 2]}
    assert load_mapping(_write(tmp_path, text)) == {"a": there, "d": there, "e": {**there, "b": 2}, "f": "12"}


def test_what_is_no_file_or_too_long_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"(?s)pipe.yaml: .*not a regular file"):
        load_mapping(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match="too long"):
        load_mapping(_write(tmp_path, "a: 1\n" * 60_000))


@pytest.mark.parametrize(
    "text", ['{"a": 1,\n "b": }', '{"a": 1, "a": 2}', "[" * 100_000, f'{{"a": {"7" * 5000}}}', '{"a": "\\ud83d"}']
)
def test_malformed_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_mapping(_write(tmp_path, text, "recipe.json"))


def test_unreadable_files_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml, line 2: not a text file in UTF-8"):
        load_mapping(tmp_path / "latin.yaml")
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConfigError):
            load_mapping(path)


def test_json_and_empty_files(tmp_path: Path) -> None:
    assert load_mapping(_write(tmp_path, '{"a": {"b": [1, 1e-3]}}', "r.json")) == {"a": {"b": [1, 1e-3]}}
    assert load_mapping(_write(tmp_path, "# nothing\n")) == {}


_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_trees = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(), _trees, max_size=4))
def test_what_is_dumped_is_read_back_equal(mapping: dict[str, Any]) -> None:
    from segtune.core.yaml_files import _parse_yaml

    back = _parse_yaml(dump_mapping(mapping), "here")
    assert back == mapping
    assert repr(back) == repr(mapping)  # 1 is not True and not 1.0


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("optim.lr=-1e-4", -1e-4),
        ("optim.lr=[0.9, -1]", [0.9, -1]),
        ("optim.lr=reasonseg:photos@val", "reasonseg:photos@val"),
        ("optim.lr=@x: # y", "@x: # y"),
        ("optim.lr=a=b", "a=b"),
        ('optim.lr="007"', "007"),
        ("optim.lr=", None),
        ("optim.lr=null", None),
        ("optim.lr=true", True),
        ("optim.lr={a: 1}", {"a": 1}),
        ("optim.lr=<<", "<<"),
    ],
)
def test_override_values(override: str, value: Any) -> None:
    before = {"optim": {"epochs": 2}}
    result = merge_overrides(before, [override])
    assert result == {"optim": {"epochs": 2, "lr": value}}
    assert before == {"optim": {"epochs": 2}}


@pytest.mark.parametrize("override", ["optim.lr", "=3", "optim..lr=3", "optim.=3", "seed.x=1", "a=[1"])
def test_malformed_overrides(override: str) -> None:
    with pytest.raises(ConfigError):
        merge_overrides({"seed": 3}, [override])


def test_an_override_names_an_entry_of_a_list_by_its_position() -> None:
    before = {"stages": [{"name": "first", "lr": 1.0}, {"name": "second", "optim": {"lr": 2.0}}], "names": ["a", "b"]}
    kept = copy.deepcopy(before)
    changes = ["stages.1.optim.lr=0.5", "stages.0.lr=null", "stages.1.epochs=3", "names.1=c"]
    assert merge_overrides(before, changes) == {
        "stages": [{"name": "first", "lr": None}, {"name": "second", "optim": {"lr": 0.5}, "epochs": 3}],
        "names": ["a", "c"],
    }
    assert before == kept


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.2.lr=1", r"stages is a list of 2 and has no entry 2\n.*0 to 1"),
        ("stages.-1.lr=1", "stages is a list of 2 and has no entry -1"),
        ("stages.lr=1", "stages is a list of 2 and has no entry lr"),
        ("stages.0.names.0=1", r"stages.0.names is a list of 0 and has no entry 0\n.*stages.0.names=\[...\]"),
        ("stages.0.lr.x=1", "stages.0.lr is a value and has no keys below it"),
    ],
)
def test_an_override_of_an_entry_that_a_list_does_not_have(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge_overrides({"stages": [{"lr": 1.0, "names": []}, {}]}, [override])
    assert re.search(message, str(caught.value))


def test_merge_is_deep_and_replaces_lists() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"lr": 1}, "lr: no such key; did you mean optim.lr?"),
        ({"optim": {"lrr": 1}}, "optim.lrr: no such key; did you mean optim.lr?"),
        ({"optim": {"epoch": 1}}, "optim.epoch: no such key; did you mean optim.epochs?"),
        ({"optin": {"lr": 1}}, "optin: no such key; did you mean optim?"),
        ({"run": {"epochs": 1}}, "run.epochs: no such key; did you mean optim.epochs?"),
        ({"data": [{"kind": "drawn", "scense": 3}]}, "data.0.scense: no such key; did you mean data.scenes?"),
        ({"zzzzqq": 1}, "zzzzqq: no such key; known there: run, optim, data, debug"),
        ({"optim": {"rank": 1}}, "optim.rank: no such key; known there: lr, betas, epochs"),
        ({"optim": {"lr": 0}}, "optim.lr: input should be greater than 0 (found 0)"),
        ({"dice": 1}, "dice: no such key; known there: run, optim, data, debug"),
        (
            {"run": {"note": True}},
            'run.note: a text is wanted; write "true" in a file and \'"true"\' on a command line',
        ),
        ({"optim": {"lr": True}}, "optim.lr: a number is wanted, not true or false (found True)"),
        ({"optim": {"lr": float("nan")}}, "optim.lr: input should be a finite number (found nan)"),
        ({"optim": {"epochs": 1.5}}, "optim.epochs: "),
        ({"optim": {"betas": [0.9]}}, "optim.betas.1: is missing"),
        ({"optim": 3}, "optim: "),
        ({"debug": "maybe"}, "debug: "),
    ],
)
def test_problems_are_named_by_their_key(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(Experiment, mapping, "my.yaml")
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("my.yaml: ")
    assert any(line.strip().startswith(message) for line in lines[1:]), lines


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError, match="3 problems") as raised:
        validate(Experiment, {"lr": 1, "optim": {"epochs": 0}, "run": {"seed": "x"}}, "my.yaml")
    for key in ("lr", "optim.epochs", "run.seed"):
        assert f"  {key}: " in str(raised.value)


def test_config_round_trips_through_yaml(tmp_path: Path) -> None:
    made = validate(
        Experiment,
        {"run": {"name": 7, "note": "1e-3"}, "optim": {"lr": 1e-05}, "data": [{"kind": "drawn", "scenes": 3}]},
        "here",
    )
    assert made.run.name == "7"
    again = validate(Experiment, load_mapping(_write(tmp_path, config.dump_yaml(made))), "there")
    assert again == made
    assert isinstance(again.data[0], Drawn)


@pytest.mark.parametrize("written", ["1e-4", "1.10", "+5", "010", "-0", "1e3", ".5", "on", "2024-05-06", "null-2"])
def test_a_name_that_looks_like_a_number_is_taken_as_it_was_written(written: str, tmp_path: Path) -> None:
    """The number 1.1 has lost whether it was 1.10, and a run of that name could not be found again."""
    settings = [f"run.name={written}", f"run.tags=[{written}]", f"run.words={{a: [{written}, b]}}", "optim.lr=1e-4"]
    yaml = f"run: {{name: {written}, tags: [{written}], words: {{a: [{written}, b]}}}}\noptim: {{lr: 1e-4}}\n"
    mappings = [merge_overrides({}, settings), load_mapping(_write(tmp_path, yaml))]
    mappings.append(copy.deepcopy(mappings[1]))
    mappings.append(load_mapping(_write(tmp_path, dump_mapping(mappings[1]), "again.yaml")))
    for mapping in mappings:
        made = validate(Experiment, mapping, "here")
        assert (made.run.name, made.run.tags, made.run.words) == (written, (written,), {"a": (written, "b")})
        assert type(made.optim.lr) is float
        assert validate(Experiment, load_mapping(_write(tmp_path, config.dump_yaml(made))), "there") == made


def test_a_number_stays_one_where_a_number_may_stand(tmp_path: Path) -> None:
    assert validate(Experiment, merge_overrides({}, ["run.parts=5"]), "here").run.parts == 5
    assert (
        validate(Experiment, load_mapping(_write(tmp_path, '{"run": {"name": 1.10}}', "a.json")), "").run.name == "1.10"
    )


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Experiment().debug = True  # type: ignore[misc]


def test_diff_lists_what_differs() -> None:
    a = validate(Experiment, {"optim": {"lr": 0.1}}, "a")
    b = validate(Experiment, {"optim": {"lr": 0.2}, "data": [{"kind": "folder"}]}, "b")
    assert config.diff(a, a) == []
    assert config.diff(a, b) == [("optim.lr", 0.1, 0.2), ("data", [], [{"kind": "folder", "root": "."}])]
    assert config.diff({"x": 1}, {"x": True, "y": {"z": 2}}) == [("x", 1, True), ("y.z", config.ABSENT, 2)]


def test_diff_tells_a_mapping_that_is_empty_on_one_side_once() -> None:
    rates, none = {"optim": {"rates": {"mask_decoder": 2e-4}}, "z": 1}, {"optim": {"rates": {}}, "z": 1}
    assert config.diff(rates, none) == [("optim.rates.mask_decoder", 2e-4, config.ABSENT)]
    assert config.diff(none, rates) == [("optim.rates.mask_decoder", config.ABSENT, 2e-4)]
    assert config.diff({"rates": {}}, {"rates_of": {"a": 1}}) == [
        ("rates", {}, config.ABSENT),
        ("rates_of.a", config.ABSENT, 1),
    ]
    assert config.diff({"rates": {}}, {"rates": None}) == [("rates", {}, None)]
    assert config.diff(none, none) == []


@pytest.mark.parametrize("key", ["count", "sizes"])
def test_a_whole_number_beyond_64_bits_is_refused_by_key(key):
    class Sizes(Config):
        count: int = 1
        sizes: tuple[int, int] = (1, 1)
        name: str = ""

    def built(value):
        return validate(Sizes, {key: value if key == "count" else [1, value], "name": 10**30}, "file")

    assert getattr(built(2**63 - 1), key)
    for value in (2**63, -(2**63), 10**500):
        with pytest.raises(ConfigError, match=rf"{key}: .*at most 64 bits"):
            built(value)
