"""Is progressive training worth its stages? A tiny ViT in three stages, in one, and a CNN beside them.

    python benchmarks/progressive.py --root DIR --out benchmarks/results/progressive.json

First the recipe `tiny-vit` pretrains the encoder on drawn scenes. Then the recipe `camvid` trains on the photographs in
DIR, one arm after the other, with the same data, epochs and model pixels; only encoder and stages differ:

- the CNN of the recipe, from nothing;
- the ViT from nothing;
- the pretrained ViT, all of it from the first step on;
- the pretrained ViT in the three stages of the recipe `dinov2-giant-stages`, in proportion: decoder alone, the last
  fifth of the blocks at 0.3 of the rate, the last two fifths at 0.05.

The table holds the scores of the best checkpoint of each in original pixels. One run each: no spread is known.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

from segtune import experiment
from segtune.config import load_recipe
from segtune.core.environment import describe

SHARES = (0.3, 0.3, 0.4)  # of the epochs, as 30, 30 and 40 of a hundred
BLOCKS = (0, 2, 3)  # of eight, as 0, 8 and 16 of forty
FACTORS = (1.0, 0.3, 0.05)


def stages(epochs: int) -> str:
    """The three stages as a setting; the last one gets the rest of the epochs."""
    parts = [
        f"{{epochs: {max(1, round(share * epochs))}, unfreeze: {blocks}, lr_factor: {factor}}}"
        for share, blocks, factor in zip(SHARES[:2], BLOCKS, FACTORS, strict=False)
    ]
    return f"train.stages=[{', '.join(parts)}, {{unfreeze: {BLOCKS[2]}, lr_factor: {FACTORS[2]}}}]"


def arms(encoder: Path, epochs: int) -> dict[str, list[str]]:
    """The settings of each arm over those that all share."""
    pretrained = f"model.encoder={encoder}"
    return {
        "CNN, one stage": [],
        "ViT from nothing, one stage": ["model.encoder=segtune/tiny-vit"],
        "ViT pretrained, one stage": [pretrained],
        "ViT pretrained, three stages": [pretrained, stages(epochs)],
    }


def pretrain(place: Path, epochs: int, threads: int) -> dict[str, Any]:
    """The encoder, written to `place`, and how well it came to know the scenes."""
    if (place / "config.json").is_file():
        return {"found": str(place)}
    started = time.perf_counter()
    settings = [f"run.export={place}", f"train.epochs={epochs}", f"run.threads={threads}", "eval.overlays=0"]
    run = experiment.train(load_recipe("tiny-vit", settings))
    best = max(row["val_mIoU"] for row in run.read_json("training_history.json")["val"] if "val_mIoU" in row)
    minutes = (time.perf_counter() - started) / 60
    return {"epochs": epochs, "minutes": round(minutes, 1), "val_mIoU_of_scenes": round(best, 4)}


def train_arm(name: str, settings: list[str]) -> dict[str, Any]:
    """One arm: its scores, parameters and minutes."""
    started = time.perf_counter()
    run = experiment.train(load_recipe("camvid", settings))
    (scores,) = [run.read_json(path.name) for path in sorted(run.path.glob("eval_*.json"))]
    metrics, interval = scores["metrics"], scores["ci95"]["mIoU"]
    parameters = run.read_json("parameters.json")["total"]
    return {
        "arm": name, "parameters": parameters, "mIoU": metrics["mIoU"], "interval": interval,
        "accuracy": metrics["accuracy"], "minutes": round((time.perf_counter() - started) / 60, 1),
        "settings": settings,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Pretrains, trains every arm, prints the table, writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="the dataset's directory")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--encoder", type=Path, default=Path("runs/tiny-vit"), help="where the pretrained ViT is, or goes"
    )
    parser.add_argument("--epochs", type=int, default=12, help="of each arm")
    parser.add_argument("--pretraining-epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="key=value settings of all arms, over the recipe's")
    options = parser.parse_intermixed_args(arguments)
    encoder = options.encoder.resolve()
    pretraining = pretrain(encoder, options.pretraining_epochs, options.threads)
    shared = [
        f"data.root={options.root}", "model.image_size=[120, 160]", f"train.epochs={options.epochs}",
        f"run.threads={options.threads}", "eval.overlays=0", *options.overrides,
    ]  # fmt: skip
    rows = [train_arm(name, [*shared, *settings]) for name, settings in arms(encoder, options.epochs).items()]
    document = {
        "date": datetime.date.today().isoformat(), "machine": describe(), "epochs": options.epochs,
        "pretraining": pretraining, "arms": rows,
    }  # fmt: skip
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print("| arm | parameters | mIoU | minutes |\n|---|---|---|---|")
    for row in rows:
        low, high = row["interval"]
        print(
            f"| {row['arm']} | {row['parameters']:,} | {row['mIoU']:.3f} [{low:.3f}, {high:.3f}] | {row['minutes']} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
