"""Text-prompted data with a class for every pixel: what the queries of an image ask for becomes its labels.

Which text means which class stands in a `classes.json` beside the data (see `classes.py`) or in a recipe. Where no
target lies, there is the background, if class 0 is one; else nobody has said what is there, and it is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from segtune.core.errors import ConfigError
from segtune.core.records import IGNORE, Group, LabelledImage, Source
from segtune.data.bad_items import BadItem
from segtune.data.sources.annotations import normal_text
from segtune.data.sources.classes import Classes, has_background, nearly_one


class TextClasses:
    """A source of groups as labelled images.

    A text decides for a class when it is one of the class's `texts`; else when it holds `words` of exactly one class.
    A target gets the class that all texts about it decide for, if that is exactly one; else its pixels are ignored, for
    something is there and nobody knows which class it is.

    Args:
        source: Groups; what it lists as `bad`, `files` and `directory` is handed on.
        classes: The classes with their texts and words.
        drawn: Whether every epoch draws afresh, so that nothing may be kept.

    Attributes:
        name: The name of the source.
        classes: The names of the classes.
        drawn: As given.
        said: The texts and words of each class, by its name.
        bad: The bad items of the source.
        files: The files that they are a share of.
        notes: What is said of the source and of the classes.

    Raises:
        ConfigError: A class other than the background has neither texts nor words, or a text stands for two classes.
    """

    def __init__(self, source: Source, classes: Classes, *, drawn: bool = False) -> None:
        self.source, self.name, self.classes, self.drawn = source, source.name, classes.names, drawn
        self.bad: tuple[BadItem, ...] = tuple(getattr(source, "bad", ()))
        self.files = int(getattr(source, "files", len(source)))
        self.notes: tuple[str, ...] = (*classes.notes, *getattr(source, "notes", ()))
        _require_said(classes, source.name)
        self._texts = _by_text(classes)
        self.said = {name: (*classes.texts.get(name, ()), *classes.words.get(name, ())) for name in classes.names}
        self._patterns = [
            (classes.names.index(name), _pattern(words)) for name, words in classes.words.items() if words
        ]
        self._rest = 0 if has_background(classes.names) else IGNORE

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def item(self, index: int, epoch: int = 0) -> LabelledImage:
        """The image of the group at `index` with the labels of its targets (see `labels_of`).

        Raises:
            DataError: If the image is damaged.
        """
        group = self.source.group(index, epoch)
        return LabelledImage(group.id, group.image, self.labels_of(group))

    def item_id(self, index: int) -> str:
        """The id of the group at `index`: that of its first record."""
        return self.source.ids(index)[0].rpartition("#")[0]

    def image_path(self, index: int) -> Path | None:
        """The file of the image at `index`; None where it is drawn."""
        records = getattr(self.source, "group_records", None)
        return records(index)[0].image if records is not None else None

    def label_of(self, texts: Iterable[str]) -> int:
        """The class that texts about one target decide for; `IGNORE` where it is none or more than one."""
        decided = {label for text in texts if (label := self._label(text)) != IGNORE}
        return decided.pop() if len(decided) == 1 else IGNORE

    def labels_of(self, group: Group) -> np.ndarray:
        """Labels of a group: larger targets are painted first, so that smaller ones win; of equal ones the earlier.

        Args:
            group: Image and examples in original pixels.

        Returns:
            uint8 `[h, w]`. A pixel that no target claims and one leaves open (`IGNORE` in it) is ignored.
        """
        parts: list[tuple[np.ndarray, list[str]]] = []
        labels = np.full(group.image.shape[:2], self._rest, np.uint8)
        for example in group.examples:
            labels[example.target == IGNORE] = IGNORE
            same = [
                texts for target, texts in parts if target is example.target or np.array_equal(target, example.target)
            ]
            if same:
                same[0].append(example.query.text)
            else:
                parts.append((example.target, [example.query.text]))
        masks = [(target == 1, self.label_of(texts)) for target, texts in reversed(parts)]
        for mask, label in sorted(masks, key=lambda part: int(np.count_nonzero(part[0])), reverse=True):
            labels[mask] = label
        return labels

    def _label(self, text: str) -> int:
        """The class that one text decides for, or `IGNORE`."""
        said = normal_text(text)
        if said in self._texts:
            return self._texts[said]
        found = [label for label, pattern in self._patterns if pattern.search(said)]
        return found[0] if len(found) == 1 else IGNORE


def classes_of_words(words: Mapping[str, Sequence[str]]) -> Classes:
    """The classes of a recipe: names in their order, each with its words (none for the background).

    Raises:
        ConfigError: Fewer than two classes.
    """
    if len(words) < 2:
        raise ConfigError(
            "there are too few classes", where="data.words", expected="two at least", found=str(len(words))
        )
    notes = tuple(f"{said} (data.words)" for said in nearly_one(words))
    return Classes(tuple(words), words={name: tuple(said) for name, said in words.items()}, notes=notes)


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Matches any of the words or phrases, whole, in a normal text."""
    return re.compile(r"(?<!\w)(" + "|".join(re.escape(normal_text(word)) for word in words) + r")(?!\w)")


def _by_text(classes: Classes) -> dict[str, int]:
    """The class of every whole query."""
    labels: dict[str, int] = {}
    for name, texts in classes.texts.items():
        for text in texts:
            label = classes.names.index(name)
            if labels.setdefault(normal_text(text), label) != label:
                raise ConfigError("a text stands for two classes", found=repr(text), fix="leave it with one of them")
    return labels


def silent_classes(classes: Classes) -> list[str]:
    """The classes, but for the background, that no text and no word means."""
    names = classes.names[1:] if has_background(classes.names) else classes.names
    return [name for name in names if not classes.texts.get(name) and not classes.words.get(name)]


def _require_said(classes: Classes, where: str) -> None:
    """Every class but the background needs a text or a word."""
    if silent := silent_classes(classes):
        raise ConfigError(
            "nothing says which texts mean these classes",
            where=where,
            expected='"texts" or "words" of every class in classes.json, or data.words in the recipe',
            found="none for " + ", ".join(silent),
        )
