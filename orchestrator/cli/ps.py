"""`dreamdock ps`: which runs there are and what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Finished runs too.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=50,
    show_default=True,
    help="Most runs, newest first.",
)
@click.option("--watch", is_flag=True, help="Keep the table on the terminal, fresh each second; q leaves.")
@with_screen
def ps(screen: Screen, /, everything: bool, limit: int, watch: bool) -> None:
    """List runs.

    Without -a only those that aren't done.
    One that can't be read, because it isn't as it was written, is named on standard error.
    With --json: {"schema": "dreamdock.ps/1", "runs": [...], "damaged": [...]}; with --watch such a line each second.
    """
    from orchestrator.cli import listing
    from orchestrator.cli.door import opened

    with opened() as door:
        if watch:
            listing.watch(screen, lambda: door.runs(include_done=everything, limit=limit))
        else:
            listing.show(screen, door.runs(include_done=everything, limit=limit), everything=everything)
