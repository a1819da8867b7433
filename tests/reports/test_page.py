"""The page of a run: complete, self-contained, and nothing from data becomes more than text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.reports.conftest import MakeRun

from segtune.cli.main import main
from segtune.core.errors import CheckpointError
from segtune.core.files import read_json, write_json
from segtune.core.rundir import RunDir
from segtune.reports.card import model_card
from segtune.reports.page import write_report


class _Reader(HTMLParser):
    """Collects tags, addresses and the visible text; complains of tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed((path / "report.html").read_text())
    assert not reader.open
    return reader


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the seconds that drawing takes."""
    monkeypatch.setattr("segtune.reports.page.history_figure", lambda facts: b"\x89PNG stands for the figure")


@pytest.mark.usefixtures("no_figure")
def test_all_of_a_run_is_on_the_page(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_run()
    assert main(["report", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{path}/training_history.png", f"{path}/report.html"]
    reader = _read(path)
    for words in (
        "Complete: 4 epochs", "gIoU 0.300 (0.250 to 0.350)", "mean_mask, has 0.123; the model is above it",
        "scenes val, forced", "Epoch 3, by val_gIoU", "published figures are of ReasonSeg", "3,000",
        "x.json: <b>torn</b>", "best: val_gIoU", "No pictures",
    ):  # fmt: skip
        assert words in reader.text
    assert (path / "training_history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("no_figure")
def test_the_page_loads_nothing(hostile_run: Path) -> None:
    write_report(hostile_run)
    reader = _read(hostile_run)
    assert len(reader.addresses) == 2  # the figure and the one picture
    assert all(address.startswith(("data:image/png;", "data:image/jpeg;")) for address in reader.addresses)
    assert not re.search(r"url\(|@import", (hostile_run / "report.html").read_text())


@pytest.mark.usefixtures("no_figure")
def test_data_stay_text(hostile_run: Path) -> None:
    write_report(hostile_run)
    reader = _read(hostile_run)
    assert "script" not in reader.tags
    assert "i" not in reader.tags
    assert reader.text.count("<script>alert(1)</script>") >= 4  # recipe, description, question, answer
    assert "a|b <i>$x$" in reader.text
    assert "the picture gone.png is missing" in reader.text
    assert "IoU 0.125" in reader.text


@pytest.mark.usefixtures("no_figure")
def test_pictures_that_are_the_same_in_both_modes_are_shown_once(make_run: MakeRun) -> None:
    path = make_run()
    row = {"file": "best-1_a.png", "rank": "best", "id": "a#0", "iou": 0.5, "query": "q", "answer": "<SEG>."}
    folders = [path / "predictions" / f"scenes_val_{mode}" for mode in ("generate", "forced")]
    for folder in folders:
        folder.mkdir(parents=True)
        Image.new("RGB", (30, 12), "red").save(folder / "best-1_a.png")
        write_json(folder / "index.json", {"pictures": [row]})
    write_report(path)
    assert (path / "report.html").read_text().count("data:image/jpeg;") == 1
    assert "The pictures of scenes val, generate are those of scenes val, forced: same answers." in _read(path).text
    write_json(folders[0] / "index.json", {"pictures": [{**row, "answer": "no"}]})
    write_report(path)
    assert (path / "report.html").read_text().count("data:image/jpeg;") == 2
    assert "same answers" not in _read(path).text


def test_the_same_run_gives_the_same_page(make_run: MakeRun) -> None:
    path = make_run()
    write_report(path)
    first = (path / "report.html").read_bytes()
    write_report(path)
    assert (path / "report.html").read_bytes() == first


@pytest.mark.usefixtures("no_figure")
def test_a_run_that_is_still_training(make_run: MakeRun) -> None:
    nothing = dict.fromkeys(("training_history.json", "eval_scenes_val_generate.json", "eval_scenes_val_forced.json"))
    path = make_run(files=nothing)
    assert write_report(path) == [path / "report.html"]
    text = _read(path).text
    for words in ("Not complete: 0 of 4", "No scores yet", "No epoch has ended yet", "There is none yet"):
        assert words in text


@pytest.mark.usefixtures("no_figure")
def test_a_run_that_was_stopped_early_is_complete(make_run: MakeRun) -> None:
    stop = {"metric": None, "patience": 1, "min_gain": 0.0}
    path = make_run(config={"train": {"epochs": 9, "best": "val_gIoU", "best_goal": None, "early_stopping": stop}})
    write_report(path)
    text = _read(path).text
    assert "Complete: stopped early, after 4 of 9 epochs" in text
    assert "4 of 9, stopped early" in text
    assert "Not complete" not in text


@pytest.mark.usefixtures("no_figure")
def test_a_damaged_index_is_told(hostile_run: Path) -> None:
    index = hostile_run / "predictions" / "scenes_val_generate" / "index.json"
    for content in ([], {"pictures": [{"file": "a.png"}]}, {"pictures": [1]}):
        write_json(index, content)
        with pytest.raises(CheckpointError, match=r"index\.json"):
            write_report(hostile_run)


def test_what_is_no_run_exits_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 3
    assert "not a run directory" in capsys.readouterr().err


@pytest.mark.usefixtures("no_figure")
def test_the_card_shows_the_figure_where_there_is_one(make_run: MakeRun) -> None:
    config = {
        "model": {"base": "segtune/tiny", "mask_features": "encoder"},
        "train": {"epochs": 4, "batch_size": 1, "best": "val_gIoU"},
    }
    path = make_run(config=config)
    assert "training_history.png" not in model_card(RunDir(path))
    write_report(path)
    assert "](training_history.png)" in model_card(RunDir(path))
    assert read_json(path / "training_history.json")["train"]
