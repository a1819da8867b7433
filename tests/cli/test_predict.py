"""What is wrong with a picture is told before a model is looked for."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from segtune.cli.main import main


def _told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["predict", "no/such/model", *map(str, arguments)]) == 3
    return capsys.readouterr().err


@pytest.mark.parametrize("query", [["the dog"], []])
def test_a_picture_that_is_too_large_names_the_option(tmp_path, capsys, query):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    told = _told(capsys, tmp_path / "a.png", *query, "--max-pixels", 599)
    assert "expected: at most 599 pixels" in told
    assert "--max-pixels N" in told
    assert "no/such/model" in _told(capsys, tmp_path / "a.png", *query, "--max-pixels", 600)


def test_a_fifo_is_refused(tmp_path, capsys):
    os.mkfifo(tmp_path / "x.jpg")
    assert "a FIFO (named pipe)" in _told(capsys, tmp_path / "x.jpg", "the dog")


def test_a_dark_picture_and_an_animation_are_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("logging.Logger.warning", lambda _, form, *values: told.append(form % values))
    dark, moving = tmp_path / "dark.png", tmp_path / "moving.gif"
    Image.fromarray(np.full((5, 5), 4095, np.uint16)).save(dark)
    frames = [Image.new("L", (5, 5), 50 * index) for index in range(3)]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    for path in (dark, moving):
        main(["predict", "no/such/model", str(path), "the dog"])
    main(["predict", "no/such/model", str(dark), "the dog", "--grey-bits", "12"])
    assert len(told) == 2
    assert told[0].startswith(f"{dark}: a picture with grey values of 16 bits")
    assert told[1] == f"{moving}: a picture of several frames or pages: only the first is used"
