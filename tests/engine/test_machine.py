from __future__ import annotations

import logging
import os

import pytest
import torch
from tests.factory import tiny_loaded

from segtune.core.errors import ConfigError
from segtune.engine import machine
from segtune.engine.config import OptimConfig, TrainConfig
from segtune.engine.machine import (
    accelerator_for,
    allocator_settings,
    prepare_allocator,
    prepare_machine,
    require_float32,
)
from segtune.models.config import TrainSettings

CPU = torch.device("cpu")


def test_fp16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match="fp16 needs an accelerator") as caught:
        prepare_machine(TrainConfig(precision="fp16"), OptimConfig(), CPU)
    assert caught.value.exit_code == 2
    assert "train.precision=fp32" in caught.value.fix


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_others_are_not(precision):
    prepare_machine(TrainConfig(precision=precision), OptimConfig(), CPU)


def test_bf16_is_refused_on_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce 8800")
    with pytest.raises(ConfigError, match="no bf16") as caught:
        prepare_machine(TrainConfig(precision="bf16"), OptimConfig(), torch.device("cuda"))
    assert caught.value.found == "GeForce 8800"


def test_a_second_run_in_a_process_has_its_own_precision():
    for precision, computed in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        accelerator = accelerator_for(precision, cpu=True)
        with accelerator.autocast():
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == computed


@pytest.fixture
def _switches():
    """The switches of TF32, put back afterwards."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    yield
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value


@pytest.mark.usefixtures("_switches")
@pytest.mark.parametrize("wanted", [True, False])
def test_tf32_reaches_torch_where_there_is_a_gpu(wanted, caplog):
    torch.backends.cuda.matmul.allow_tf32 = not wanted
    with caplog.at_level(logging.WARNING):
        prepare_machine(TrainConfig(tf32=wanted), OptimConfig(), CPU)
    assert torch.backends.cuda.matmul.allow_tf32 is not wanted
    assert ("changes nothing here" in caplog.text) == wanted
    prepare_machine(TrainConfig(tf32=wanted), OptimConfig(), torch.device("cuda"))
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (wanted, wanted)


def test_with_fp16_what_trains_is_float32():
    require_float32(tiny_loaded(dtype="bfloat16").model, "fp16")  # adapters are float32 over any base
    whole = TrainSettings(llm="full", embeddings="full")
    with pytest.raises(ConfigError, match="must be float32") as caught:
        require_float32(tiny_loaded(dtype="bfloat16", train=whole).model, "fp16")
    assert "llm in bfloat16" in caught.value.found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_trains_in_16_bits_is_warned_of(precision, monkeypatch):
    told = []
    monkeypatch.setattr(machine._log, "warning", lambda text, *values: told.append(text % values))
    require_float32(tiny_loaded(dtype="bfloat16").model, precision)
    assert not told
    require_float32(tiny_loaded(dtype="bfloat16", train=TrainSettings(vision_tower="full")).model, precision)
    (text,) = told
    assert "vision_tower in bfloat16 would lose small steps" in text
    assert "set model.dtype=float32" in text


GROWING = "expandable_segments:True"


def _allocator(environment=None, **machine):
    found = {"torch_version": "2.13.0+cu128", "cuda": True, "platform": "linux", **machine}
    return allocator_settings(environment or {}, **found)


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("2.13.0+cu128", "PYTORCH_ALLOC_CONF"),
        ("2.9.1", "PYTORCH_CUDA_ALLOC_CONF"),
        ("3.0.0a0+git1", "PYTORCH_ALLOC_CONF"),
        ("2.8.0+cu126", "PYTORCH_CUDA_ALLOC_CONF"),
        ("2.10.0", "PYTORCH_ALLOC_CONF"),
    ],
)
def test_segments_grow_on_a_gpu_by_the_name_that_this_torch_reads(version, name):
    assert _allocator({"HOME": "/root"}, torch_version=version) == {name: GROWING}


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
@pytest.mark.parametrize("value", ["max_split_size_mb:128", "expandable_segments:False", ""])
@pytest.mark.parametrize("version", ["2.13.0", "2.8.0"])
def test_what_a_person_has_set_is_left(name, value, version):
    assert _allocator({name: value}, torch_version=version) == {}


@pytest.mark.parametrize("machine", [{"cuda": False}, {"platform": "win32"}, {"platform": "darwin"}])
def test_where_segments_cannot_grow_nothing_is_set(machine):
    assert _allocator(**machine) == {}


@pytest.mark.parametrize("begun", [False, True])
def test_the_environment_is_changed_only_before_the_gpu_is_used(begun, monkeypatch):
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(name, "of the machine")
        monkeypatch.delenv(name)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: begun)
    monkeypatch.setattr("sys.platform", "linux")
    prepare_allocator()
    assert os.environ.get("PYTORCH_ALLOC_CONF") == (None if begun else GROWING)


def test_on_a_cpu_the_environment_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = dict(os.environ)
    prepare_allocator()
    assert dict(os.environ) == before
