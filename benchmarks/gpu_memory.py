"""What does a training step of the 7B need? Peak memory and seconds per sample, measured on this machine's GPU.

    python benchmarks/gpu_memory.py --out benchmarks/results/gpu_memory

LLaVA-1.5-7B in NF4 and SAM ViT-B, all weights random (memory and time do not depend on what they say, and nothing is
downloaded), make real training steps of the recipe `llava15-7b-qlora`: LoRA on 0, 2 and 4 targets, each with the mask
encoder's features and with shared ones. Every case has a process of its own, so that no peak is another case's. Beside
each stands what the first users published: their own program on their card of 8 GB.

Weights are drawn and quantised one linear layer at a time, on the device: the 7B stands in 16 bits nowhere. With no
LoRA target nothing inside the language model trains, the rows of `<SEG>` neither: no gradient passes it, as in the
first users' runs. `--tiny` does the same with the tiny model on the CPU, which proves the program and no figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for `random_model`, however this file is loaded
from random_model import random_parts

from segtune.config import ExperimentConfig, load_recipe
from segtune.core.environment import describe
from segtune.core.errors import SegtuneError
from segtune.core.files import write_json, write_text
from segtune.core.records import Example, Group, Query
from segtune.core.types import Batch
from segtune.data.collate import Collate
from segtune.data.conversation import Conversation
from segtune.data.transforms import Transform
from segtune.engine.machine import accelerator_for, prepare_machine
from segtune.engine.memory import peak_memory
from segtune.engine.optim import build_optimizer
from segtune.engine.recompute import enter_training, recompute_layers
from segtune.engine.step import train_step
from segtune.losses.terms import ReasoningObjective
from segtune.models.config import Bits
from segtune.models.quantize import require_bitsandbytes
from segtune.models.reasoning import ReasoningSegmenter
from segtune.models.trainable import table, table_dict
from segtune.models.weights import Parts, assemble

TARGETS = {0: (), 2: ("q_proj", "v_proj"), 4: ("q_proj", "k_proj", "v_proj", "o_proj")}
PUBLISHED = {0: ("5.00", "0.7"), 2: ("5.26 to 5.79", "1.9"), 4: ("7.44, then out of memory", "none")}
"""GB and seconds per sample by number of LoRA targets, as the first users published them; never measured here."""

TOKENS = 640  # 576 of the image and the words of a question, as long as a real one with its answer
WARM_UP = 2  # steps before the clock runs: the first allocate the optimiser's state and choose kernels


@dataclass(frozen=True)
class Case:
    """One of the six.

    Attributes:
        targets: Number of LoRA targets.
        features: Of the mask decoder, `encoder` or `shared`.
        checkpointing: `all` recomputes every layer in the backward, `none` keeps all activations.
        tiny: The tiny model, on the CPU.
        bits: Of the language model; `none` where bitsandbytes is not at hand and only shapes matter.
    """

    targets: int
    features: str
    checkpointing: str = "all"
    tiny: bool = False
    bits: Bits = "4bit"

    @property
    def recipe(self) -> ExperimentConfig:
        """The recipe `llava15-7b-qlora` with the case's settings."""
        config = load_recipe("llava15-7b-qlora", ["data.root=nothing", f"model.mask_features={self.features}"])
        lora = config.model.lora.model_copy(update={"targets": TARGETS[self.targets]})
        train = config.model.train.model_copy(update={} if self.targets else {"llm": "frozen", "seg_token": False})
        quantize = config.model.quantize.model_copy(update={"llm": self.bits})
        model = config.model.model_copy(update={"lora": lora, "train": train, "quantize": quantize})
        loop = config.train.model_copy(update={"gradient_checkpointing": self.checkpointing})
        return config.model_copy(update={"model": model, "train": loop})


