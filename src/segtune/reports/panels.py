"""What stands in the nine panels of `training_history.png`: which keys of the history, and how they are told apart."""

from __future__ import annotations

from dataclasses import dataclass

from segtune.reports.facts import RunFacts

LOSS_AND_CE = "Total loss and CE"
SPEED_AND_MEMORY = "Speed and memory"
RATE = "Learning rate"
BY_CLASS = "IoU by class"
"""The panel without curves: the scores of the best checkpoint."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One history key and how it is told apart: by dash and marker first, by shade second.

    Attributes:
        key: Of the history.
        label: In the legend.
        dash: Matplotlib line style.
        marker: Matplotlib marker; filled for training, hollow for validation.
        color: A shade that stays apart from the others in grey, too.
    """

    key: str
    label: str
    dash: str | tuple[int, tuple[int, int]]
    marker: str
    color: str


Panel = tuple[str, list[Curve]]
"""Title and curves."""


def _pair(key: str, label: str = "") -> list[Curve]:
    """A quantity in training and in validation."""
    name = f"{label} " if label else ""
    return [Curve(key, f"{name}train", "-", "o", "#1f4e9c"), Curve(f"val_{key}", f"{name}val", "--", "s", "#d9660a")]


def _second(key: str, label: str) -> list[Curve]:
    """A second quantity of the same panel."""
    return [
        Curve(key, f"{label} train", ":", "^", "#5b8fd6"),
        Curve(f"val_{key}", f"{label} val", "-.", "D", "#8a3d00"),
    ]


def _third(key: str, label: str) -> list[Curve]:
    """A third one, where a model has two heads with a loss more than most."""
    return [
        Curve(key, f"{label} train", (0, (9, 4)), "v", "#17375e"),
        Curve(f"val_{key}", f"{label} val", (0, (3, 4)), "P", "#e8a15c"),
    ]


_GENERATE = Curve("val_generate_gIoU", "gIoU val, generate", (0, (9, 4)), "x", "k")

PANELS: tuple[Panel, ...] = (
    (LOSS_AND_CE, [*_pair("loss", "total"), *_second("ce", "CE")]),
    ("BCE", _pair("bce")),
    ("Dice loss", _pair("dice")),
    (
        "gIoU and cIoU",
        [*_pair("gIoU", "gIoU"), *_second("cIoU", "cIoU"), _GENERATE],
    ),
    ("Accuracy", _pair("accuracy")),
    ("F1", _pair("f1")),
    ("Precision", _pair("precision")),
    ("Recall", _pair("recall")),
    ("AUROC", _pair("auroc")),
)
"""Of a run of reasoning segmentation."""

_LOSS: Panel = ("Total loss", _pair("loss"))
_CLASSES: tuple[Panel, ...] = (
    ("mIoU", _pair("mIoU")),
    ("Accuracy (F1 micro is the same)", _pair("accuracy")),
    ("F1, macro and weighted", [*_pair("f1_macro", "macro"), *_second("f1_weighted", "weighted")]),
)
_POOLED: Panel = (
    "Foreground Dice and IoU, pooled pixels",
    [*_pair("foreground_dice", "Dice"), *_second("foreground_iou", "IoU")],
)
_HITS: Panel = (
    "Foreground precision and recall",
    [*_pair("foreground_precision", "precision"), *_second("foreground_recall", "recall")],
)
_IMAGES: Panel = (
    "Foreground Dice, mean over images",
    [*_pair("foreground_image_dice", "all"), *_second("foreground_image_dice_nonempty", "with foreground")],
)
_SPEED: Panel = (
    SPEED_AND_MEMORY,
    [
        Curve("iter_per_sec", "steps per second", "-", "o", "#1f4e9c"),
        Curve("peak_memory_gb", "peak memory, GB", "--", "s", "#d9660a"),
    ],
)
_RATE: Panel = (RATE, [Curve("lr", "at the end of the epoch", "-", "o", "#1f4e9c")])


def panels_of(facts: RunFacts) -> tuple[Panel, ...]:
    """The nine panels that suit a run: for a dense one by the heads that its history knows."""
    if facts.task != "dense":
        return PANELS
    keys = {key.removeprefix("val_") for row in (*facts.train, *facts.val) for key in row}
    if "foreground_dice" not in keys:
        dice = f"Dice{' and focal' * ('focal' in keys)} loss"
        losses = (("Cross-entropy", _pair("ce")), (dice, _several({"dice": "Dice", "focal": "focal"}, keys)))
        return (_LOSS, *losses, *_CLASSES, (BY_CLASS, []), _SPEED, _RATE)
    if "mIoU" not in keys:
        dice = f"Dice{' and focal' * ('binary_focal' in keys)} loss"
        of_mask = {"binary_dice": "Dice", "binary_focal": "focal"}
        losses = (("BCE", _pair("binary_bce")), (dice, _several(of_mask, keys)))
        scores = (_POOLED, _IMAGES, ("Foreground accuracy", _pair("foreground_accuracy")), _HITS)
        return (_LOSS, *losses, *scores, ("Foreground AUROC", _pair("foreground_auroc")), _RATE)
    of_classes = {"ce": "CE", "dice": "Dice", "focal": "focal"}
    of_mask = {"binary_bce": "BCE", "binary_dice": "Dice", "binary_focal": "focal"}
    losses = (
        ("Losses of the classes", _several(of_classes, keys)),
        ("Losses of the binary mask", _several(of_mask, keys)),
    )
    return (_LOSS, *losses, *_CLASSES, _POOLED, _HITS, _RATE)


def _several(labels: dict[str, str], keys: set[str]) -> list[Curve]:
    """Up to three quantities of one panel, by key; of those after the first only what the history has."""
    there = [(key, label) for index, (key, label) in enumerate(labels.items()) if not index or key in keys]
    if len(there) == 1:
        return _pair(there[0][0])
    return [curve for make, one in zip((_pair, _second, _third), there, strict=False) for curve in make(*one)]
