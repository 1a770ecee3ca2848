"""`dreamdock fork`: a new run from a step of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="N", type=click.IntRange(min=0))
@click.option("-m", "--message", metavar="TEXT", default="", help="What to tell the model at its beginning.")
@with_screen
def fork(screen: Screen, /, run: str, step: int, message: str) -> None:
    """Start a new run from a step of another one.

    It has that step's files and dialogue, and its own journal, limits and cost; the other run stays as it is.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import found, without_secrets

    with found(run) as (door, run_id):
        view = door.fork(run_id, step, message=without_secrets(screen, door, message, "the message"))
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    short = screen.id(view.id)
    screen.line(view.id)
    screen.next(f"dreamdock logs -f {short}", f"dreamdock steps {short}", f"dreamdock cancel {short}")
