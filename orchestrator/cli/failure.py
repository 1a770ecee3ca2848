"""Errors as people see them: `error:`, `cause:`, `try:`, and an exit code."""

from __future__ import annotations

import sys
import traceback as tracebacks
from typing import NamedTuple

import click

from orchestrator.cli.text import visible
from orchestrator.errors import DreamdockError
from sandbox.errors import SandboxError

SCHEMA = "dreamdock.error/1"


class Failure(NamedTuple):
    """What failed, why (may be empty), what to type next (may be empty), and the exit code."""

    message: str
    cause: str
    hint: str
    exit_code: int


def explain(error: Exception) -> Failure:
    """Put any error into the three lines. What nobody foresaw says so, and how to see where it came from."""
    match error:
        case DreamdockError() | SandboxError():
            return Failure(error.message, error.cause, error.hint, error.exit_code)
        case click.ClickException():
            return Failure(_uncapitalised(error.format_message()), "", _help(error), error.exit_code)
        case UnicodeDecodeError():
            return Failure("what was read is no UTF-8 text", str(error), "give it in UTF-8: iconv -t UTF-8", 2)
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            message = f"the system refused: {(error.strerror or str(error)).lower()}{where}"
            return Failure(message, "", "mend that and try again; -vv shows where it came from", 1)
        case _:
            cause = f"{type(error).__name__}: {error}"
            return Failure("this should not have happened", cause, "the same command with -vv, for a traceback", 1)


def show(failure: Failure, *, as_json: bool, traceback: Exception | None = None) -> None:
    """Print it: three lines on stderr, or one JSON document on stdout. The traceback goes to stderr."""
    if traceback is not None:
        sys.stderr.write(visible("".join(tracebacks.format_exception(traceback))))
    if as_json:
        from orchestrator.cli.document import write

        fields = {"error": failure.message, "cause": failure.cause, "try": failure.hint}
        write(SCHEMA, {**fields, "exit_code": failure.exit_code})
        return
    for label, text in (("error", failure.message), ("cause", failure.cause), ("try", failure.hint)):
        if text:
            sys.stderr.write(f"{label + ':':<7}{' '.join(visible(text).split())}\n")
    sys.stderr.flush()


def _help(error: click.ClickException) -> str:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{ctx.command_path if ctx else 'dreamdock'} --help"


def _uncapitalised(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")
