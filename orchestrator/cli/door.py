"""The way to the runs, for commands."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.api import Door
    from orchestrator.cli.screen import Screen
    from orchestrator.settings import Settings


@contextmanager
def opened() -> Iterator[Door]:
    """Open the door that the settings lead to; nothing is sent before it is used."""
    from orchestrator import api, settings

    door = api.connect(settings.load())
    try:
        yield door
    finally:
        door.close()


def without_secrets(screen: Screen, door: Door, text: str, what: str) -> str:
    """Return what a person typed without secrets, and say on stderr how many were left out of `what`."""
    from orchestrator.cli.text import plural

    typed = door.typed(text)
    if typed.left_out:
        screen.say(f"{plural(typed.left_out, 'secret')} {'was' if typed.left_out == 1 else 'were'} left out of {what}")
    return typed.text


def told_away(screen: Screen) -> Callable[[], None]:
    """Return what tells a person that Redis is away while something follows a run."""
    return lambda: screen.say("Redis is away; waiting for it")


def answering(settings: Settings) -> None:
    """Return if Redis answers. Raises UnavailableError."""
    from orchestrator import api

    door = api.connect(settings)
    door.runs(include_done=False, limit=1)
    door.close()


@contextmanager
def found(reference: str) -> Iterator[tuple[Door, str]]:
    """Open the door and find a run; `@` is the latest of the repository of the current folder."""
    with opened() as door:
        yield door, door.find(reference, Path.cwd())
