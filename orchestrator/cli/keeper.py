"""`dreamdock keeper`: resume lost runs and clean up, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@with_screen
def keeper(screen: Screen, /) -> None:
    """Resume lost runs and clean up, in this process.

    Until SIGTERM or Ctrl-C. `up` starts one; any number may run.
    """
    from orchestrator import keeper, settings
    from orchestrator.cli.door import answering

    answering(loaded := settings.load())
    screen.say("keeper: looking after the runs; Ctrl-C ends it")
    keeper.serve(loaded)
