"""`dreamdock worker`: carry runs forward, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@with_screen
def worker(screen: Screen, /) -> None:
    """Carry runs forward, in this process.

    One run at a time, until SIGTERM or Ctrl-C; a run that is under way is then released, and another worker resumes it.
    `up` starts as many as the setting `workers` says.
    """
    from orchestrator import settings, worker
    from orchestrator.cli.door import answering

    answering(loaded := settings.load())
    screen.say("worker: waiting for runs; Ctrl-C ends it")
    worker.serve(loaded)
