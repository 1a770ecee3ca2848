"""How set-up work is told to a person; the command line brings a richer one."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import TextIO


class Reporter(Protocol):
    """Where set-up work is told."""

    def line(self, text: str) -> None:
        """Say one finished thing."""

    def step(self, text: str) -> AbstractContextManager[Callable[[str], None]]:
        """Announce long work; the function that comes back tells its latest detail (a line of a log)."""

    def ask(self, question: str) -> bool:
        """Ask for permission. Where nobody can answer (no tty), the question is said and the answer is yes."""


class PlainReporter:
    """Lines on a stream; on a tty also the latest detail of long work and its time."""

    def __init__(self, stream: TextIO | None = None, answers: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._answers = answers or sys.stdin
        self._tty = self._stream.isatty()

    def line(self, text: str) -> None:
        """Say one finished thing."""
        self._write(f"{text}\n")

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Announce long work; details overwrite each other on a tty and are dropped elsewhere."""
        began = time.monotonic()
        self._write(f"{text} ...\n")
        try:
            yield self._detail if self._tty else _drop
        finally:
            self._write(f"{_CLEAR if self._tty else ''}{text}: {time.monotonic() - began:.0f} s\n")

    def ask(self, question: str) -> bool:
        """Ask on a tty; elsewhere say it and go on."""
        if not (self._tty and self._answers.isatty()):
            self.line(question)
            return True
        self._write(f"{question} Go on? [y/N] ")
        return self._answers.readline().strip().lower() in {"y", "yes"}

    def _detail(self, text: str) -> None:
        self._write(f"{_CLEAR}  {text.strip()[:_WIDTH]}")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


_CLEAR = "\r\x1b[2K"
_WIDTH = 76


def _drop(_detail: str) -> None:
    pass
