"""One command as a process: its signals, its exit code, and the place where every error ends up."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from orchestrator.cli.root import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

INTERRUPTED: Final = 130
TERMINATED: Final = 143
_TRACEBACK_AT: Final = 2  # -vv


class Manner(NamedTuple):
    """How a command answers. Read from the bare arguments, because a mistake in them is answered the same way."""

    json: bool
    verbose: int

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Manner:
        """Read the arguments up to `--`."""
        ours = list(arguments)
        if "--" in ours:
            ours = ours[: ours.index("--")]
        short = sum(len(word) - 1 for word in ours if len(word) > 1 and word == "-" + "v" * (len(word) - 1))
        return cls(json="--json" in ours, verbose=short + ours.count("--verbose"))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; whatever goes wrong is shown in three lines, or as JSON."""
    manner = Manner.of(arguments)
    _never_fail_on_a_character()
    try:
        _require_text(arguments)
        with _terminable():
            result = cli.main(list(arguments), prog_name="dreamdock", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:  # noqa: BLE001  # The last place that can say it in words.
        return _fail(error, manner)
    return result if isinstance(result, int) else 0


def _require_text(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that isn't UTF-8: journal, files and terminals hold text. So does stdin."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="strict")  # In the C locale it would let anything through.
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            from orchestrator.errors import UsageError

            cause = f"it is {argument[:60]!r}"
            raise UsageError(f"argument {number} is no UTF-8 text", cause=cause, hint="export LANG=C.UTF-8") from error


def _fail(error: Exception, manner: Manner) -> int:
    from orchestrator.cli.failure import explain, show

    failure = explain(error)
    with suppress(BrokenPipeError):
        show(failure, as_json=manner.json, traceback=error if manner.verbose >= _TRACEBACK_AT else None)
        return failure.exit_code
    return _reader_left()


def _reader_left() -> int:
    """Leave quietly: who reads our output has gone (`dreamdock logs RUN | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # The interpreter flushes once more at its end.
    return 1  # As click does where the pipe breaks in the middle.


def _never_fail_on_a_character() -> None:
    """Write what the terminal's encoding doesn't have as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exit that restores the terminal, while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
