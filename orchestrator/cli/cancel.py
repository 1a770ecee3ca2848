"""`dreamdock cancel`: stop a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen

_PENDING: Final = 8
_PATIENCE_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05


@click.command()
@run_argument
@with_screen
def cancel(screen: Screen, /, run: str) -> int:
    """Stop a run; its work is kept.

    Its container is gone within two seconds, and what it had committed can still be shown and applied.
    The exit code is 8 where its worker hasn't ended it yet after five seconds; it will, or its successor.
    """
    from rich.text import Text

    from orchestrator.cli import document, states
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        view = door.cancel(run_id)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while view.outcome is None and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
            view = door.show(run_id).view
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
    else:
        short = screen.id(run_id)
        screen.line(Text.assemble((short, "bold"), "  ", states.state(view)))
        screen.next(f"dreamdock show {short}", f"dreamdock diff {short}")
    return _PENDING if view.outcome is None else 0
