"""The GPU benchmark where there is no GPU: its six models by hand count, its steps on a tiny model, its refusals."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from tests.models.counts import FULL, lora, nf4
from torch import nn

from segtune.models.quantize import bits_of
from segtune.models.trainable import component_of, table

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_memory.py"
SIX = [(targets, features) for features in ("shared", "encoder") for targets in (0, 2, 4)]
META, CPU = torch.device("meta"), torch.device("cpu")


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("segtune_gpu_memory", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the types of their fields
    spec.loader.exec_module(module)
    return module


def _by_hand(targets: int, features: str) -> dict[str, int]:
    """What trains, by arithmetic on the published dimensions."""
    trained = {"seg_projection": FULL["seg_projection"], "mask_decoder": FULL["mask_decoder"]}
    trained |= {"connector": FULL["connector"]} if features == "shared" else {}
    return trained | ({"lora": lora(4096, 8, 32, targets), "seg_token": 2 * 4096} if targets else {})


@pytest.mark.parametrize("bits", ["none", pytest.param("4bit", marks=pytest.mark.quant)])
@pytest.mark.parametrize(("targets", "features"), SIX)
def test_the_table_of_the_7b_is_the_hand_count(bench, targets, features, bits):
    model, _, recipe = bench.assembled(bench.Case(targets, features, bits=bits), META)
    rows = {row.component: row for row in table(model)}
    assert {name: row.trainable for name, row in rows.items() if row.trainable} == _by_hand(targets, features)
    absent = {"connector" if features == "encoder" else "mask_encoder"} | (set() if targets else {"lora", "seg_token"})
    expected = {**FULL, "lora": lora(4096, 8, 32, targets)}
    assert {name: row.total for name, row in rows.items()} == {k: v for k, v in expected.items() if k not in absent}
    if bits == "4bit":
        norms = 32 * 2 * 4096 + 4096
        assert rows["llm"].bytes == 32 * (4 * nf4(4096 * 4096) + 3 * nf4(4096 * 11008)) + 2 * norms
    for part in ("embeddings", "vision_tower", "projector"):
        assert rows[part].bytes == 2 * FULL[part], part
    adapted = {name.rsplit(".", 4)[-4] for name, p in model.named_parameters() if "lora_" in name}
    assert adapted == set(bench.TARGETS[targets])
    assert recipe.train.precision == "bf16"


def _finite(row) -> bool:
    return all(math.isfinite(loss) for loss in row["losses"])


@pytest.mark.quant
@pytest.mark.parametrize(("targets", "features"), SIX)
def test_every_case_trains_around_quantised_weights(bench, targets, features):
    row = bench.measure(bench.Case(targets, features, tiny=True), CPU, 2)
    assert _finite(row)
    assert len(row["losses"]) == bench.WARM_UP + 2
    assert (row["targets"], row["features"], row["memory_kind"]) == (targets, features, "peak resident size")
    assert row["seconds_per_sample"] > 0


def test_the_steps_are_those_of_training(bench):
    row = bench.measure(bench.Case(2, "shared", tiny=True, bits="none"), CPU, 6)
    assert _finite(row)
    assert row["losses"][-1] < row["losses"][0]


@pytest.mark.quant
def test_no_more_than_one_layer_stands_in_16_bits(bench, monkeypatch):
    import random_model

    seen: list[weakref.ref] = []
    quantise = random_model.quantized_linear

    def watched(linear: nn.Linear, *rest: object) -> nn.Module:
        assert not [ref for ref in seen if ref() is not None], "the layer before is still there in 16 bits"
        seen.append(weakref.ref(linear.weight))
        return quantise(linear, *rest)

    monkeypatch.setattr(random_model, "quantized_linear", watched)
    model, _, _ = bench.assembled(bench.Case(2, "shared", tiny=True), CPU)
    layers = [m for n, m in model.named_modules() if bits_of(m) == "4bit" and component_of(f"{n}.weight") == "llm"]
    assert len(seen) == len(layers) == 2 * 7


def test_a_batch_has_the_length_of_a_real_one(bench):
    case = bench.Case(2, "encoder", bits="none")
    batch = bench.random_batch(bench.random_parts(case.recipe.model, META, tiny=False), bench.TOKENS)
    assert batch.input_ids.shape == (1, bench.TOKENS)
    assert batch.images.vlm_pixels.shape == (1, 3, 336, 336)
    assert batch.images.mask_pixels.shape == (1, 3, 1024, 1024)


def test_without_a_gpu_it_says_so(bench, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be started"))
    assert bench.main([]) == 1
    assert "no CUDA device here" in capsys.readouterr().err


def test_a_case_that_fails_is_told_and_the_others_go_on(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "require_bitsandbytes", lambda settings: None)

    def run(command: list[str], **_: object) -> SimpleNamespace:
        case, out = json.loads(command[command.index("--one") + 1]), Path(command[command.index("--out") + 1])
        if case["targets"] == 4:
            return SimpleNamespace(returncode=1, stderr="Traceback\ntorch.OutOfMemoryError: CUDA out of memory.")
        figures = {"tokens": 9, "trainable": 1234, "weights_gb": 1.0, "peak_gb": 2.5, "seconds_per_sample": 0.5}
        out.write_text(json.dumps({**case, **figures, "memory_kind": "invented"}))
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(bench.subprocess, "run", run)
    monkeypatch.setattr(bench, "describe", lambda: bench_machine())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert bench.main(["--features", "shared"]) == 1
    table_rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| shared")]
    assert table_rows == [
        "| shared | 0 | 9 | 1,234 | 1.00 | 2.50 | 0.500 | 5.00 | 0.7 |",
        "| shared | 2 | 9 | 1,234 | 1.00 | 2.50 | 0.500 | 5.26 to 5.79 | 1.9 |",
        "| shared | 4 | - | - | - | failed: torch.OutOfMemoryError: CUDA out of memory. | - | "
        "7.44, then out of memory | none |",
    ]


def bench_machine() -> dict[str, object]:
    packages = dict.fromkeys(("torch", "transformers", "peft", "bitsandbytes"), "0")
    return {"time": "2026-01-01", "devices": ["a card"], "cpu": "", "packages": packages, "commit": "none"}


@pytest.mark.slow
@pytest.mark.quant
def test_the_whole_command(tmp_path):
    command = [sys.executable, str(SCRIPT), "--tiny", "--steps", "2", "--out", str(tmp_path / "tiny")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "tiny.json").read_text())
    assert [(row["targets"], row["features"]) for row in content["results"]] == SIX
    assert all(_finite(row) for row in content["results"])
    assert content["machine"]["packages"]["bitsandbytes"]
    assert (tmp_path / "tiny.md").read_text() == done.stdout
    assert "the tiny model, which says nothing about the 7B" in done.stdout
    assert done.stdout.count("\n| ") == 1 + len(SIX)
