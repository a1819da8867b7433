"""Nothing that a name or a text holds reaches the terminal as more than letters."""

from __future__ import annotations

import ast
import io
import logging
import sys
from pathlib import Path

import pytest

import segtune
from segtune.cli.main import main
from segtune.cli.output import echo
from segtune.core import log
from segtune.core.log import get_logger, new_console

HOSTILE = "\x1b[2J[bold]name[/bold] :car: \x9b31m\x07 | <script>\u202e"


def _harmless(text: str) -> None:
    assert not any(sign in text for sign in ("\x1b", "\x9b", "\x07", "\u202e")), repr(text)
    assert "[bold]name[/bold] :car:" in text


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    _harmless(capsys.readouterr().out)


def test_a_terminal_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    echo("die Tür 门")
    sys.stdout.flush()
    assert raw.getvalue() == b"die T\\xfcr \\u95e8\n"


def test_consoles_and_logs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    new_console().print(HOSTILE)
    _harmless(capsys.readouterr().out)
    root = logging.getLogger("segtune")
    for terminal in (False, True):
        monkeypatch.setattr(log, "is_terminal", lambda terminal=terminal: terminal)
        handler = log._handler()
        stream = io.StringIO()
        if terminal:
            handler.console = new_console(file=stream, width=200)  # type: ignore[attr-defined]
        root.addHandler(handler)
        try:
            get_logger("segtune.x").warning("told %s", HOSTILE)
        finally:
            root.removeHandler(handler)
        _harmless(stream.getvalue() if terminal else capsys.readouterr().err)


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", HOSTILE]) == 2
    _harmless(capsys.readouterr().err)
    assert main([HOSTILE]) == 2
    _harmless(capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "segtune/tiny", "good.jpg", "the \udcff box"],
        ["x\udcff"],
        ["train", "own", "run.name=\udcff"],
        ["data", "check", "\udcff"],
    ],
)
def test_an_argument_that_is_not_utf8(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the command line: an argument holds half of a character")
    assert told.count("error:") == 1
    told.encode()


@pytest.mark.parametrize("question", ["the \x1b[31m box", "nul \x00", "word " * 1000, " "])
def test_a_question_that_is_none(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "segtune/tiny", "no.jpg", question]) == 2
    assert "the question" in capsys.readouterr().err


def test_every_line_is_printed_by_one_of_these() -> None:
    """Only `cli.output` and the consoles print; the error messages of `cli.main` go through `visible` there."""
    for path in Path(segtune.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "typer.echo":
                assert path.name == "output.py", f"{path}:{node.lineno}"
            if called == "print":
                assert "visible(" in ast.unparse(node), f"{path}:{node.lineno}"
