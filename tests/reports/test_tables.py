"""Cells, Markdown and HTML: numbers that compare, text that stays text."""

from __future__ import annotations

import pytest

from segtune.reports.tables import Bullets, Cell, Section, Table, html_sections, markdown, shown


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"), (0.12345, "0.123"), (0.0, "0.000"), (-0.5, "-0.500"), (8.4e-5, "8.4e-05"), (0.0012, "0.0012"),
        (12345.6, "12,346"), (12, "12"), ("a", "a"),
    ],
)  # fmt: skip
def test_cells(cell: Cell, text: str) -> None:
    assert shown(cell) == text


SECTION = Section(
    "A <b>", ("one `code` <i>", Table(("", "a|b"), (("<x>", 0.5), ("line\nbreak", None))), Bullets(("- |",)))
)


def test_markdown_keeps_the_shape_of_its_tables() -> None:
    text = markdown("T", [SECTION])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1
    assert all(line.replace("\\|", "").count("|") == 3 for line in table)
    assert "line break" in text
    assert "\\<x\\>" in text


def test_html_shows_text_and_nothing_else() -> None:
    text = html_sections([SECTION])
    assert "<code>code</code> &lt;i&gt;" in text
    assert "&lt;x&gt;" in text
    assert '<td class="number">0.500</td>' in text
    for tag in ("<b>", "<i>", "<x>"):
        assert tag not in text
