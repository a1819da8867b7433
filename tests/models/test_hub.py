"""The hub: not waited for where it cannot be reached, and what is said where a model cannot be had."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import AutoConfig

from segtune.core.errors import CheckpointError
from segtune.models import hub
from segtune.models.hub import advice, is_hub_name, look_up
from segtune.models.pretrained import guarded

NAME = "somebody/a-model"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", constants.HF_HUB_OFFLINE)  # put back at the end
    hub._answers.cache_clear()
    yield
    hub._answers.cache_clear()


class _Session:
    """Stands for the hub's HTTP session: answers, or does not; counts how often it was asked."""

    def __init__(self, *, answers: bool) -> None:
        self.answers, self.asked = answers, 0

    def head(self, url: str, timeout: float) -> object:
        self.asked += 1
        assert timeout <= 10
        if not self.answers:
            raise OSError("Name or service not known")
        return object()


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> _Session:
    session = _Session(answers=False)
    monkeypatch.setattr(hub, "get_session", lambda: session)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return session


def _raised(kind: type[Exception], text: str) -> Exception:
    response: Any = SimpleNamespace(headers={}, request=None, status_code=404, url="")
    error = kind(text) if kind is LocalEntryNotFoundError else kind(text, response=response)  # type: ignore[call-arg]
    try:
        raise OSError("cannot load it") from error
    except OSError as outer:
        return outer


@pytest.mark.parametrize(
    ("name", "expected"),
    [(NAME, True), ("gpt2", True), ("./a", False), ("/a/b", False), ("../a", False), ("a/b/c", False), ("a b", False)],
)
def test_names_of_the_hub(name: str, expected: bool) -> None:
    assert is_hub_name(name) == expected


def test_a_folder_of_that_name_is_no_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir(parents=True)
    assert not is_hub_name(NAME)


def test_a_hub_that_cannot_be_reached_is_not_waited_for(down: _Session) -> None:
    """Its library would ask for every file six times, in 24 seconds."""
    begun = time.perf_counter()
    for _ in range(3):
        with pytest.raises(CheckpointError) as caught:
            guarded(lambda: AutoConfig.from_pretrained(NAME), NAME)
        assert f"`hf download {NAME}`" in caught.value.fix
        assert "HF_HOME" in caught.value.fix
        assert "login" not in caught.value.fix
    assert time.perf_counter() - begun < 10
    assert down.asked == 1


def test_nothing_is_asked_for_the_sake_of_a_path(down: _Session, tmp_path: Path) -> None:
    for path in (str(tmp_path), "./nothing", "the encoder's description"):
        with pytest.raises(CheckpointError) as caught:
            guarded(lambda: 1 / 0, path)
        assert caught.value.fix == "check the path"
    assert down.asked == 0
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_raised(GatedRepoError, "gated"), "hf auth login"),
        (_raised(RepositoryNotFoundError, "absent"), "check the name"),
        (_raised(LocalEntryNotFoundError, "not in the cache"), "hf download"),
        (ValueError("damaged"), "check the name and the files"),
    ],
)
def test_the_advice_fits_what_went_wrong(error: Exception, words: str) -> None:
    assert words in advice(error, NAME)


def test_what_can_be_known_of_a_model_before_it_is_loaded(down: _Session, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look_up("./a/path") == ""
    assert f"whether {NAME} can be had" in look_up(NAME)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: "/cache/config.json")
    assert look_up(NAME) == ""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: None)
    hub._answers.cache_clear()
    monkeypatch.setattr(hub, "get_session", lambda: _Session(answers=True))

    def tells(about: object) -> None:
        def model_info(self: object, name: str, timeout: float) -> object:
            if isinstance(about, Exception):
                raise about
            return about

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)

    tells(SimpleNamespace(gated=False))
    assert look_up(NAME) == ""
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    tells(SimpleNamespace(gated="manual"))
    assert "it is gated" in look_up(NAME)
    tells(OSError("a bad day"))
    assert "a bad day" in look_up(NAME)
    tells(_raised(RepositoryNotFoundError, "absent").__cause__)
    with pytest.raises(CheckpointError, match="the hub has no such model"):
        look_up(NAME)
