"""Where a command's words go: the answer to stdout, talk to stderr, colour only where it is wanted."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.text import Text

from orchestrator.cli.text import short_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ROWS_ABOVE: Final = 3
_ENDLESS: Final = 1_000_000  # Columns of a pipe: nothing is ever wrapped or cut.


def wants_colour(choice: str, environ: Mapping[str, str], *, tty: bool) -> bool:
    """Decide on colour: `--color` over NO_COLOR over CLICOLOR_FORCE over the terminal."""
    if choice != "auto":
        return choice == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    return tty and environ.get("TERM") != "dumb"


class Screen:
    """The two streams of a command.

    `json` asks for documents instead of words; `tty` tells whether a person's terminal reads the answer.
    """

    def __init__(self, *, json: bool, color: str, answer: TextIO | None = None, talk: TextIO | None = None) -> None:
        self.json = json
        # Python has no stream where whoever started us closed the descriptor.
        self.answer = _console(answer or sys.stdout or StringIO(), color)
        self.talk = _console(talk or sys.stderr or StringIO(), color)
        self.tty = self.answer.is_terminal and not json
        self.live = self.talk.is_terminal and not json and not self.talk.is_dumb_terminal
        """Whether progress may be drawn."""

    @property
    def width(self) -> int:
        """Columns of the answer."""
        return self.answer.width

    def line(self, text: Text | str = "") -> None:
        """Print one line of the answer, cut to the terminal's width; on a pipe it is whole."""
        self.answer.print(_text(text), no_wrap=True, overflow="ellipsis", crop=self.tty)

    def lines(self, rows: Sequence[Text]) -> None:
        """Print many lines, each as `line` does; a plain pipe gets them at once, in a tenth of the time."""
        if self.answer.is_terminal or self.answer.color_system:
            for row in rows:
                self.line(row)
        elif rows:
            self.answer.out("\n".join(row.plain for row in rows), highlight=False)

    def whole(self, text: Text | str) -> None:
        """Print one line of the answer that is never cut, and copied in one piece: the terminal breaks it."""
        self.answer.print(_text(text), soft_wrap=True)

    def say(self, text: Text | str) -> None:
        """Print one sentence of talk, which a terminal gets broken between words; nothing with `--json`."""
        if not self.json:
            self.talk.print(_text(text), overflow="fold")

    def next(self, *commands: str) -> None:
        """Say what to type next, ready to paste: the terminal itself breaks a long one, and copies it in one piece."""
        for number, command in enumerate(() if self.json else commands):
            self.talk.print(Text.assemble(("next: " if number == 0 else "      ", "dim"), command), soft_wrap=True)

    @contextmanager
    def progress(self, status: Callable[[], Text] | None, *, above: Callable[[], Text] | None = None) -> Iterator[None]:
        """Keep a line of progress below everything that is printed, drawn anew four times a second.

        `above` gives text whose last rows stand above that line.
        """
        if status is None or not self.live:
            yield
            return
        from rich.live import Live

        def narrow() -> Text:
            width = self.talk.width - 1  # A full line can't be erased on every terminal.
            line = status()
            line.truncate(width, overflow="ellipsis")
            rows = list(above().wrap(self.talk, width))[-_ROWS_ABOVE:] if above else []
            return Text("\n", no_wrap=True).join([*rows, line])

        answer = self.answer
        if self.tty:
            self.answer = self.talk  # Both are the same terminal, and only one may move its cursor.
        try:
            with Live(
                get_renderable=narrow,
                console=self.talk,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            ):
                yield
        finally:
            self.answer = answer

    def id(self, run_id: str) -> str:
        """Return a run's id: short for a person, whole for a pipe."""
        return short_ids([run_id])[run_id] if self.tty else run_id


def _console(stream: TextIO, color: str) -> Console:
    """Return rich's console, told everything, so that it reads no variable of the environment itself but the size."""
    tty = stream.isatty()
    colour = wants_colour(color, os.environ, tty=tty)  # Standards of every terminal program, not settings of ours.
    tty = tty and os.environ.get("TERM") != "dumb"  # That one gets what a pipe gets, and breaks lines itself.
    return Console(
        file=stream,
        force_terminal=tty,
        color_system="standard" if colour else None,
        no_color=not colour,
        width=None if tty else _ENDLESS,
        markup=False,
        highlight=False,
        emoji=False,
        legacy_windows=False,
    )


def _text(text: Text | str) -> Text:
    return Text(text) if isinstance(text, str) else text
