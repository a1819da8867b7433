"""What a person should know of a base before its answers are taken for something."""

from __future__ import annotations

from segtune.core.log import get_logger
from segtune.engine.processes import is_first
from segtune.models.weights import KNOWS

_log = get_logger(__name__)


def tell_what_it_knows(name: str) -> str:
    """Warns of a base that knows less than it may be asked; of several processes the first one does.

    For whoever asks a model about pictures that are not drawn. Training from such a base is its use, and is silent.

    Args:
        name: The model, as for `load`.

    Returns:
        What it knows, in words for its answers; empty where there is nothing to tell.
    """
    if name not in KNOWS:
        return ""
    note = f"{name} knows {KNOWS[name]}: what it says about a photograph means nothing"
    if is_first():
        _log.warning("%s; a run of your own knows what it was trained on", note)
    return note
