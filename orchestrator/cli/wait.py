"""`dreamdock wait`: block until runs are over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen

_PENDING: Final = 8


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@with_screen
def wait(screen: Screen, /, runs: tuple[str, ...]) -> int:
    """Wait for runs to end.

    The exit code is that of the first run, in the order given, that didn't succeed; else 0.
    Without RUN it waits for @, the latest run of this repository.
    A run that is paused, or waits for a person's word, is waited for.
    One that is parked because its attempts kept dying has exit code 8.
    """
    from rich.text import Text

    from orchestrator.cli import document, states
    from orchestrator.cli.door import opened, told_away

    codes = []
    with opened() as door:
        found = [door.find(run, Path.cwd()) for run in runs or ("@",)]
        for run_id in found:
            for _event in door.events(run_id, follow=True, away=told_away(screen)):
                pass
            view = door.show(run_id).view
            codes.append(_PENDING if view.outcome is None else states.EXIT_CODES[view.outcome])
            if screen.json:
                document.write("dreamdock.run/1", {"run": document.run_fields(view)})
            else:
                screen.line(Text.assemble((screen.id(run_id), "bold"), "  ", states.state(view)))
    return next((code for code in codes if code), 0)
