"""Cells, Markdown and HTML: numbers that compare, text that stays text."""

from __future__ import annotations

import pytest

from segtune.reports.tables import Bar, Bullets, Cell, Section, Shade, Table, html_sections, markdown, shown


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


@pytest.mark.parametrize(
    ("bar", "blocks"), [(Bar(0.5), 5), (Bar(0.0), 0), (Bar(None), 0), (Bar(1.7), 10), (Bar(-1.0, (-2.0, 3.0)), 0)]
)
def test_bars_stay_on_their_track(bar: Bar, blocks: int) -> None:
    assert shown(bar).count("\u2588") == blocks
    assert len(shown(bar)) == 10
    page = html_sections([Section("", (Table(("",), ((bar,),)),))])
    widths = [float(part.split('"')[0]) for part in page.split('width="')[1:]]
    assert all(0 <= width <= 120 for width in widths)


def test_a_ground_leaves_its_number_readable() -> None:
    table = Table(("",), tuple((Shade(f"<{depth}>", depth, depth == 1),) for depth in (0.0, 0.5, 1.0, 2.0)))
    cells = [line for line in html_sections([Section("", (table,))]).splitlines() if "<td" in line]
    assert "style" not in cells[0]
    assert "color:#1b1f24" in cells[1]
    assert "<b>&lt;1.0&gt;</b>" in cells[2]
    assert cells[2].split("style=")[1].split(">")[0] == cells[3].split("style=")[1].split(">")[0]
    assert "| 0.5" not in markdown("", [Section("", (table,))])  # the text alone, and that escaped
