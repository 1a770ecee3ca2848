"""`dreamdock cancel`: stop a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@run_argument
@with_screen
def cancel(screen: Screen, /, run: str) -> None:
    """Stop a run; its work is kept.

    Its container is gone within two seconds, and what it had committed can still be shown and applied.
    """
    from rich.text import Text

    from orchestrator.cli import document, states
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        view = door.cancel(run_id)
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    short = screen.id(run_id)
    screen.line(Text.assemble((short, "bold"), "  ", states.state(view)))
    screen.next(f"dreamdock show {short}", f"dreamdock diff {short}")
