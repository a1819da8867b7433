"""Does a run that is killed anywhere end as one that was not? Kills it at random moments and before every file event.

    python benchmarks/kills.py --kind dense --kills 20
    python benchmarks/kills.py --kind reasoning --kills 20 --every 5

A run of three epochs on a few drawn pictures is trained once to its end. Then

- it is trained again, and before every event that changes a file in its directory (a file opened for writing, a rename,
  a link, a removal, a new folder, a change of mode) the directory is copied: what a kill at that moment leaves;
- it is trained in a process of its own, which gets SIGKILL at a random moment; validations last longer than usual, so
  that many kills fall into them.

Every copy and every killed run is resumed. Its weights, optimiser, history, metrics and scores must be those of the
run that nothing stopped, bit for bit. It may begin anew only where no checkpoint was complete. The table counts; the
command exits 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from segtune import experiment
from segtune.config import AnyConfig, load_recipe
from segtune.core.files import read_json, read_jsonl
from segtune.engine import loop
from segtune.engine.checkpoint_store import resumable
from segtune.experiment import run as course

NAME = "run"
TIMES = {"iter_per_sec", "avg_iter_time", "epoch_time", "peak_memory_gb", "val_avg_inference_time_s"}
"""Keys of a history that tell how long something took; everything else is compared."""

CHANGES = {
    "os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (1,), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,),
}  # fmt: skip
"""Audit events that change files, and which of their arguments are paths. `os.replace` is a rename, too."""

SETTINGS = {
    "dense": [
        "data.train=synth:drawn@train", "data.val=synth:drawn@val", "data.synth={scenes: 12, seed: 3}",
        "model={encoder: segtune/tiny-cnn, width: 8, image_size: [32, 48]}", "eval.overlays=0",
        "optim.warmup_steps=1",
        "train={epochs: 3, batch_size: 2, accumulate: 2, log_every: 1, save_steps: 1, keep: 2, ema: 0.5,"
        " stages: [{epochs: 1, unfreeze: 0}, {unfreeze: all}]}",
    ],
    "reasoning": [
        "data.train=synth:drawn@train", "data.val=synth:drawn@val", "data.synth={scenes: 12, seed: 3}",
        "data.num_workers=0", "data.queries_per_image=1", "model.train={llm: lora, embeddings: frozen}",
        "eval={overlays: 0, before: false, max_new_tokens: 3}", "optim.warmup_steps=1", "optim.rates={}",
        "train={epochs: 3, batch_size: 4, log_every: 1, validate_every: 1, best: val_gIoU, save_steps: 1}",
    ],
}  # fmt: skip
RECIPES = {"dense": "shapes", "reasoning": "quickstart"}


@dataclass(frozen=True)
class Outcome:
    """What became of a run that was killed.

    Attributes:
        place: Its directory.
        moment: When it was killed, in a few words.
        went_on: `complete`, `resumed` or `anew`.
        different: What is not as in the run that nothing stopped; empty where all is.
    """

    place: Path
    moment: str
    went_on: str
    different: str


def configuration(kind: str, root: Path) -> AnyConfig:
    """The run, to be trained below `root` from the current directory."""
    return load_recipe(RECIPES[kind], [*SETTINGS[kind], f"run={{name: {NAME}, root: {root}, threads: 1}}"])


@contextlib.contextmanager
def quick() -> Iterator[list[str]]:
    """Without figures and reports, which are drawn anew by every resume and take longer than the run.

    Yields:
        What the run says.
    """
    own, say = course.write_report, course.say
    said: list[str] = []
    course.write_report, course.say = (lambda path: (path, path)), said.append  # type: ignore[assignment]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield said
    finally:
        course.write_report, course.say = own, say


class Recorder:
    """Copies a run directory before every event that changes a file in it.

    Args:
        run: The directory that is watched; it need not be there yet.
        copies: Where the copies go, one folder each.
        every: Copy before every so many events only.
    """

    def __init__(self, run: Path, copies: Path, every: int = 1) -> None:
        self.run, self.copies, self.every = run.absolute(), copies, every
        self.events = 0
        self.taken: list[tuple[Path, str]] = []
        self._watching = False

    def __enter__(self) -> Recorder:
        self._watching = True
        sys.addaudithook(self._heard)  # can never be taken away again, only told to do nothing
        return self

    def __exit__(self, *exception: object) -> None:
        self._watching = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._watching or not self.run.exists():
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            paths = [path] if writes else []
        else:
            paths = [arguments[index] for index in CHANGES.get(event, ())]
        inside = [path for path in paths if isinstance(path, str | Path) and self._is_inside(path)]
        if inside:
            self.events += 1
            if self.events % self.every == 0:
                self._copy(f"{event} {Path(inside[0]).name}")

    def _is_inside(self, path: str | Path) -> bool:
        return Path(os.path.abspath(path)).is_relative_to(self.run)

    def _copy(self, moment: str) -> None:
        self._watching = False
        try:
            place = self.copies / f"{self.events:04}" / NAME
            # a finished file of tensors never changes: a link is as good as a copy
            shutil.copytree(self.run, place, symlinks=True, copy_function=_copied)
            self.taken.append((place, moment))
        finally:
            self._watching = True


def _copied(source: str, target: str) -> None:
    if source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def go_on(kind: str, place: Path, moment: str, straight: Path) -> Outcome:
    """Resumes a killed run, or begins it anew where it had not even a configuration, and compares its end.

    Args:
        kind: Of the run.
        place: Its directory.
        moment: When it was killed.
        straight: The run that nothing has stopped.
    """
    could = bool(resumable(place / "checkpoints"))
    was_complete = (place / "README.md").is_file()
    try:
        with quick() as said:
            if (place / "config.yaml").is_file():
                experiment.resume(place)
            else:
                experiment.train(configuration(kind, place.parent))
        if could and any("from the beginning" in text for text in said):
            different = "it began anew, though a checkpoint was complete"
        else:
            different = differences(place, straight)
    except Exception as error:
        different = f"{type(error).__name__}: {error}".splitlines()[0]
    litter = [path.name for path in place.rglob(".*") if path.name != ".lock"]
    went_on = "complete" if was_complete else "resumed" if could else "anew"
    return Outcome(place, moment, went_on, different or ", ".join(litter))


def differences(one: Path, other: Path) -> str:
    """What differs between two finished runs, in a few words; empty where nothing does."""
    names = [sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_symlink()) for run in (one, other)]
    if names[0] != names[1]:
        return f"checkpoints {names[0]} instead of {names[1]}"
    for name in names[1]:
        for file in sorted((other / "checkpoints" / name).glob("*.safetensors")):
            ours, theirs = (load_file(run / "checkpoints" / name / file.name) for run in (one, other))
            if ours.keys() != theirs.keys() or any(not np.array_equal(ours[key], theirs[key]) for key in theirs):
                return f"{name}/{file.name}"
    for part in ("train", "val"):
        rows = [_without_times(read_json(run / "training_history.json")[part]) for run in (one, other)]
        if rows[0] != rows[1]:
            return f"history, {part}"
    if read_jsonl(one / "metrics.jsonl") != read_jsonl(other / "metrics.jsonl"):
        return "metrics.jsonl"
    for file in sorted(other.glob("eval_*.json")):
        if _scores(one / file.name) != _scores(file):
            return file.name
    return ""


def _without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def _scores(path: Path) -> Any:
    return {key: value for key, value in read_json(path).items() if key != "inference"}


def killed(kind: str, root: Path, after: float | None, pause: float) -> tuple[Path, str]:
    """Trains in a process of its own that is killed.

    Args:
        kind: Of the run.
        root: The folder for its directory.
        after: Seconds from the beginning to SIGKILL; None waits for the first validation.
        pause: Seconds that every validation lasts longer.

    Returns:
        The run directory, and what was going on.
    """
    process = os.fork()  # with everything imported: otherwise most kills would fall into imports
    if process == 0:
        own = loop.Trainer._validate

        def validate(trainer: loop.Trainer) -> dict[str, Any]:
            time.sleep(pause)
            return own(trainer)

        loop.Trainer._validate = validate  # type: ignore[method-assign]
        with contextlib.suppress(BaseException), quick():
            experiment.train(configuration(kind, root))
        os._exit(0)
    place = root / NAME
    started = time.monotonic()
    ended = False
    while not ended and (not _validates(place) if after is None else time.monotonic() - started < after):
        time.sleep(0.01)
        ended = os.waitpid(process, os.WNOHANG)[0] == process
    after = time.monotonic() - started
    if not ended:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    validating = _validates(place)
    moment = "in a validation" if validating else "complete" if (place / "README.md").is_file() else "elsewhere"
    return place, f"{after:.2f} s, {moment}"


def _validates(place: Path) -> bool:
    last = place / "checkpoints" / "last"
    return last.is_symlink() and "unvalidated" in os.readlink(last)


def seconds_of(train: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    train()
    return time.perf_counter() - started


def table(title: str, outcomes: list[Outcome]) -> str:
    """The counts of a series, and every run that ended otherwise."""
    counts = Counter((one.went_on, "equal" if not one.different else "DIFFERENT") for one in outcomes)
    lines = [f"{title}: {len(outcomes)}", "| went on | end | runs |", "|---|---|---|"]
    lines += [f"| {went_on} | {end} | {count} |" for (went_on, end), count in sorted(counts.items())]
    lines += [f"  {one.place.parent.name}, {one.moment}: {one.different}" for one in outcomes if one.different]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Runs both series and prints their tables; 1 where a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(SETTINGS), default="dense")
    parser.add_argument("--kills", type=int, default=20, help="random moments")
    parser.add_argument("--every", type=int, default=1, help="copy before every so many events")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args(arguments)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    with tempfile.TemporaryDirectory(prefix="segtune-kills-") as folder, contextlib.chdir(folder):
        place = Path(folder)
        with quick():
            straight = experiment.train(configuration(chosen.kind, place / "straight")).path
            with Recorder(place / "watched" / NAME, place / "copies", chosen.every) as recorder:
                seconds = seconds_of(lambda: experiment.train(configuration(chosen.kind, place / "watched")))
        print(f"{recorder.events} file events, {len(recorder.taken)} copies", flush=True)
        copies = []
        for path, moment in recorder.taken:
            copies.append(go_on(chosen.kind, path, moment, straight))
            shutil.rmtree(path.parent)  # hundreds of them fill a disk
        print(table("before file events", copies), flush=True)
        generator = random.Random(chosen.seed)
        kills = []
        for index in range(chosen.kills):
            pause = max(0.5, seconds / 4)
            after = generator.uniform(0, seconds + 3 * pause)
            path, moment = killed(chosen.kind, place / f"killed-{index}", after, pause)
            kills.append(go_on(chosen.kind, path, moment, straight))
            print(f"  killed after {moment}: {kills[-1].went_on}, {kills[-1].different or 'equal'}", flush=True)
        print(table("at random moments", kills))
        return int(any(one.different for one in (*copies, *kills)))


if __name__ == "__main__":
    sys.exit(main())
