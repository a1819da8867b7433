"""Does fine-tuning teach? Runs the quickstart from several seeds and checks what the project promises of it.

    python benchmarks/quickstart.py --seeds 0 1 2
    python benchmarks/quickstart.py --runs runs/quickstart-... --seeds 1 2  # after `make train`: two seeds more

Each run becomes a row of `results/quickstart.json`, where it stays: processor, instructions, seed, date, commit,
minutes, and the scores before and after, on the validation split and on the test split that nothing was chosen by, by
kind of question, and with every query exchanged for that of another target in the same image (a model that looks where
it is told to must then miss the old target). The README quotes the range of all rows of the recipe as it stands.

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/quickstart.py

holds the processor to older instructions, which round otherwise: training is chaotic, and this is another run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segtune import experiment
from segtune.config import AnyConfig, load_recipe
from segtune.core.records import Group, Source
from segtune.core.rundir import CARD, ENVIRONMENT, RunDir
from segtune.data.config import DataConfig
from segtune.data.prepare import Prepared, prepare
from segtune.data.sources.synthetic.write import VERSION
from segtune.engine.config import EvalConfig
from segtune.engine.loading import load

RESULTS = Path(__file__).parent / "results" / "quickstart.json"

FLOORS = {"gIoU": 0.65, "negation": 0.45}
"""What the README promises of a run, on validation: 0.05 below the lowest row."""

SETTINGS = (
    "train.epochs", "train.batch_size", "train.accumulate", "optim.lr", "optim.rates", "optim.schedule",
    "optim.decay_share", "data.synth.scenes", "data.synth.seed",
)  # fmt: skip
"""What tells one version of the recipe from another; rows of different ones are not comparable."""


class Exchanged:
    """A source in which every query is replaced by one for another target of the same image; targets stay.

    Args:
        source: Any source of groups; examples without another target in their image are left out.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.name = source, source.name
        self.groups = [g for g in (_exchange(source.group(i)) for i in range(len(source))) if g.examples]

    def __len__(self) -> int:
        return len(self.groups)

    def group(self, index: int, epoch: int = 0) -> Group:
        return self.groups[index]

    def ids(self, index: int) -> Sequence[str]:
        return [example.id for example in self.groups[index].examples]


def _exchange(group: Group) -> Group:
    examples = []
    for example in group.examples:
        others = [o for o in group.examples if not np.array_equal(o.target == 1, example.target == 1)]
        # Only targets that lie apart: a query for an overlapping one could rightly cover some of the old target.
        others = [o for o in others if not ((o.target == 1) & (example.target == 1)).any()]
        if others:
            other = others[len(examples) % len(others)]
            examples.append(replace(example, query=replace(other.query, kind=example.query.kind)))
    return replace(group, examples=tuple(examples))


def settings_of(config: AnyConfig) -> dict[str, Any]:
    """What of a recipe a row is about: `SETTINGS`, and the version of the drawing."""
    dumped = config.model_dump(mode="json")
    found: dict[str, Any] = {"drawing": VERSION}
    for key in SETTINGS:
        value: Any = dumped
        for part in key.split("."):
            value = value[part]
        found[key] = value
    return found


def train(recipe: str, seed: int, overrides: Sequence[str]) -> RunDir:
    """Trains one seed by the command that the README gives, and returns the run.

    Raises:
        CalledProcessError: The training failed; it has said why.
    """
    name = f"{recipe}-seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    settings = [f"run.seed={seed}", f"run.name={name}", *overrides]
    command = [sys.executable, "-m", "segtune", "train", recipe, "run.num_processes=auto", *settings]
    subprocess.run(command, check=True)
    return RunDir.open(Path(load_recipe(recipe, settings).run.root) / name)


def row_of(run: RunDir) -> dict[str, Any]:
    """The row of a finished run; the test split and the exchanged queries are scored now."""
    config, environment = load_recipe(str(run.config)), run.read_json(ENVIRONMENT)
    history = run.read_json("training_history.json")
    loaded, data = load(str(run.path)), DataConfig(train=config.data.train, root=config.data.root)
    validation, test = (prepare(str(config.data.val).replace("@val", at), data) for at in ("@val", "@test"))
    exchanged = replace(validation, source=Exchanged(validation.source))
    after, before = _scores(run.path), _scores(run.path / "before")
    begun = (run.path / ENVIRONMENT).stat().st_mtime
    return {
        "processor": environment["cpu"],
        "instructions": environment.get("instructions"),
        "cores": environment["cores"],
        "processes": config.run.num_processes,
        "seed": config.run.seed,
        "date": environment["time"][:10],
        "commit": environment["commit"],
        "versions": {name: environment["packages"][name] for name in ("torch", "transformers")},
        "settings": settings_of(config),
        # from the model's building to the report; drawing the scenes comes before
        "minutes": round(((run.path / CARD).stat().st_mtime - begun) / 60, 2),
        "minutes_of_training": round(sum(row["epoch_time"] for row in history["train"]) / 60, 2),
        "before": before["generate"],
        "before_forced": before["forced"],
        "validation": after["generate"],
        "validation_forced": after["forced"],
        "test": _scored(loaded, test, run.path / "test"),
        "exchanged": _scored(loaded, exchanged, run.path / "exchanged"),
    }


