"""The other checkpoints of a run as witnesses: whether a file was changed, or the command is another.

Settings and number of processes are the same in all checkpoints of a run, but for changes that a resume has recorded.
Where the one to go on from contradicts the command, another that contradicts it as well tells that a file was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from segtune.core.errors import CheckpointError
from segtune.core.files import read_json
from segtune.engine.checkpoint import Checkpoint
from segtune.engine.checkpoint_files import ABOUT, STATE, read_about
from segtune.engine.checkpoint_store import present, resumable
from segtune.engine.state import TrainerState


def require_agreement(directory: Path, file: str, compare: Callable[[Path, Any], str]) -> None:
    """Makes sure that no other checkpoint of a run contradicts one of them.

    Args:
        directory: The one to go on from.
        file: `checkpoint.json` or `trainer_state.json`: what is compared.
        compare: Says, from the file of another checkpoint and what it tells, in what the two differ; nothing where
            they agree.

    Raises:
        CheckpointError: One does; both files are named.
    """
    for place, told in _told_by_others(directory, file):
        found = ""
        with suppress(CheckpointError, KeyError, TypeError):  # damaged, or from before: it says nothing
            found = compare(place, told)
        if found:
            raise CheckpointError(
                "two checkpoints of this run contradict each other", where=str(directory / file),
                expected=f"the same as in {place}", found=found,
                fix="one of the two files was changed: put it back, or begin a new run from the weights of one",
            )  # fmt: skip


def require_processes(state: TrainerState, count: int, checkpoint: Checkpoint) -> None:
    """Makes sure that as many processes go on as there were.

    Args:
        state: Where the run stands.
        count: How many there are.
        checkpoint: Where the state comes from.

    Raises:
        ConfigError: There are more or fewer.
        CheckpointError: Likewise, and another checkpoint of the run tells another number.
    """

    def compare(_: Path, told: Any) -> str:
        """How the number of processes that another checkpoint tells differs; empty where it does not."""
        was = told["processes"]
        return "" if was == state.processes else f"processes: {was} -> {state.processes}"

    if count != state.processes:
        require_agreement(checkpoint.path, STATE, compare)
        state.require_processes(count, str(checkpoint.path / STATE))


def _told_by_others(directory: Path, file: str) -> Iterator[tuple[Path, Any]]:
    """What the other checkpoints of the same folder tell in a file, those that can be read."""
    for other in dict.fromkeys([*resumable(directory.parent), *present(directory.parent).values()]):
        if other != directory and (other / file).is_file():
            with suppress(CheckpointError):
                told = read_about(other).model_dump(exclude_unset=True) if file == ABOUT else read_json(other / file)
                yield other / file, told
