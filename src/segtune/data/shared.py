"""Pictures that two splits share: looked for by content, and told in the same words by every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segtune.core.errors import DataError

_SHOWN, _DIGITS = 3, 16


def shared_pictures(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """The pictures of the second split that are in the first as well.

    Args:
        first: Names by digest (`images.content_digest`).
        second: Likewise.

    Returns:
        Their names in the second split, sorted.
    """
    return sorted(second[digest] for digest in first.keys() & second.keys())


def short_digests(pictures: Mapping[str, str]) -> list[str]:
    """What `data.json` keeps of the pictures of a split: the first 16 digits of each digest, sorted."""
    return sorted({digest[:_DIGITS] for digest in pictures})


def known_pictures(known: object, pictures: Mapping[str, str]) -> list[str]:
    """The pictures that `data.json` of a run already holds.

    Args:
        known: From `short_digests`, as the file has it; anything else holds none.
        pictures: Names by digest.

    Returns:
        Their names, sorted.
    """
    seen = {digest for digest in known if isinstance(digest, str)} if isinstance(known, list) else set()
    return sorted(name for digest, name in pictures.items() if digest[:_DIGITS] in seen)


def sharing_told(first: str, second: str, count: int, names: Sequence[str]) -> str:
    """The warning about shared pictures.

    Args:
        first: What the first split is called.
        second: What the second one is called.
        count: How many.
        names: Some of them, as `shared_pictures` names them.
    """
    examples = ", ".join(names[:_SHOWN]) + (", ..." if count > _SHOWN else "")
    return f"{first} and {second} share {count} images ({examples}), so scores flatter the model"


def require_apart(
    training: Mapping[str, str], validation: Mapping[str, str], most: float, names: tuple[str, str]
) -> tuple[str, ...]:
    """Makes sure that few validation pictures are training pictures.

    Args:
        training: Names of its pictures by digest.
        validation: Likewise.
        most: The largest share of the validation pictures that may be in training, 0 to 1.
        names: What the two are called.

    Returns:
        A warning where they share some, or nothing.

    Raises:
        DataError: They share more than that.
    """
    same = shared_pictures(training, validation)
    if not same:
        return ()
    told = sharing_told(*names, len(same), same)
    if len(same) > most * len(validation):
        raise DataError(
            told,
            where="data.val",
            expected=f"at most {most:.0%} of the validation pictures in training",
            found=f"{len(same)} of {len(validation)} ({len(same) / len(validation):.0%})",
            fix="take other pictures for validation, or allow it with data.max_shared_fraction=1",
        )
    return (told,)
