"""Sections of words and tables, and the same sections as Markdown and as HTML. Every text from a run is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading.

    Attributes:
        columns: The names of the columns.
        rows: As many cells each; None is shown as a dash, a fraction with three decimals.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of remarks."""

    items: tuple[str, ...]


Block = str | Table | Bullets
"""A paragraph, a table or a list."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


def shown(cell: Cell) -> str:
    """A cell as text: numbers short enough to compare, a dash where there is none."""
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if cell and abs(cell) < 0.01:  # a learning rate
        return f"{cell:.3g}"
    return f"{cell:.3f}" if abs(cell) < 100 else f"{cell:,.0f}"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """A page as Markdown, its tables aligned, so that it reads well on a terminal too."""
    parts = [f"# {_plain(title)}"]
    for section in sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [_markdown_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def html_sections(sections: Sequence[Section]) -> str:
    """The sections as HTML, headings at the second level."""
    return "\n".join(
        f"<section>\n<h2>{escape(section.title)}</h2>\n"
        + "\n".join(_html_block(block) for block in section.blocks)
        + "\n</section>"
        for section in sections
    )


def escape(text: object) -> str:
    """Any text as HTML that shows it and does nothing else."""
    return html.escape(str(text), quote=True)


def _plain(text: str) -> str:
    """One line in which Markdown sees no bars of a table, no tags and no marks that the text does not mean."""
    return re.sub(r"([|<>*\\])", r"\\\1", " ".join(text.split()))


def _markdown_block(block: Block) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_plain(item)}" for item in block.items)
    rows = [[_plain(shown(cell)) for cell in row] for row in (block.columns, *block.rows)]
    widths = [max(3, *(len(row[index]) for row in rows)) for index in range(len(block.columns))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _html_block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{_code(block)}</p>"
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{_code(item)}</li>" for item in block.items) + "</ul>"
    head = "".join(f"<th>{escape(column)}</th>" for column in block.columns)
    head = f"<thead><tr>{head}</tr></thead>\n" if any(block.columns) else ""
    body = "\n".join(
        "<tr>" + "".join(f"<td{_number_class(cell)}>{escape(shown(cell))}</td>" for cell in row) + "</tr>"
        for row in block.rows
    )
    return f'<div class="wide"><table>\n{head}<tbody>\n{body}\n</tbody></table></div>'


def _code(text: str) -> str:
    """What stands between backticks as code, as Markdown has it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _number_class(cell: Cell) -> str:
    return "" if isinstance(cell, str) else ' class="number"'
