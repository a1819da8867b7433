"""The page around the sections: one HTML file that loads nothing, for a screen, a phone and paper."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from segtune.reports.tables import escape

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_STYLE = """:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1b1f24; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid #d0d7de; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
code { font: .9em ui-monospace, monospace; background: #f2f4f6; padding: 0 .2em; border-radius: 3px; }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e3e7eb; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #8c959f; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr:nth-child(even) { background: #f7f9fa; }
svg.bar { width: 8rem; height: .8rem; vertical-align: middle; }
td[style], svg.bar { print-color-adjust: exact; }
figure { margin: 0 0 1.2rem; }
figure img { width: 100%; height: auto; border: 1px solid #d0d7de; }
figure.sheet img { min-width: 44rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: .8rem; background: #f7f9fa; padding: .7rem; }
summary { cursor: pointer; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .1rem .35rem; }
  figure, tr { break-inside: avoid; }
  figure.sheet img { min-width: 0; }
  .panels { grid-template-columns: 1fr 1fr; }
  h2, h3 { break-after: avoid; }
}"""


def page(title: str, body: str) -> str:
    """A whole page.

    Args:
        title: Any text; it is escaped.
        body: HTML, in which everything that came from data has been escaped.
    """
    return _PAGE.format(title=escape(title), style=_STYLE, body=body)


def png_uri(data: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def picture_uri(path: Path) -> str:
    """A picture as an address that holds it; as JPEG, because a page of photographs as PNG is ten times as large.

    Raises:
        OSError: It is missing or damaged.
    """
    with Image.open(path) as picture:
        small = io.BytesIO()
        picture.convert("RGB").save(small, format="JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode('ascii')}"
