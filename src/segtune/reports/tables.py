"""Sections of words and tables, and the same sections as Markdown and as HTML. Every text from a run is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from segtune.core.visible import visible

_DARKEST = (31, 78, 156)
_WHITE_TEXT_FROM = 0.75  # depth of a ground on which black is no longer read better than white
_BLOCKS = 10  # of a bar in text


@dataclass(frozen=True, slots=True)
class Bar:
    """A fraction as a bar, and its interval as a thin line across the end of it.

    Attributes:
        value: 0 to 1; None draws nothing.
        limits: The interval, 0 to 1; None draws none.
    """

    value: float | None
    limits: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Shade:
    """A number on a ground that says again, for the eye, what the number says.

    Attributes:
        text: The number.
        depth: Of the ground, from 0 (none) to 1 (dark).
        strong: Whether it is printed bold.
    """

    text: str
    depth: float = 0.0
    strong: bool = False


Cell = str | int | float | Bar | Shade | None


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
    if isinstance(cell, Shade):
        return cell.text
    if isinstance(cell, Bar):
        full = 0 if cell.value is None else round(min(1.0, max(0.0, cell.value)) * _BLOCKS)
        return "\u2588" * full + "\u00b7" * (_BLOCKS - full)
    if not isinstance(cell, float):
        return str(cell)
    if cell and abs(cell) < 0.01:  # a learning rate
        return f"{cell:.3g}"
    return f"{cell:.3f}" if abs(cell) < 100 else f"{cell:,.0f}"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """A page as Markdown, its tables aligned, so that it reads well on a terminal too."""
    parts = [f"# {plain(title)}"]
    for section in sections:
        parts.append(f"## {plain(section.title)}")
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
    return html.escape(visible(str(text)), quote=True)


def plain(text: str) -> str:
    """One line in which Markdown sees no bars of a table, no tags, entities, links or pictures of others.

    Backticks stay, for the sentences of a page use them; between them nothing is a tag either.
    """
    line = re.sub(r"([|<>*\\])", r"\\\1", visible(" ".join(text.split())))
    return re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("](", "]\\(")


def paragraph(text: str) -> str:
    """`plain`, and no heading, list or rule at its beginning."""
    return re.sub(r"^(\d*)([#=+.)-])(?=\s|$|[#=+-])", r"\1\\\2", plain(text))


def code(text: object) -> str:
    """A value of a run as code in Markdown: on one line, between more backticks than it holds in a row."""
    line = visible(" ".join(str(text).split()))
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{line}{space}{fence}"


def _markdown_block(block: Block) -> str:
    if isinstance(block, str):
        return paragraph(block)
    if isinstance(block, Bullets):
        return "\n".join(f"- {plain(item)}" for item in block.items)
    rows = [[plain(shown(cell)) for cell in row] for row in (block.columns, *block.rows)]
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
    body = "\n".join("<tr>" + "".join(_html_cell(cell) for cell in row) + "</tr>" for row in block.rows)
    return f'<div class="wide"><table>\n{head}<tbody>\n{body}\n</tbody></table></div>'


def _code(text: str) -> str:
    """What stands between backticks as code, as Markdown has it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _html_cell(cell: Cell) -> str:
    if isinstance(cell, Bar):
        return f"<td>{_svg(cell)}</td>"
    if isinstance(cell, str):
        return f"<td>{escape(cell)}</td>"
    text = escape(shown(cell))
    if not isinstance(cell, Shade):
        return f'<td class="number">{text}</td>'
    text = f"<b>{text}</b>" if cell.strong else text
    return f'<td class="number"{_ground(cell.depth)}>{text}</td>'


def _ground(depth: float) -> str:
    """The style of a cell on a ground, dark enough for white text or light enough for black."""
    if depth <= 0:
        return ""
    mixed = "".join(f"{round(255 + min(depth, 1.0) * (dark - 255)):02x}" for dark in _DARKEST)
    return f' style="background:#{mixed};color:{"#fff" if depth >= _WHITE_TEXT_FROM else "#1b1f24"}"'


def _svg(bar: Bar) -> str:
    """A bar of 120 by 12 units on a pale track; without a value the track alone."""
    parts = ['<rect x="0" y="0" width="120" height="12" fill="#e3e7eb"/>']
    if bar.value is not None:
        parts.append(f'<rect x="0" y="0" width="{_units(bar.value)}" height="12" fill="#5b8fd6"/>')
    if bar.value is not None and bar.limits is not None:
        low, high = (_units(limit) for limit in bar.limits)
        parts.append(f'<path d="M{low} 6H{high}M{low} 2.5V9.5M{high} 2.5V9.5" fill="none" stroke="#1b1f24"/>')
    label = "no value" if bar.value is None else f"{bar.value:.3f}"
    return f'<svg class="bar" viewBox="0 0 120 12" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _units(share: float) -> str:
    return f"{120 * min(1.0, max(0.0, share)):.1f}"
