"""What is said of a run that just had a person's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli import document, states
from orchestrator.runs import State

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.runs import RunView


def say(screen: Screen, view: RunView) -> None:
    """Print where the run is now, and what to type next."""
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    short = screen.id(view.id)
    screen.line(Text.assemble((short, "bold"), "  ", states.state(view)))
    if view.state is State.WAITING:
        screen.say("somebody paused it meanwhile")
        screen.next(f"dreamdock resume {short}")
    else:
        screen.next(f"dreamdock logs -f {short}", f"dreamdock cancel {short}")
