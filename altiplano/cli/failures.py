"""Exit codes, and how what went wrong is told to people: one sentence, no traceback."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Mapping
from typing import IO, Any

import click

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NO_MASTER = 4
IN_USE = 5
UNREADABLE = 78
"""A master or agent cannot read its state, and no later try will: damaged, or of another release."""

NOT_RUN = 125
"""`altiplano run`: the pool did not run the command; 128+n is signal n."""

NOT_EXECUTABLE = 126
NO_SUCH_PROGRAM = 127
INTERRUPTED = 130

TRACEBACK_VARIABLE = "ALTIPLANO_TRACEBACK"

DISK: Mapping[int, str] = {
    errno.ENOSPC: "Make room and try again",
    errno.EDQUOT: "Make room and try again",
    errno.EROFS: "Choose a directory that can be written",
    errno.EACCES: "Choose a directory that is yours, or become its owner",
    errno.EPERM: "Choose a directory that is yours, or become its owner",
}
"""What a disk or a directory may refuse to anybody, and the way out."""


class Failure(click.ClickException):
    """A sentence for the user, and the exit code that goes with it."""

    def __init__(self, sentence: str, code: int = FAILED) -> None:
        super().__init__(sentence)
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"altiplano: {self.message}", file=file or sys.stderr)


def translated(error: Exception) -> Failure | None:
    """The failure that a refusal of the SDK means on the command line; None for what nobody expected."""
    from altiplano.sdk import credentials, masters, operator, session, tasks

    match error:
        case masters.AddressRefused() | tasks.TaskRefused():
            return Failure(str(error), USAGE)
        case credentials.CredentialsRefused() | session.MasterRefused():
            return Failure(str(error), NO_MASTER)
        case operator.Unreachable() | operator.NotAccepted():
            return Failure(str(error), NO_MASTER)
        case operator.Missing():
            return Failure(str(error), NOT_FOUND)
        case operator.OperatorError() | session.SessionEnded():
            return Failure(str(error), FAILED)
        case OSError(errno=int(number), filename=where) if number in DISK and (where or number == errno.ENOSPC):
            return Failure(f"{where or 'the disk'} cannot be used: {error.strerror}. {DISK[number]}", FAILED)
        case _:
            return None


def unexpected(error: Exception) -> Failure:
    """A bug of ours, or of the machine: said in a line; the traceback only if it is asked for."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    return Failure(
        f"this should not have happened: {type(error).__name__}: {error}. "
        f"Set {TRACEBACK_VARIABLE}=1 and repeat the command to see where"
    )
