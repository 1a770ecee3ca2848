"""`dreamdock steer`: tell the agent something while it works."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("text", metavar="TEXT")
@with_screen
def steer(screen: Screen, /, run: str, text: str) -> None:
    """Tell the agent of a run something.

    It sees it at its next step. TEXT is what to tell it; - reads it from standard input.
    Several messages are told together, in order, each once. A paused run is told when it goes on.
    An agent that is done is told before its run ends, and goes on. For a run that is over: `retry -m`.
    """
    from rich.text import Text

    from orchestrator.cli import document, states
    from orchestrator.cli.door import found, without_secrets
    from orchestrator.runs import LONGEST_TASK, State

    with found(run) as (door, run_id):
        said = sys.stdin.read(LONGEST_TASK + 1) if text == "-" else text
        view = door.steer(run_id, without_secrets(screen, door, said, "the message"))
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    short = screen.id(run_id)
    waiting = view.state is State.WAITING
    screen.line(Text.assemble((short, "bold"), "  ", states.state(view)))
    if view.question is not None:
        from orchestrator.cli.wording import commands

        screen.say("it will be told with the answer; the run still waits for that")
        screen.next(*commands(view.question, short))
        return
    screen.say("it will be told when the run is resumed" if waiting else "it will be told at its next step")
    screen.next(f"dreamdock {'resume' if waiting else 'logs -f'} {short}")
