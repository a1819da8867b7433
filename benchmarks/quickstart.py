"""Does fine-tuning teach? Runs the quickstart from several seeds and checks what the project promises of it.

    python benchmarks/quickstart.py --seeds 0 1 2 --out benchmarks/results/quickstart.json
    python benchmarks/quickstart.py --runs runs/quickstart-... --seeds 1 2  # after `make train`: two seeds more

For each seed: scores before and after in both modes and by kind of query, the rate at which the base already says
`<SEG>`, the trivial baselines, the training time, and the scores with every query exchanged for that of another target
in the same image (a model that looks where it is told to must then miss the old target).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segtune import experiment
from segtune.config import load_recipe
from segtune.core.environment import describe
from segtune.core.records import Group, Source
from segtune.core.rundir import RunDir
from segtune.data.config import DataConfig
from segtune.data.prepare import prepare
from segtune.engine.config import EvalConfig
from segtune.engine.loading import load


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


def run_seed(recipe: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Trains one seed and collects its figures."""
    return figures(experiment.train(load_recipe(recipe, [f"run.seed={seed}", *overrides])))


def figures(run: RunDir) -> dict[str, Any]:
    """The figures of a finished run; the exchanged queries are scored now."""
    config = load_recipe(str(run.config))
    before, after = (_scores(path) for path in (run.path / "before", run.path))
    loaded = load(str(run.path))
    prepared = prepare(str(config.data.val), DataConfig(train=config.data.train, root=config.data.root))
    swapped = replace(prepared, source=Exchanged(prepared.source))
    place = run.path / "exchanged"
    exchanged = experiment.score(loaded, swapped, place, EvalConfig(overlays=0), ["generate", "forced"])
    history = run.read_json("training_history.json")
    return {
        "seed": config.run.seed,
        "run": run.name,
        "training_seconds": round(sum(row["epoch_time"] for row in history["train"]), 1),
        "before": before,
        "after": after,
        "exchanged": {d["mode"]: d["metrics"]["gIoU"] for d in exchanged},
        "exchanged_queries": exchanged[0]["counts"]["queries"],
    }


def _scores(path: Path) -> dict[str, Any]:
    documents = [RunDir(path).read_json(p.name) for p in sorted(path.glob("eval_*.json"))]
    return {
        d["mode"]: {
            "gIoU": d["metrics"]["gIoU"],
            "cIoU": d["metrics"]["cIoU"],
            "ci95": d["ci95"]["gIoU"],
            "emission_rate": d["metrics"].get("emission_rate"),
            "kinds": {k.removeprefix("kind:"): v["gIoU"] for k, v in d["by"].items() if k.startswith("kind:")},
            "baselines": {name: row["gIoU"] for name, row in d["baselines"].items()},
            "queries": d["counts"]["queries"],
            "empty_targets": d["counts"]["empty_targets"],
        }
        for d in documents
    }


def promises(result: dict[str, Any]) -> dict[str, bool]:
    """What the project promises of the quickstart, each kept or not."""
    before, after = result["before"], result["after"]
    gains = [after[m]["gIoU"] - before[m]["gIoU"] for m in after]
    kinds = [after[m]["kinds"][k] - before[m]["kinds"][k] for m in after for k in after[m]["kinds"]]
    floor = after["generate"]["baselines"]["mean_mask_same_words"]
    return {
        "base emits <SEG> on >= 90%": before["generate"]["emission_rate"] >= 0.9,
        "gIoU rises by >= 0.20 in both modes": min(gains) >= 0.20,
        "gIoU rises by >= 0.20 on every kind": min(kinds) >= 0.20,
        "gIoU >= 0.60": min(after[m]["gIoU"] for m in after) >= 0.60,
        ">= 0.30 above the mean mask of the same words": min(after[m]["gIoU"] for m in after) >= floor + 0.30,
        "exchanged query: gIoU < 0.30": max(result["exchanged"].values()) < 0.30,
        "no empty targets": after["generate"]["empty_targets"] == 0,
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs all seeds, prints a table, writes the figures; exits 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="finished runs, not to be trained again")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", help="key=value settings over the recipe's")
    options = parser.parse_args(arguments)
    results = []
    measured = [partial(figures, RunDir.open(run)) for run in options.runs]
    measured += [partial(run_seed, options.recipe, seed, options.overrides) for seed in options.seeds]
    for measure in measured:
        result = measure()
        results.append({**result, "promises": promises(result)})
        document = {"date": datetime.date.today().isoformat(), "machine": describe(), "results": results}
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for result in results:
        for mode in ("generate", "forced"):
            b, a = result["before"][mode], result["after"][mode]
            kinds = "  ".join(f"{k} {b['kinds'][k]:.3f} -> {v:.3f}" for k, v in a["kinds"].items())
            print(f"seed {result['seed']} {mode:<8} gIoU {b['gIoU']:.3f} -> {a['gIoU']:.3f}  {kinds}")
        print(f"  exchanged {result['exchanged']}  training {result['training_seconds']} s")
        print("  " + "  ".join(f"{'kept' if kept else 'BROKEN'}: {name};" for name, kept in result["promises"].items()))
    return 0 if all(all(result["promises"].values()) for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
