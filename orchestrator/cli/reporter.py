"""Set-up work told on a terminal: what is being done, its latest detail, how long it takes."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli.text import duration, first_line, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.cli.screen import Screen


class TalkReporter:
    """Tells on stderr; with `--json` it keeps quiet."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def line(self, text: str) -> None:
        """Say one finished thing."""
        self._screen.say(Text(visible(text), "dim"))

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Announce long work; on a terminal its latest detail and its time are drawn while it lasts."""
        began, latest = time.monotonic(), [""]
        if not self._screen.live:
            self._screen.say(f"{visible(text)} ...")

        def status() -> Text:
            spent = f" · {duration(time.monotonic() - began)}"
            return Text.assemble(visible(text), (f"{spent}  {latest[0]}", "dim"), no_wrap=True, overflow="ellipsis")

        def detail(words: str) -> None:
            latest[0] = first_line(words)

        with self._screen.progress(status):
            yield detail
        self._screen.say(Text(f"{visible(text)}: done in {duration(time.monotonic() - began)}", "dim"))

    def ask(self, question: str) -> bool:
        """Ask on a terminal; elsewhere say what is going to happen, and go on."""
        if not (self._screen.live and sys.stdin.isatty()):
            self.line(question)
            return True
        self._screen.talk.print(Text(f"{visible(question)} Go on? [y/N] "), end="")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
