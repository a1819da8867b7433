"""The command `segtune`: its subcommands, and how whatever goes wrong in them is told.

A person sees one message and an exit code, never a traceback; what is a bug of ours leaves its traceback in a file.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import segtune
from segtune.cli import config, data, evaluate, predict, report, search, train
from segtune.cli.failures import Failure, details_of, unexpected
from segtune.cli.launch import leave_after_first
from segtune.cli.output import echo
from segtune.core import log, streams
from segtune.core.environment import command_prefix, process_rank
from segtune.core.errors import ConfigError, Elsewhere, SegtuneError
from segtune.core.text import require_utf8
from segtune.core.visible import visible

_HELP = """Fine-tune, score and run models that answer questions about images with masks.

\b
Start with:
  segtune train quickstart                      (minutes on a laptop)
  segtune predict runs/NAME photo.jpg "the largest red object"
"""

_FIRST_TELLS_WITHIN = 5.0
"""Seconds in which the first of several processes tells what has failed in all of them; its launcher then ends them."""

_FIRST_LEAVES_WITHIN = 2.0
"""Seconds in which the first one clears up and leaves; its launcher ends it at once when another one leaves earlier."""


class _Escaped(Exception):
    """Carries what a command has raised past typer, which takes two kinds of it for something else."""


class _Commands(TyperGroup):
    """The commands, whose errors arrive as they are.

    Typer turns every EOFError into an interruption and every closed pipe into a silent exit, wherever they come from.
    """

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (EOFError, OSError) as error:
            raise _Escaped from error


_UTF8_ARGUMENT = "write it in UTF-8; where it is the name of a file, give the file another name"

app = typer.Typer(
    name="segtune",
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("search")(search.search)
app.command("report")(report.report)
app.command("compare")(report.compare)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"segtune {segtune.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    log.setup()


def run() -> None:
    """Runs the command line of this process and exits with its code; of several processes the first one prints."""
    streams.steady()
    if process_rank():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the end of the process
    code = main(sys.argv[1:])
    distributed = sys.modules.get("torch.distributed")
    if code == 0 and distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Runs one command line.

    Args:
        arguments: What stands after `segtune`.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or configuration, 3 bad data or checkpoint, 130 interrupted.
    """
    try:
        for argument in arguments:
            require_utf8(argument, "the command line", what="an argument", error=ConfigError, fix=_UTF8_ARGUMENT)
        code = app(args=list(arguments), prog_name="segtune", standalone_mode=False)
        streams.last_words()
        sys.stdout.flush()
    except Elsewhere as error:
        if process_rank():
            leave_after_first(_FIRST_LEAVES_WITHIN)
        return error.exit_code
    except SegtuneError as error:
        return _fail(str(error) + details_of(error), error.exit_code)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except _Escaped as error:
        return _told(unexpected(error.__cause__ or error, arguments))
    except Exception as error:
        return _told(unexpected(error, arguments))
    if code == 130:  # typer turns Ctrl-C into this
        return _fail("interrupted", 130)
    if not code and (lost := streams.lost_output()) is not None:
        return _fail(f"standard output could not be written: {lost.strerror}", 1)
    return code if isinstance(code, int) else 0


def _told(failure: Failure) -> int:
    return _fail(failure.message, failure.exit_code)


def _fail(message: str, code: int) -> int:
    heartbeat = sys.modules.get("segtune.engine.heartbeat")  # imports torch: there only where it is in use
    may_tell = None if heartbeat is None or code > 128 else heartbeat.may_tell()
    if may_tell is False:
        return code
    if may_tell and process_rank():
        message = f"process {process_rank()}: {message}"
    elif process_rank():
        stopped = code > 128  # a signal, and the first process says so
        time.sleep(_FIRST_LEAVES_WITHIN if stopped else _FIRST_TELLS_WITHIN)
        if stopped:
            return code
    offered = message.replace("`segtune ", f"`{command_prefix()} ")  # as it is called in this shell
    print(visible(f"error: {offered}"), file=sys.stderr)
    return code


def _wrong_usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # `segtune` or `segtune data` alone; typer does not export the type
        print(visible(error.format_message()), file=sys.stderr)
        return error.exit_code
    lines = [error.format_message()]
    context = getattr(error, "ctx", None)
    if context is not None:
        lines.append(f"  see: {context.command_path} --help")
    if "." in str(getattr(error, "option_name", "")):
        lines.append("  settings have no dashes: write optim.lr=1e-4, not --optim.lr=1e-4")
    return _fail("\n".join(lines), error.exit_code)
