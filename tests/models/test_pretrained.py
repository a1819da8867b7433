"""Nothing that a checkpoint brings with it runs, and nothing that it names is fetched."""

from __future__ import annotations

import ast
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from tests.factory import plain_loaded, tiny_base, tiny_loaded
from tests.models.dense.encoders import dense_config, write_hub

import segtune
from segtune.core.errors import CheckpointError
from segtune.engine.checkpoint import save_checkpoint
from segtune.engine.dense_loading import build_loaded, load_dense_model
from segtune.engine.loading import build, load
from segtune.models.config import ModelConfig
from segtune.models.pretrained import may_fetch, without_hub
from segtune.models.weights import base_directory

SOURCE = Path(segtune.__file__).parent
OURS = {"Predictor", "DensePredictor"}


def _calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    """The calls of a method of that name in the package, but for those of our own classes."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id in OURS):
                yield path.relative_to(SOURCE), node


def test_every_from_pretrained_stands_in_one_function_and_refuses_code() -> None:
    calls = list(_calls("from_pretrained"))
    assert [str(path) for path, _ in calls] == ["models/pretrained.py"]
    text = (SOURCE / "models/pretrained.py").read_text(encoding="utf-8")
    assert text.count('"trust_remote_code": False') == 1
    assert "trust_remote_code=True" not in "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("name", ["load", "loads", "Unpickler"])
def test_no_pickle_is_read(name: str) -> None:
    """`torch.load` executes what stands in a file; so does `pickle`. Data workers send batches to their own parent."""
    for path, call in _calls(name):
        if str(path) in ("data/workers.py", "data/worker_errors.py"):
            continue
        module = call.func.value  # type: ignore[attr-defined]
        assert not (isinstance(module, ast.Name) and module.id in ("torch", "pickle", "cloudpickle", "joblib")), path


HOSTILE = "from pathlib import Path\nPath({mark!r}).touch()\nraise SystemExit(9)\n"


def _with_code(directory: Path, file: str, *keys: str) -> Path:
    """A base whose configuration names a Python file, which leaves a mark when it runs."""
    base = shutil.copytree(tiny_base(), directory / "base")
    place = base / file
    document = json.loads(place.read_text()) if place.is_file() else {}
    part = document
    for key in keys:
        part = part.setdefault(key, {})
    part["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoTokenizer": ["evil.T", "evil.T"]}
    place.write_text(json.dumps(document))
    for folder in (base, base / "vlm", base / "mask_model"):
        (folder / "evil.py").write_text(HOSTILE.format(mark=str(directory / "ran")))
    return base


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("vlm/config.json", ()),
        ("vlm/config.json", ("text_config",)),
        ("vlm/config.json", ("vision_config",)),
        ("vlm/tokenizer_config.json", ()),
        ("vlm/processor_config.json", ("image_processor",)),
        ("mask_model/config.json", ()),
        ("mask_model/config.json", ("mask_decoder_config",)),
    ],
)
def test_a_base_that_brings_code_is_refused_without_a_question(
    file: str, keys: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("builtins.input", lambda *_: asked.append(_) or "y")
    base = _with_code(tmp_path, file, *keys)
    with pytest.raises(CheckpointError, match="never executes code from a checkpoint") as caught:
        load(str(base))
    assert Path(file).name in str(caught.value)
    assert not asked
    assert not (tmp_path / "ran").exists()


def test_an_encoder_that_brings_code_is_refused(tmp_path: Path) -> None:
    write_hub(directory := tmp_path / "encoder", "resnet")
    document = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**document, "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(CheckpointError, match="never executes code"):
        build_loaded(dense_config(str(directory)), ("a", "b"), 0)


def test_an_adapter_in_the_place_of_a_model_is_refused(tmp_path: Path) -> None:
    """transformers would take the base that the adapter names, from the hub, and say nothing."""
    base = shutil.copytree(tiny_base(), tmp_path / "base")
    (base / "vlm" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/body"}))
    with pytest.raises(CheckpointError, match="an adapter, not a model"):
        load(str(base))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where anything tried to connect to; the hub is not switched off by the environment."""
    tried: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def test_a_checkpoint_never_makes_a_command_contact_the_hub(connections: list[Any], tmp_path: Path) -> None:
    loaded = tiny_loaded()
    about = {**loaded.about(), "epoch": 1, "step": 1, "metrics": {}}
    about["model"] = {**about["model"], "base": None, "vlm": "some/body", "mask_model": "some/mask"}
    save_checkpoint(tmp_path / "checkpoint", loaded.model, about)
    with pytest.raises(CheckpointError, match="a checkpoint never fetches anything") as caught:
        load(str(tmp_path / "checkpoint"))
    assert "hf download some/body" in str(caught.value)
    assert connections == []
    assert not constants.HF_HUB_OFFLINE
    assert may_fetch()


def test_a_checkpoint_of_a_dense_model_neither(connections: list[Any], tmp_path: Path) -> None:
    write_hub(directory := tmp_path / "encoder", "resnet")
    loaded = build_loaded(dense_config(str(directory)), ("a", "b"), 0)
    about = {**loaded.about(), "epoch": 1, "step": 1, "metrics": {}}
    about["model"] = {**about["model"], "encoder": "some/body"}
    save_checkpoint(tmp_path / "checkpoint", loaded.model, about, trained=loaded.trained)
    with pytest.raises(CheckpointError):
        load_dense_model(str(tmp_path / "checkpoint"))
    assert connections == []


@pytest.mark.parametrize("half", ["vlm", "mask_model"])
def test_half_a_base_under_a_relative_name_is_not_looked_for_on_the_hub(
    half: str, connections: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mybase/vlm` has the form of a hub id."""
    shutil.copytree(tiny_base(), tmp_path / "mybase")
    shutil.rmtree(tmp_path / "mybase" / half)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="this base is damaged") as caught:
        load("mybase")
    assert (caught.value.where, caught.value.found) == ("mybase", f"no {half}/")
    assert base_directory("segtune/tiny").is_absolute()
    assert connections == []


@pytest.mark.parametrize("name", ["mybase/vlm", "mine"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "processor_config.json"])
def test_a_damaged_directory_is_not_looked_for_on_the_hub(
    name: str, file: str, connections: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_base() / "vlm", tmp_path / name)
    (tmp_path / name / file).unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError):
        build(ModelConfig(vlm=name, mask_model=str(tiny_base() / "mask_model")), None)
    assert connections == []
    assert may_fetch()


def test_a_base_on_this_machine_needs_no_hub(connections: list[Any]) -> None:
    with without_hub():
        assert not may_fetch()
        assert plain_loaded().model is not None
    assert connections == []
