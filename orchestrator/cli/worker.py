"""`dreamdock worker`: carry runs forward, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.option(
    "--queue", type=click.Choice(["runs", "dream"]), default="runs", show_default=True, help="Queue to take jobs from."
)
@with_screen
def worker(screen: Screen, /, queue: str) -> None:
    """Carry runs forward, in this process.

    One run at a time, until SIGTERM or Ctrl-C; a run that is under way is then released, and another worker resumes it.
    `up` starts as many as the setting `workers` says.
    """
    from orchestrator import settings, worker
    from orchestrator.cli.door import answering

    answering(loaded := settings.load())
    screen.say(f"worker: waiting for {'runs' if queue == 'runs' else 'dreams'}; Ctrl-C ends it")
    worker.serve(loaded, queue=queue)
