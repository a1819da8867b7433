"""Prints what became of all seeded mutations, in one process: `python -m tests.mutations_table`."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.data.test_mutations import LAYOUTS as ANNOTATIONS
from tests.data.test_picture_mutations import PICTURES
from tests.metrics.test_mutations import PREDICTIONS
from tests.mutations import OUTCOMES, Layout, mutations_of, run
from tests.test_checkpoint_mutations import LAYOUTS as CHECKPOINTS
from tests.test_config_mutations import CONFIGS

LAYOUTS = (*ANNOTATIONS, PICTURES, CONFIGS, PREDICTIONS, *CHECKPOINTS)
KINDS = ("annotation", "picture", "mask", "config", "predictions", "checkpoint")
_HEADINGS = ("kind", "mutations", "refused", "told", "read as before", "read as it now says", "failures")


def counted(layout: Layout, directory: Path) -> Counter[str]:
    """How many mutations a layout has of each kind of file."""
    directory.mkdir()
    layout.write(directory)
    return Counter(layout.kind(file) for file, _ in mutations_of(layout, directory))


def table(found: dict[str, Counter[str]]) -> Iterator[str]:
    """A row of Markdown for each kind, and one for all."""
    yield "| " + " | ".join(_HEADINGS) + " |"
    yield "|---" * len(_HEADINGS) + "|"
    for kind, outcomes in {**found, "all": sum(found.values(), Counter())}.items():
        numbers = [outcomes.total(), *(outcomes[name] for name in (*OUTCOMES, "failure"))]
        yield f"| {kind} | " + " | ".join(map(str, numbers)) + " |"


def main() -> int:
    """Runs all of them; returns 1 where one was misread, else 0."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as place:
        for number, layout in enumerate(LAYOUTS):
            outcomes, failures = run(layout, Path(place) / str(number))
            for (kind, outcome), count in outcomes.items():
                found[kind][outcome] += count
            print(*failures, sep="\n", end="\n" * bool(failures), file=sys.stderr)
    print(*table({kind: found[kind] for kind in KINDS}), sep="\n")
    return int(any(outcomes["failure"] for outcomes in found.values()))


if __name__ == "__main__":
    sys.exit(main())
