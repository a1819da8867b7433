"""How well does a small model learn real photographs? Runs a recipe on them and keeps its scores.

    python benchmarks/photographs.py street --root DIR --out benchmarks/results/street.json
    python benchmarks/photographs.py camvid --root DIR --out benchmarks/results/camvid.json

For a recipe with questions DIR holds `train/` and `val/` in the ReasonSeg layout, for a dense one both with `images/`
and `masks/` in them and `classes.json` beside. The scores stand beside the trivial baselines and with the time that
training and validation took.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path

from segtune import experiment
from segtune.config import load_recipe
from segtune.core.environment import describe
from segtune.core.rundir import RunDir
from segtune.reports.summary import evaluation_lines

KEYS = ("val_loss", "val_gIoU", "val_generate_gIoU", "val_mIoU", "val_foreground_dice")


def main(arguments: list[str] | None = None) -> int:
    """Trains, prints the scores, writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a recipe whose data.root is asked for")
    parser.add_argument("--root", required=True, help="the dataset's directory")
    parser.add_argument("--out", type=Path)
    parser.add_argument("overrides", nargs="*", help="key=value settings over the recipe's")
    options = parser.parse_intermixed_args(arguments)  # overrides may stand behind the options
    started = time.perf_counter()
    config = load_recipe(options.recipe, [f"data.root={options.root}", *options.overrides])
    run = experiment.train(config)
    minutes = (time.perf_counter() - started) / 60
    history = run.read_json("training_history.json")
    document = {
        "date": datetime.date.today().isoformat(),
        "machine": describe(),
        "overrides": options.overrides,
        "minutes_in_all": round(minutes, 1),
        "minutes_of_training_steps": round(sum(row["epoch_time"] for row in history["train"]) / 60, 1),
        "recipe": options.recipe,
        "parameters": run.read_json("parameters.json")["total"],
        "curve": [{k: row[k] for k in ("epoch", *KEYS) if k in row} for row in history["val"]],
        "scores": [RunDir(run.path).read_json(path.name) for path in sorted(run.path.glob("eval_*.json"))],
    }
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for scores in document["scores"]:
        for line in evaluation_lines(scores):
            print(line)
    print(f"{minutes:.1f} minutes in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
