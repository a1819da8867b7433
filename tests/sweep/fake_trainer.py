"""A trainer for tests of searches: called as `segtune train` is, it leaves what `segtune train` leaves, in no time.

Its score is highest at optim.lr=1e-3 and losses.dice=2 and grows with the epochs. A weight decay of 0.5 fails, one of
0.6 gives values that are not finite, one of 0.7 kills the process. FAKE_EPOCH_SECONDS is the length of an epoch.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from segtune.core.files import append_jsonl, read_json, write_json
from segtune.core.rundir import RunDir
from segtune.core.signals import SIGNALS
from segtune.core.yaml_files import load_mapping

stopped: list[int] = []


def score(config: dict[str, Any], epoch: int) -> float | None:
    if config["optim"]["weight_decay"] == 0.6:
        return None
    off = (math.log10(config["optim"]["lr"]) + 3) ** 2 / 10 + (config["losses"]["dice"] - 2) ** 2 / 100
    return round(0.9 - off - 0.1 / epoch, 6)


def main(arguments: list[str]) -> int:
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: stopped.append(number))
    if arguments[1] == "--resume":
        run = RunDir.open(arguments[2]).lock()
    else:
        config = load_mapping(Path(arguments[1]))
        run = RunDir.create(config["run"]["root"], config["run"]["name"])
        run.write_text("config.yaml", Path(arguments[1]).read_text())
    config = load_mapping(run.config)
    if config["optim"]["weight_decay"] == 0.5:
        print("error: the data are gone\n  fix: bring them back", file=sys.stderr)
        return 3
    if config["optim"]["weight_decay"] == 0.7:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(run, config)


def train(run: RunDir, config: dict[str, Any]) -> int:
    last = run.path / "last.json"
    first = read_json(last)["epoch"] + 1 if last.exists() else 1
    epochs = config["train"]["epochs"]
    for epoch in range(first, epochs + 1):
        time.sleep(float(os.environ.get("FAKE_EPOCH_SECONDS", "0")))
        if stopped:
            print(f"error: stopped by {stopped[0]}", file=sys.stderr)
            return 128 + stopped[0]
        value = score(config, epoch)
        write_json(run.epoch_metrics(epoch), {"epoch": epoch, "val_generate_gIoU": value})
        append_jsonl(run.path / "epochs.jsonl", {"epoch": epoch})
        write_json(last, {"epoch": epoch})
    rows = [{"epoch": epoch, "val_generate_gIoU": score(config, epoch)} for epoch in range(1, epochs + 1)]
    times = [{"epoch": epoch, "epoch_time": 1.5} for epoch in range(1, epochs + 1)]
    write_json(run.path / "training_history.json", {"train": times, "val": rows, "benchmarks": {}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
