"""`dreamdock config show`: the settings, and where each comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.group()
def config() -> None:
    """Look at the settings.

    Flags win over DREAMDOCK_* variables, then the user's file, the system's file, the defaults.
    """


@config.command()
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@with_screen
def show(screen: Screen, /, origin: bool) -> None:
    """Print the settings in force.

    Passwords in addresses are hidden. Model keys are no settings: they come from the environment alone.
    """
    from rich.text import Text

    from orchestrator import origins, settings
    from orchestrator.cli import document, layout
    from orchestrator.cli.text import visible

    told = origins.origins(settings.load(), os.environ)
    if screen.json:
        fields = {name: {"value": value, "origin": source} for name, (value, source) in told.items()}
        document.write("dreamdock.config/1", {"settings": fields})
        return
    rows = [
        [
            Text(name),
            Text("(not set)", "dim") if value is None else Text(visible(str(value))),
            *([Text(visible(source), "dim")] if origin else []),
        ]
        for name, (value, source) in told.items()
    ]
    for line in layout.table(rows):
        screen.line(line)
