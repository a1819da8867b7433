"""What is true of the objects of a scene: the few relations on which both grammars are built.

Every function here either picks exactly one object, by a clear margin, or none. Distances are between the centres of
the visible parts, in original pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from segtune.data.sources.synthetic.scene import SceneObject

MARGIN = 8.0
"""Pixels by which one centre must pass another before either may be called further in a direction."""

RATIO = 1.4
"""How many times larger an object must be than the next before it may be called the largest."""

DIRECTIONS = ("left", "right", "above", "below")
"""Names of the directions, as `extreme` and `only_beyond` take them."""

SIZE_EXTREMES = ("largest", "smallest")
"""Names of the extremes of size, as `extreme` takes them; it takes `DIRECTIONS` as well."""


def matching(objects: Sequence[SceneObject], attributes: Mapping[str, str]) -> list[int]:
    """Indices of the objects that have all the given attributes (`shape`, `colour`, `texture`, `size`)."""
    return [i for i, one in enumerate(objects) if all(getattr(one, k) == v for k, v in attributes.items())]


def towards(one: SceneObject, direction: str) -> float:
    """How far an object lies in a direction: its coordinate in pixels, growing towards `direction`."""
    x, y = one.centre
    return {"left": -x, "right": x, "above": -y, "below": y}[direction]


def extreme(objects: Sequence[SceneObject], group: Sequence[int], which: str) -> int | None:
    """The one object of a group that is clearly extreme.

    Args:
        objects: Of the scene.
        group: Indices to compare.
        which: One of `DIRECTIONS` or `SIZE_EXTREMES`. Size means the visible area, and the full area must agree.

    Returns:
        Its index, or None where fewer than two are compared or none stands out by `MARGIN` or `RATIO`.
    """
    if len(group) < 2:
        return None
    if which in DIRECTIONS:
        order = sorted(group, key=lambda i: -towards(objects[i], which))
        gap = towards(objects[order[0]], which) - towards(objects[order[1]], which)
        return order[0] if gap >= MARGIN else None
    sign = -1 if which == "largest" else 1
    order = sorted(group, key=lambda i: sign * objects[i].area)
    first, second = objects[order[0]], objects[order[1]]
    if max(first.area, second.area) < RATIO * min(first.area, second.area):
        return None
    agrees = order[0] == min(group, key=lambda i: sign * objects[i].full_area)
    return order[0] if agrees else None


def only_beyond(objects: Sequence[SceneObject], direction: str) -> tuple[int, int] | None:
    """The only object that lies in a direction from some other one.

    Args:
        objects: Of the scene, at least three.
        direction: One of `DIRECTIONS`.

    Returns:
        `(target, anchor)`: the target lies at least `MARGIN` beyond the anchor, and every other object at least
        `MARGIN` on the anchor's other side. None where no pair is that clear.
    """
    order = sorted(range(len(objects)), key=lambda i: -towards(objects[i], direction))
    places = [towards(objects[i], direction) for i in order[:3]]
    if places[0] - places[1] < MARGIN or places[1] - places[2] < MARGIN:
        return None
    return order[0], order[1]


def only_lacking(objects: Sequence[SceneObject], group: Sequence[int], attribute: str, value: str) -> int | None:
    """The only member of a group of two or more that lacks an attribute which all the others have, or None."""
    lacking = [i for i in group if getattr(objects[i], attribute) != value]
    return lacking[0] if len(group) >= 2 and len(lacking) == 1 else None