def random_batch(parts: Parts, tokens: int) -> Batch:
    """One image of 640x480 pixels and one question about it, drawn out to so many tokens if it is shorter."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    target = np.zeros((480, 640), np.uint8)
    target[120:300, 200:420] = 1
    conversation = Conversation(parts.processor, parts.input_spec)
    transform, collate = Transform(parts.input_spec, conversation), Collate(conversation.tokenizer.pad_token_id)

    def batch(words: int) -> Batch:
        example = Example("g#0", Query("the" + " box" * words, is_sentence=False), target)
        return collate([transform(Group("g", image, (example,)), ("It is <SEG>.",))])

    first = batch(1)
    return batch(1 + max(0, tokens - first.input_ids.shape[1]))


def assembled(case: Case, device: torch.device) -> tuple[ReasoningSegmenter, Parts, ExperimentConfig]:
    """The model of a case, ready to train, with its parts and its recipe; on meta it has shapes alone."""
    recipe = case.recipe
    parts = random_parts(recipe.model, device, tiny=case.tiny)
    torch.manual_seed(0)
    model = assemble(parts, recipe.model)
    recompute_layers(model, recipe.train.gradient_checkpointing)
    enter_training(model)
    return model, parts, recipe


def measure(case: Case, device: torch.device, steps: int) -> dict[str, Any]:
    """Builds the model of a case and trains it for some steps.

    Args:
        case: Which.
        device: Where.
        steps: Measured ones, after `WARM_UP` others.

    Returns:
        The case with `peak_gb` (1e9 bytes, of the steps alone on a GPU) and `memory_kind`, `seconds_per_sample` (the
        median step), `weights_gb`, `build_peak_gb`, `tokens`, `trainable` (parameters) and `losses`.
    """
    on_gpu = device.type == "cuda"
    prepare_machine(case.recipe.train, case.recipe.optim, device)
    model, parts, recipe = assembled(case, device)
    built = peak_memory()[0]
    optimizer = build_optimizer(model, recipe.optim)
    accelerator = accelerator_for(recipe.train.precision, cpu=not on_gpu)
    batch = random_batch(parts, 0 if case.tiny else TOKENS)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds, losses = [], []
    for _ in range(WARM_UP + steps):
        started = time.perf_counter()
        report = train_step(
            model, [batch], optimizer, rate=recipe.optim.lr, clip=recipe.optim.clip,
            objective=ReasoningObjective(recipe.losses, model.seg_id), accelerator=accelerator, observe=lambda *_: None,
        )  # fmt: skip
        losses.append(float(report.terms["loss"]))  # reading it waits for the device
        seconds.append(time.perf_counter() - started)
    peak, kind = peak_memory()
    about = table_dict(table(model))
    return {
        **asdict(case), "peak_gb": peak, "memory_kind": kind,
        "seconds_per_sample": statistics.median(seconds[WARM_UP:]),
        "weights_gb": about["bytes"] / 1e9, "build_peak_gb": built, "tokens": batch.input_ids.shape[1],
        "trainable": about["trainable"], "steps": steps, "losses": losses,
    }  # fmt: skip


def measured_apart(case: Case, steps: int) -> dict[str, Any]:
    """Measures a case in a fresh process; a case that fails says how, and the others go on."""
    print(f"{case.features}, {case.targets} LoRA targets ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "case.json"
        options = ["--one", json.dumps(asdict(case)), "--steps", str(steps), "--out", str(out)]
        done = subprocess.run([sys.executable, __file__, *options], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            return json.loads(out.read_text(encoding="utf-8"))
    lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
    return {**asdict(case), "error": lines[-1]}


def document(rows: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """What is written as JSON: the machine, the versions, the cases and what others published."""
    published = {str(targets): {"gb": gb, "seconds_per_sample": s} for targets, (gb, s) in PUBLISHED.items()}
    return {"machine": describe(), "steps": steps, "published_by_the_first_users": published, "results": rows}


def markdown(content: dict[str, Any]) -> str:
    """The document as a table with a line about the machine."""
    machine, tiny = content["machine"], content["results"][0]["tiny"]
    packages = ", ".join(
        f"{name} {machine['packages'][name]}" for name in ("torch", "transformers", "peft", "bitsandbytes")
    )
    kinds = ", ".join(dict.fromkeys(row["memory_kind"] for row in content["results"] if "error" not in row))
    recomputed = ", ".join(dict.fromkeys(f"{row['checkpointing']} layers" for row in content["results"]))
    model = "the tiny model, which says nothing about the 7B" if tiny else "LLaVA-1.5-7B in NF4 with SAM ViT-B"
    columns = ("features", "LoRA targets", "tokens", "trainable", "weights GB", "peak GB", "s per sample")
    columns += ("published GB", "published s")
    lines = [
        "# Memory and time of a training step\n",
        f"{machine['time'][:10]}, {', '.join(machine['devices'] or []) or machine['cpu']}, {packages}, "
        f"commit {machine['commit']}.",
        f"Model: {model}; random weights, batch 1, recomputed in the backward: {recomputed}, median of",
        f"{content['steps']} steps, each case in a process of its own. Memory: {kinds or 'not measured'}, in GB of 1e9",
        "bytes. The columns on the right were published by the first users: their own program on their 8 GB card.\n",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for row in content["results"]:
        gigabytes, seconds = ("-", "-") if tiny else PUBLISHED[row["targets"]]  # of another model than the tiny one
        if "error" in row:
            measured = f"- | - | - | failed: {row['error']} | -"
        else:
            measured = (
                f"{row['tokens']} | {row['trainable']:,} | {row['weights_gb']:.2f} | {row['peak_gb']:.2f} | "
                f"{row['seconds_per_sample']:.3f}"
            )
        lines.append(f"| {row['features']} | {row['targets']} | {measured} | {gigabytes} | {seconds} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the cases; 0 when all were, 1 when one failed or there is no GPU, 2 without bitsandbytes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--features", nargs="+", choices=("encoder", "shared"), default=["shared", "encoder"])
    parser.add_argument("--targets", nargs="+", type=int, choices=tuple(TARGETS), default=list(TARGETS))
    parser.add_argument("--checkpointing", choices=("all", "none"), default="all")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each case")
    parser.add_argument("--tiny", action="store_true", help="the tiny model on the CPU: proves the program, no figure")
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    cases = [Case(t, f, options.checkpointing, options.tiny) for f in options.features for t in options.targets]
    if options.one:
        cases = [Case(**json.loads(options.one))]
    if not (cases[0].tiny or torch.cuda.is_available()):
        print("no CUDA device here: nothing was measured (--tiny runs the same steps on the CPU)", file=sys.stderr)
        return 1
    try:
        require_bitsandbytes(cases[0].recipe.model.quantize)
    except SegtuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.one:
        device = torch.device("cpu" if cases[0].tiny else "cuda")
        write_json(options.out, measure(cases[0], device, options.steps))
        return 0
    content = document([measured_apart(case, options.steps) for case in cases], options.steps)
    text = markdown(content)
    print(text, end="")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out.with_suffix(".json"), content)
        write_text(options.out.with_suffix(".md"), text)
    return 1 if any("error" in row for row in content["results"]) else 0


if __name__ == "__main__":
    sys.exit(main())
