"""How foreign text is shown on a terminal or a page: what would act there is written out instead."""

from __future__ import annotations

import re

# C0 without tab and line feed, C1, line and paragraph separators, overrides of the writing direction, surrogates
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text as it may stand on a terminal: control characters are shown as `\u001b`, and do nothing.

    Tabs and line feeds stay. So do whole texts of JSON: what is replaced is written as JSON writes it. Overrides of the
    writing direction are shown too, because with them a line can say something else than it holds.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
