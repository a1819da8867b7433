"""Whether the texts of a dataset fit the context of a model, known before anything is trained or scored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from segtune.core.errors import DataError
from segtune.core.records import Query, Source
from segtune.data.conversation import Conversation

_SHOWN = 10


def require_fitting_texts(source: Source, conversation: Conversation, *, explain: bool = False) -> None:
    """Refuses a dataset of which a text, with the image and the longest of the answers, does not fit the context.

    Args:
        source: Groups; one that draws its texts is passed over, for they are short.
        conversation: Of the model.
        explain: Whether explanations are among the answers.

    Raises:
        DataError: The files of such texts are listed.
    """
    wording, refused = conversation.wording, []
    usual = max((*wording.answers, wording.forced_answer), key=len)
    files = _files(source)
    for item_id, query in queries_of(source):
        answers = [usual]
        if explain and query.explanation:
            answers.append(conversation.explained(query.explanation))
        for answer in answers:
            if conversation.surely_fits(query, answer):
                continue
            try:
                conversation.turn(query, answer)
            except DataError as error:
                record = item_id.rpartition("#")[0]
                refused.append((files.get(record, record), error))
                break
    if refused:
        listed = "".join(f"\n    {path}: {error.found}" for path, error in refused[:_SHOWN])
        more = f"\n    ... and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        first = refused[0][1]
        raise DataError(
            first.message,
            where=source.name,
            expected=first.expected,
            found=f"{len(refused)} longer texts{listed}{more}",
            fix="shorten these texts, or take a model with a longer context",
        )


def queries_of(source: Any) -> Iterator[tuple[str, Query]]:
    """Every query of a source, or of a part of one, that knows its queries without reading images; with its id."""
    whole = _whole(source)
    if not callable(getattr(whole, "queries", None)):
        return
    known = {
        item_id: query
        for index in range(len(whole))
        for item_id, query in zip(whole.ids(index), whole.queries(index), strict=True)
    }
    for index in range(len(source)):
        yield from ((item_id, known[item_id]) for item_id in source.ids(index))


def _files(source: Any) -> dict[str, str]:
    """The annotation file of every record, by its id, where a source has files."""
    return {record.id: str(record.annotation) for record in getattr(_whole(source), "records", ())}


def _whole(source: Any) -> Any:
    """The source that a view (a part of it, or its first samples) is made of."""
    while hasattr(source, "source"):
        source = source.source
    return source