def _scored(loaded: Any, prepared: Prepared, place: Path) -> dict[str, Any]:
    """The scores of a model on more data, in generate mode."""
    documents = experiment.score(loaded, prepared, place, EvalConfig(overlays=0), ["generate"])
    return _summary(documents[0])


def _scores(path: Path) -> dict[str, dict[str, Any]]:
    """The scores in a folder of a run, by mode."""
    documents = [RunDir(path).read_json(p.name) for p in sorted(path.glob("eval_*.json"))]
    return {document["mode"]: _summary(document) for document in documents}


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a row keeps of a scores document."""
    kinds = {k.removeprefix("kind:"): v["gIoU"] for k, v in document["by"].items() if k.startswith("kind:")}
    return {
        "gIoU": round(document["metrics"]["gIoU"], 4),
        "ci95": [round(end, 3) for end in document["ci95"]["gIoU"]],
        "cIoU": round(document["metrics"]["cIoU"], 4),
        "kinds": {kind: round(value, 4) for kind, value in kinds.items()},
        "emission_rate": document["metrics"].get("emission_rate"),
        "mean_mask_of_the_words": document["baselines"].get("mean_mask_same_words", {}).get("gIoU"),
        "queries": document["counts"]["queries"],
        "empty_targets": document["counts"]["empty_targets"],
    }


def promises(row: Mapping[str, Any]) -> dict[str, bool]:
    """What the project promises of the quickstart, each kept or not."""
    pairs = [(row["before"], row["validation"]), (row["before_forced"], row["validation_forced"])]
    reached = min(after["gIoU"] for _, after in pairs)
    floor = row["validation"]["mean_mask_of_the_words"]
    kinds = [after["kinds"][kind] - before["kinds"][kind] for before, after in pairs for kind in after["kinds"]]
    return {
        "base emits <SEG> on >= 90%": row["before"]["emission_rate"] >= 0.9,
        "gIoU rises by >= 0.20 in both modes": min(after["gIoU"] - before["gIoU"] for before, after in pairs) >= 0.20,
        "gIoU rises by >= 0.20 on every kind": min(kinds) >= 0.20,
        f"gIoU >= {FLOORS['gIoU']:.2f}": reached >= FLOORS["gIoU"],
        f"negation >= {FLOORS['negation']:.2f}": row["validation"]["kinds"]["negation"] >= FLOORS["negation"],
        ">= 0.30 above the mean mask of the same words": reached >= floor + 0.30,
        "exchanged query: gIoU < 0.30": row["exchanged"]["gIoU"] < 0.30,
        "no empty targets": row["validation"]["empty_targets"] == 0,
    }


def append(row: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """Adds a row to a file of rows, which is made where there is none; rows that are there stay as they are.

    Returns:
        All rows.
    """
    rows = [*(json.loads(path.read_text(encoding="utf-8")) if path.exists() else []), dict(row)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


def ranges(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The lowest and the highest score of the rows with these settings.

    Returns:
        By `SPLIT` and `SPLIT negation`, for validation and test; empty where there is no such row.
    """
    ours = [row for row in rows if row["settings"] == settings]
    found = {}
    for split in ("validation", "test") if ours else ():
        scores, negation = [r[split]["gIoU"] for r in ours], [r[split]["kinds"]["negation"] for r in ours]
        found |= {split: (min(scores), max(scores)), f"{split} negation": (min(negation), max(negation))}
    return found


def show(row: Mapping[str, Any]) -> None:
    """Prints a row and what became of the promises."""
    which = f"{row['processor']}, {row['instructions']}"
    print(f"seed {row['seed']} ({which}), {row['minutes']} minutes with {row['processes']} processes")
    for split in ("before", "validation", "test"):
        kinds = "  ".join(f"{kind} {value:.3f}" for kind, value in row[split]["kinds"].items())
        print(f"  {split:<10} gIoU {row[split]['gIoU']:.3f}  {kinds}")
    print(f"  exchanged  gIoU {row['exchanged']['gIoU']:.3f}")
    print("  " + "  ".join(f"{'kept' if kept else 'BROKEN'}: {name};" for name, kept in promises(row).items()))


def main(arguments: list[str] | None = None) -> int:
    """Runs all seeds, prints and appends a row for each; exits 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="finished runs, not to be trained again")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file of rows to append to")
    parser.add_argument("--note", default="", help="what should be known of these rows: what else the machine did, say")
    parser.add_argument("overrides", nargs="*", help="key=value settings over the recipe's")
    options = parser.parse_args(arguments)
    measured = [partial(RunDir.open, run) for run in options.runs]
    measured += [partial(train, options.recipe, seed, options.overrides) for seed in options.seeds]
    kept, rows = True, []
    for finished in measured:
        row = {**row_of(finished()), "note": options.note}
        rows = append(row, options.out)
        show(row)
        kept = kept and all(promises(row).values())
    if rows:
        for name, (low, high) in ranges(rows, rows[-1]["settings"]).items():
            print(f"all rows of this recipe: {name} {low:.3f} to {high:.3f}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
