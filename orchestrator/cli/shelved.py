"""What pages of the library have in common where they are shown, entries and skills alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from orchestrator.cli.text import moment, visible
from orchestrator.cli.wording import Line
from orchestrator.library.sharing import later

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.cli.screen import Screen
    from orchestrator.library.history import Written

COMMIT: Final = 8
"""Hex digits of a commit that people are shown."""


def changes(history: Iterable[Written]) -> Iterator[Line]:
    """Return which commits changed something, and who wrote them, as labelled lines."""
    commits = (f"{moment(one.at)} {one.commit[:COMMIT]} {visible(one.who)}: {visible(one.message)}" for one in history)
    return labelled("changed", commits)


def history_fields(history: Iterable[Written]) -> list[dict[str, Any]]:
    """Return commits as JSON."""
    return [{**one._asdict(), "at": f"{one.at:%Y-%m-%dT%H:%M:%SZ}"} for one in history]


def labelled(label: str, rows: Iterable[str]) -> Iterator[Line]:
    """Yield a line for each row; the first has the label."""
    for number, row in enumerate(rows):
        yield Line(label if number == 0 else "", Text(row), prose=True)


def warn(screen: Screen, text: str) -> None:
    """Say what a person should know, on stderr."""
    screen.say(Text.assemble(("warning: ", "bold yellow"), visible(text)))


def say_away(screen: Screen, away: str) -> None:
    """Say on stderr that the remote doesn't have a write yet, and why."""
    if away:
        warn(screen, later(away))
