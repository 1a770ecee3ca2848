"""`dreamdock up` and `dreamdock down`: what runs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@with_screen
def up(screen: Screen, /) -> None:
    """Start what is missing on this machine.

    A container engine, the base image, Redis, a keeper and the workers. Twice is as good as once.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.cli.reporter import TalkReporter
    from orchestrator.stack.up import ensure_up

    started = ensure_up(settings.load(), TalkReporter(screen))
    if screen.json:
        document.write("dreamdock.up/1", {"up": True, "started": started})
        return
    screen.line("up" if started else "everything was up")
    screen.next('dreamdock run "fix the failing tests"', "dreamdock down")


@click.command()
@with_screen
def down(screen: Screen, /) -> None:
    """Stop what `up` started.

    Runs under way are released and resumed after the next `up`; the container engine stays.
    """
    from orchestrator import settings
    from orchestrator.cli import document
    from orchestrator.stack.up import take_down

    stopped = take_down(settings.load())
    if screen.json:
        document.write("dreamdock.down/1", {"up": False, "stopped": stopped})
        return
    screen.line("down" if stopped else "nothing was up")
    screen.next("dreamdock up")
