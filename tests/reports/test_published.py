"""The published table: whole, in fractions, and never beside a run without a word on what differs."""

from __future__ import annotations

import pytest
from tests.reports.conftest import MakeRun, scores

from segtune.reports.compare import to_csv, to_json
from segtune.reports.documents import Row
from segtune.reports.facts import read_run
from segtune.reports.published import published, published_scores, published_section
from segtune.reports.tables import Section, Table, markdown


def _table(section: Section) -> Table:
    return next(block for block in section.blocks if isinstance(block, Table))


def test_the_table_is_whole() -> None:
    rows = {row["model"]: published_scores(row) for row in published()["rows"]}
    assert len(rows) == 16
    assert rows["LISA-7B (ft)"]["val_gIoU"] == pytest.approx(0.529)
    assert rows["LISA-7B (ft)"]["test_cIoU"] == pytest.approx(0.484)
    assert rows["LISA-13B-LLaVA1.5 (ft)"]["val_cIoU"] == pytest.approx(0.729)
    unread = [(name, key) for name, row in rows.items() for key, value in row.items() if value is None]
    assert unread == [("LLaVA1.5-7B + OVSeg", "test_cIoU"), ("LLaVA1.5-13B + OVSeg", "test_cIoU")]
    assert all(0.1 < value < 0.8 for row in rows.values() for value in row.values() if value is not None)
    assert any("2308.00692" in source for source in published()["sources"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": "ReasonSeg"},  # 4 images: a part of it, or a folder that is only called so
        {"counts": {"images": 200, "queries": 344}},
        {"data": "ReasonSeg", "split": "train", "counts": {"images": 239, "queries": 500}},
    ],
)
def test_scores_of_other_data_do_not_stand_beside_the_published_ones(changes: Row, make_run: MakeRun) -> None:
    files = {
        "eval_scenes_val_generate.json": None,
        "eval_scenes_val_forced.json": scores("forced", 0.4, **changes),
    }
    run = read_run(make_run(files=files))
    section = published_section([run])
    assert not [block for block in section.blocks if isinstance(block, Table)]
    text = markdown("", [section])
    assert f"These scores are of {changes.get('data', 'scenes')} {changes.get('split', 'val')}" in text
    assert "other images and other questions" in text
    assert "LISA" not in text
    assert "published" not in to_json([run])
    assert "LISA" not in to_csv([run])


def test_scores_of_the_same_data_stand_in_their_columns(make_run: MakeRun) -> None:
    same = {"data": "ReasonSeg", "counts": {"images": 200, "queries": 344}}
    test = {"data": "reason_seg", "split": "test", "counts": {"images": 779, "queries": 1_000}}
    files = {
        "eval_scenes_val_generate.json": scores("generate", 0.9),
        "eval_scenes_val_forced.json": scores("forced", 0.4, **same, deviations=["first_query_only"]),
        "eval_ReasonSeg_test_forced.json": scores("forced", 0.2, **test),
        "eval_ReasonSeg_train_forced.json": scores("forced", 0.9, **same | {"split": "train"}),
    }
    run = read_run(make_run(files=files))
    section = published_section([run])
    assert _table(section).rows[-2:] == (
        ("first: ReasonSeg, forced", 0.4, 0.2, *[None] * 6),
        ("first: reason_seg, forced", None, None, 0.2, 0.1, 0.2, 0.1, 0.2, 0.1),
    )
    assert len(_table(section).rows) == 18
    text = markdown("", [section])
    assert "first was also scored on ReasonSeg train, scenes val: other images" in text
    assert "scored with first_query_only" in text
    for words in ("answer is given", "first text", "test"):
        assert words in text
    assert len(to_json([run])["published"]["rows"]) == 16
    assert "published ReasonSeg" in to_csv([run])


def test_a_run_without_scores(make_run: MakeRun) -> None:
    files = {"eval_scenes_val_generate.json": None, "eval_scenes_val_forced.json": None}
    section = published_section([read_run(make_run(files=files))])
    assert "no scores yet" in markdown("", [section])
