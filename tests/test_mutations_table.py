"""Every kind of file is among the mutations, and there are enough of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.mutations_table import KINDS, LAYOUTS, counted, table


def test_every_kind_of_file_is_mutated_often_enough(tmp_path: Path) -> None:
    counts = sum((counted(layout, tmp_path / str(number)) for number, layout in enumerate(LAYOUTS)), Counter[str]())
    assert set(counts) == set(KINDS)
    assert min(counts.values()) >= 60, counts
    assert counts.total() >= 1800


def test_the_table_has_a_row_for_each_kind_and_one_for_all() -> None:
    rows = list(table({"mask": Counter(refused=3, same=1), "config": Counter(honest=2, failure=1)}))
    assert rows[2:] == [
        "| mask | 4 | 3 | 0 | 1 | 0 | 0 |",
        "| config | 3 | 0 | 0 | 0 | 2 | 1 |",
        "| all | 7 | 3 | 0 | 1 | 2 | 1 |",
    ]
