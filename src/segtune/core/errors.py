"""The errors a person may meet, each with its exit code.

Every message says what was expected, what was found, where, and how to fix it. Only the command line turns these
into exit codes; library code raises them and never calls `sys.exit`. Anything else that escapes is a bug of ours.
"""

from __future__ import annotations

from segtune.core.visible import visible


class SegtuneError(Exception):
    """An expected failure, told to the user in one message.

    Args:
        message: What went wrong, in one sentence.
        where: The file, key or argument that it concerns.
        expected: What would have been right.
        found: What was there instead.
        fix: What the reader can do now.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", expected: str = "", found: str = "", fix: str = "") -> None:
        self.message, self.where, self.expected, self.found, self.fix = message, where, expected, found, fix
        lines = [f"{where}: {message}" if where else message]
        details = (("expected", expected), ("found", found), ("fix", fix))
        lines += [f"  {name}: {text}" for name, text in details if text]
        super().__init__(visible("\n".join(lines)))


class ConfigError(SegtuneError):
    """A wrong argument, recipe or configuration value (exit code 2)."""

    exit_code = 2


class DataError(SegtuneError):
    """An image, annotation or dataset that cannot be used (exit code 3)."""

    exit_code = 3


class Unprepared(DataError):
    """A sample whose preparation failed in a way that no check foresees (exit code 3).

    Its cause is the exception, whose traceback the command line keeps in a file.
    """


class CheckpointError(SegtuneError):
    """A checkpoint or run directory that is missing, damaged or belongs to something else (exit code 3)."""

    exit_code = 3


class WrongKindOfModel(CheckpointError):
    """A model that is sound but of the other kind than the one asked for: wrong usage (exit code 2)."""

    exit_code = 2


class Elsewhere(SegtuneError):
    """A failure that another process of the same run tells (exit code as there)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Interrupted(SegtuneError):
    """Training stopped on a signal, after its state was saved (exit code 128 + signal number)."""

    def __init__(self, message: str, *, signal_number: int, fix: str = "") -> None:
        super().__init__(message, fix=fix)
        self.exit_code = 128 + signal_number
