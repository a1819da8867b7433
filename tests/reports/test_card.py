"""The card of a run: whatever names, settings and descriptions hold, it stays text."""

from __future__ import annotations

import re

import pytest
from tests.reports.dense_factory import write_dense_run

from segtune.core.rundir import RunDir
from segtune.reports.card import model_card
from segtune.reports.tables import code, paragraph, plain

HOSTILE = "# a <script>alert(1)</script> | b\n\n![x](http://x/y.png) &lt;b&gt; `code` <img src=x> \\<i>"
ACTIVE = re.compile(r"(?<!\\)<|&lt;|\]\(|^#{1,6} a ", re.MULTILINE)


def test_texts_do_nothing() -> None:
    for write in (plain, paragraph, code):
        assert "\n" not in write(HOSTILE)
    assert not ACTIVE.search(paragraph(HOSTILE))
    starts = {
        "# heading": r"\# heading",
        "- item": r"\- item",
        "1. item": r"1\. item",
        "---": r"\---",
        "1.5 GB": "1.5 GB",
    }
    for text, written in (starts | {"1.5 GB": "1.5 GB"}).items():
        assert paragraph(text) == written
    assert plain("a plain sentence with `code` & more") == "a plain sentence with `code` & more"
    assert plain("\x1b[2J") == r"\\u001b[2J"


@pytest.mark.parametrize("text", ["a`b", "``", "a ``` b `", "", "`<script>`"])
def test_a_value_cannot_leave_its_code(text: str) -> None:
    written = code(text)
    fence = re.match(r"`+", written)[0]
    assert written.endswith(fence)
    inner = written[len(fence) : -len(fence)]
    assert fence not in re.findall(r"`+", inner)


def test_the_card_of_a_reasoning_run(make_run) -> None:
    path = make_run(
        config={
            "description": HOSTILE, "recipe": "a`<b>`", "run": {"seed": 0, "name": None},
            "model": {"base": "<i>x</i>", "mask_features": "encoder"},
            "data": {"train": "reasonseg:<u>`x`</u>@train", "val": None},
            "train": {"epochs": 4, "best": "val_gIoU", "best_goal": None, "batch_size": 2}, "optim": {"lr": 1e-4},
        },
    )  # fmt: skip
    outside = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", model_card(RunDir(path)))
    assert not ACTIVE.search(outside.replace("![losses and metrics by epoch](", ""))
    assert r"\<script\>" in outside


def test_the_card_of_a_dense_run(tmp_path) -> None:
    classes = ("background", "<b>road</b>", "a|b", "[x](http://x)")
    path = write_dense_run(tmp_path / "run", config={"description": HOSTILE}, classes=classes)
    card = model_card(RunDir(path)).replace("![losses and metrics by epoch](", "")
    assert not ACTIVE.search(card)
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert any("a\\|b" in line for line in tables)
