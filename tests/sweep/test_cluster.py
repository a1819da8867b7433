"""The search on Ray, with a stub of what it uses of Ray; `tests/e2e/test_ray.py` runs Ray itself."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.sweep.driver import COMMAND
from tests.sweep.making import a_search

from segtune.core.errors import ConfigError, Interrupted
from segtune.sweep.cluster import search_on_ray

pytest.importorskip("optuna")


class Ray(SimpleNamespace):
    """Runs tasks where it stands, their arguments pickled as on the way to another node."""

    def __init__(self, gpus: float = 0, interrupt: bool = False) -> None:
        super().__init__(asked=[], tasks=[], cancelled=[], begun=False, gpus=gpus, interrupt=interrupt)

    def init(self, *, ignore_reinit_error: bool) -> None:
        self.begun = True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4, "GPU": self.gpus} if self.gpus else {"CPU": 4}

    def remote(self, **resources: float) -> Any:
        self.asked.append(resources)

        def task(*arguments: Any) -> Any:
            self.tasks.append(arguments)
            return pickle.dumps((function, arguments))

        function: Any = None

        def decorate(given: Any) -> Any:
            nonlocal function
            function = given
            return SimpleNamespace(remote=task)

        return decorate

    def get(self, waiting: list[bytes]) -> list[Any]:
        if self.interrupt:
            raise KeyboardInterrupt
        calls = [pickle.loads(one) for one in waiting]
        return [function(*arguments) for function, arguments in calls]

    def cancel(self, one: bytes) -> None:
        self.cancelled.append(one)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task changes its working directory; this brings it back."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_same_study_by_tasks(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    results = search_on_ray(a_search(elsewhere, root="searches"), workers=2, command=COMMAND)
    assert ray.begun
    assert ray.asked == [{"num_cpus": 1, "num_gpus": 0.0}]
    assert len(ray.tasks) == 2
    assert all(os.path.isabs(arguments[0]) and os.path.isabs(arguments[1]) for arguments in ray.tasks)
    assert results.count("complete") == 4
    assert results.place.path == elsewhere / "searches" / "mine"
    assert (results.place.path / "best.yaml").is_file()


@pytest.mark.parametrize(("gpus", "count"), [(None, 3), (0.5, 6)])
def test_one_trial_a_gpu(gpus: float | None, count: int, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = Ray(gpus=3, interrupt=True)
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(Interrupted) as caught:
        search_on_ray(a_search(elsewhere), gpus=gpus, command=COMMAND)
    assert caught.value.exit_code == 130
    assert len(ray.tasks) == len(ray.cancelled) == count
    assert ray.asked[0]["num_gpus"] == (gpus or 1.0)


def test_without_ray_its_extra_is_named(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="Ray, which is not installed") as caught:
        search_on_ray(a_search(elsewhere))
    assert "segtune[ray" in caught.value.fix
    assert not (elsewhere / "searches").exists()
