"""`dreamdock logs`: what a run did, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Stay until the run is over. Ctrl-C leaves; the run goes on.")
@with_screen
def logs(screen: Screen, /, run: str, follow: bool) -> None:
    """Print what a run did, or follow it.

    With --json one event a line, everything in it; without, only the end of each output.
    While you follow, what the model is just saying is shown as it comes.
    """
    from orchestrator.cli import wording
    from orchestrator.cli.door import found, told_away
    from orchestrator.cli.follow import tell
    from orchestrator.cli.layout import put

    with found(run) as (door, run_id):
        events = door.listen(run_id, away=told_away(screen)) if follow else door.events(run_id)
        end, outcome = tell(screen, run_id, events, progress=follow)
        if not screen.json and outcome:
            put(screen, [*end, *wording.costs(door.costs(run_id))])
