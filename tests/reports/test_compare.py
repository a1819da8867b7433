"""Comparing runs: every number there is, in the right column, in every format."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from tests.reports.conftest import MakeRun, history

from segtune.cli.main import main
from segtune.reports.compare import about, compare_sections, read_runs, to_csv, to_json
from segtune.reports.facts import read_run
from segtune.reports.tables import markdown


def _rows(text: str) -> dict[str, list[list[str]]]:
    """The lines of all tables, by their first cell."""
    rows: dict[str, list[list[str]]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *rest = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows.setdefault(first, []).append(rest)
    return rows


@pytest.fixture
def two(make_run: MakeRun) -> list[Path]:
    """A run, and another that is younger, has keys of its own and another rate."""
    longer = history(2)
    for row in longer["val"]:
        row["val_complete_iou"] = -0.25
        row["val_P@0.5"] = 0.75
    other = make_run("second", config={"optim": {"lr": 0.5}}, files={"training_history.json": longer})
    return [make_run("first"), other]


def test_runs_stand_side_by_side(two: list[Path]) -> None:
    rows = _rows(markdown("", compare_sections(read_runs(two))))
    assert rows["epochs"] == [["4 of 4", "2 of 4"]]
    assert rows["optim.lr"] == [["0.0001", "0.5"]]
    assert "train.best" not in rows  # the same in both
    assert rows["best epoch"] == [["3", "2"]]
    assert rows["val_gIoU"] == [["0.500", "0.400"]]
    assert rows["val_complete_iou"] == [["-", "-0.250"]]
    assert rows["val_P@0.5"] == [["-", "0.750"]]
    assert rows["peak memory, GB"] == [["1.500", "1.500"]]
    assert rows["training time, s"] == [["8.000", "4.000"]]
    assert rows["gIoU, 95% interval"] == [["0.350 to 0.450"] * 2, ["0.250 to 0.350"] * 2]
    assert ["0.500 (best)", "-"] in rows["3"]
    assert ["0.400", "0.400 (best)"] in rows["2"]
    assert "LISA-7B" not in rows  # scored on other data


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ({"base": "segtune/tiny", "vlm": None}, "segtune/tiny"),
        ({"base": None, "vlm": "a/llava", "mask_model": "a/sam"}, "a/llava + a/sam"),
        (
            {"base": None, "vlm": None, "vision": "a/clip", "language": "a/llama", "mask_model": "a/sam"},
            "a/clip + a/llama + a/sam",
        ),
        ({}, "?"),
    ],
)
def test_what_a_run_starts_from_is_named_whole(model: dict[str, str | None], shown: str, make_run: MakeRun) -> None:
    assert about(read_run(make_run(config={"model": model})))["starts from"] == shown


def test_long_runs_are_thinned_but_keep_first_best_and_last(make_run: MakeRun) -> None:
    path = make_run(files={"training_history.json": history(100)})
    rows = _rows(markdown("", compare_sections(read_runs([path]))))
    epochs = [int(name) for name in rows if name.isdigit()]
    assert {1, 3, 100} <= set(epochs)
    assert len(epochs) < 16


def test_runs_of_the_same_name_go_by_their_paths(make_run: MakeRun) -> None:
    runs = read_runs([make_run("a/x"), make_run("b/x"), make_run("c")])
    assert [run.name.endswith(end) for run, end in zip(runs, ("a/x", "b/x", "c"), strict=True)] == [True] * 3


def test_csv_holds_every_number_of_every_epoch(two: list[Path]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(read_runs(two)))))
    assert set(rows[0]) == {"name", "group", "key", "epoch", "value"}
    found = {(row["name"], row["group"], row["key"], row["epoch"]): row["value"] for row in rows}
    assert found["second", "history", "val_complete_iou", "1"] == "-0.25"
    assert float(found["first", "history", "loss", "4"]) == pytest.approx(0.4)
    assert found["first", "scores scenes val, generate", "gIoU", ""] == "0.3"
    assert len(found) == len(rows)


def test_json_is_whole(two: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *map(str, two), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads(json.dumps(to_json(read_runs(two))))
    assert [run["name"] for run in content["runs"]] == ["first", "second"]
    assert len(content["runs"][0]["train"]) == 4
    assert "published" not in content  # these runs were scored on other data


def test_the_command_prints_and_writes(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "folder"
    assert main(["compare", *map(str, two), "--out", str(out)]) == 0
    assert (out / "compare.md").read_text() == capsys.readouterr().out
    assert (out / "compare.csv").read_text().startswith("name,group,key,epoch,value\n")
    text = (out / "compare.html").read_text()
    assert "<h2>Best epoch</h2>" in text
    curves = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', text)[1])  # type: ignore[index]
    assert Image.open(io.BytesIO(curves)).size[1] > 900  # five quantities in three rows of panels
    assert not re.search(r"(src|href)=.?(https?:)?//", text)


def test_what_is_no_run_exits_3(two: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(two[0]), str(tmp_path / "nothing")]) == 3
    assert "no such run" in capsys.readouterr().err
    assert main(["compare"]) == 2
