"""The command `segtune`: its subcommands, and how whatever goes wrong in them is told.

A person sees one message and an exit code, never a traceback; what is a bug of ours leaves its traceback in a file.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

import segtune
from segtune.cli import config, data, evaluate, predict, report, search, train
from segtune.cli.output import echo
from segtune.core import log
from segtune.core.environment import blames_torchvision, command_prefix, process_rank
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

_LOST = ("Connection closed by peer", "Connection reset by peer", "DistBackendError")
"""What PyTorch says when another process has ended in the middle of a common operation."""

_NO_MEMORY = (
    "DefaultCPUAllocator: ",  # "can't allocate memory", "not enough memory": a RuntimeError like any other
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
)
"""What PyTorch says where memory is lacking and the type of its error does not tell."""

_LESS_MEMORY = {
    "train": "begin a new run with train.batch_size=1 and a larger train.accumulate, "
    "train.gradient_checkpointing=all or data.queries_per_image=1, "
    "and with eval.batch_size=1 where it fails while scoring; a resume keeps the settings of its run",
    "evaluate": "add --batch-size 1",
}
"""What needs less memory, by command."""

_UTF8_ARGUMENT = "write it in UTF-8; where it is the name of a file, give the file another name"

_WRONG_PLACE = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)

app = typer.Typer(
    name="segtune",
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
        sys.stdout.flush()
    except Elsewhere as error:
        time.sleep(_FIRST_LEAVES_WITHIN)
        return error.exit_code
    except SegtuneError as error:
        return _fail(str(error), error.exit_code)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except BrokenPipeError:
        # whoever read our output has stopped; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error, arguments)
    if code == 130:  # typer turns Ctrl-C into this
        return _fail("interrupted", 130)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    if process_rank():
        told = code > 128  # a signal, and the first process says so
        time.sleep(_FIRST_LEAVES_WITHIN if told else _FIRST_TELLS_WITHIN)
        if told:
            return code
    offered = message.replace("`segtune ", f"`{command_prefix()} ")  # as it is called in this shell
    print(visible(f"error: {offered}"), file=sys.stderr)
    return code


def _wrong_usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # `segtune` or `segtune data` alone; typer does not export the type
        print(error.format_message(), file=sys.stderr)
        return error.exit_code
    lines = [error.format_message()]
    context = getattr(error, "ctx", None)
    if context is not None:
        lines.append(f"  see: {context.command_path} --help")
    if "." in str(getattr(error, "option_name", "")):
        lines.append("  settings have no dashes: write optim.lr=1e-4, not --optim.lr=1e-4")
    return _fail("\n".join(lines), error.exit_code)


def _unexpected(error: Exception, arguments: Sequence[str]) -> int:
    chain = list(_chain(error))
    if any(getattr(one, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for one in chain) or any(
        "No space left on device" in str(one) for one in chain
    ):
        place = next((str(one.filename) for one in chain if isinstance(one, OSError) and one.filename), "")
        return _fail(
            "the disk is full"
            + (f" (writing {place})" if place else "")
            + "\n  fix: free some space, then continue with `segtune train --resume RUN`; "
            "old runs and checkpoints/epoch-* folders are the largest files, and run.root=FOLDER chooses another disk",
            1,
        )
    if isinstance(error, _WRONG_PLACE) and error.filename:
        return _fail(
            f"{error.filename}: {error.strerror}\n  fix: choose another place, one that you may read and write", 1
        )
    if (lacking := next((found for one in chain if (found := _lacking_memory(one))), None)) is not None:
        command = arguments[0] if arguments else ""
        fix = _LESS_MEMORY.get(command, "end other programs, or take a smaller image or model")
        return _fail(f"out of memory\n  found: {lacking}\n  fix: {fix}", 1)
    if (broken := next((str(one) for one in reversed(chain) if blames_torchvision(one)), None)) is not None:
        return _fail(
            "the torchvision of this machine does not fit its torch, and transformers cannot be imported beside it\n"
            f"  found: {broken.splitlines()[0]}\n"
            f"  fix: {sys.executable} -m pip uninstall torchvision (segtune needs none)",
            1,
        )
    if "RANK" in os.environ and any(sign in f"{type(error).__name__}: {error}" for sign in _LOST):
        return _fail("another process of this run has ended; what it or the launcher has said tells why", 1)
    return _internal(error)


def _lacking_memory(error: BaseException) -> str:
    """The line in which an error tells that memory is lacking; empty where it tells something else."""
    lines = str(error).splitlines()
    if (
        type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
    ):
        return lines[0] if lines else "not enough memory"
    # an error of a process that prepares data comes with the whole of its traceback
    return next((line for line in lines if any(sign in line for sign in _NO_MEMORY)), "")


def _internal(error: Exception) -> int:
    text = "".join(traceback.format_exception(error))
    command = visible(" ".join(sys.argv))
    name = f"segtune-error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    path = Path(tempfile.gettempdir()) / name
    summary = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    try:
        report = f"segtune {segtune.__version__}, Python {sys.version}\n{command}\n\n{text}"
        path.write_text(report, encoding="utf-8", errors="backslashreplace")
    except OSError:
        print(visible(text), file=sys.stderr)
        return _fail(f"internal error: {summary}", 1)
    return _fail(f"internal error: {summary}\n  this is a bug of segtune; the details are in {path}", 1)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
