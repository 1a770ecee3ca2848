"""`dreamdock pause` and `resume`: let a run wait without a worker, and go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.api import Door
    from orchestrator.cli.screen import Screen
    from orchestrator.runs import RunView

_PENDING: Final = 8
_PATIENCE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


@click.command()
@run_argument
@click.option("--now", is_flag=True, help="Don't finish the step under way: what it did is undone.")
@with_screen
def pause(screen: Screen, /, run: str, now: bool) -> int:
    """Let a run wait, without a worker.

    It finishes its step first; then its container goes, until you resume it.
    What it committed is kept: files, shell and dialogue.
    Processes, /tmp and what git ignores are gone, and its time doesn't run.
    The exit code is 8 where the end of the step takes over a minute; the pause still comes then.
    One that waits for a person's word can have it all the same, and then waits on.
    """
    from orchestrator.cli.door import found
    from orchestrator.runs import State

    with found(run) as (door, run_id):
        view = _waiting(door, door.pause(run_id, now=now))
    short = screen.id(run_id)
    over = view.state is State.DONE  # It ended with the step.
    if view.question is not None:
        screen.say("it waits for a person's word already; when that has come, it waits on")
    _say(screen, view, f"dreamdock show {short}" if over else f"dreamdock resume {short}", f"dreamdock diff {short}")
    return 0 if view.state is State.WAITING else 1 if over else _PENDING


@click.command()
@run_argument
@with_screen
def resume(screen: Screen, /, run: str) -> None:
    """Let a paused run go on.

    Also one that is parked because its attempts kept dying. A pause that hasn't come yet is taken back.
    One that waits for a person's word goes on with that: `answer`, `approve`, `deny`.
    """
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        view = door.resume(run_id)
    short = screen.id(run_id)
    _say(screen, view, f"dreamdock logs -f {short}", f"dreamdock pause {short}")


def _waiting(door: Door, view: RunView) -> RunView:
    """Return the run as soon as it waits or is over, or as it is after a minute."""
    from orchestrator.runs import State

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while view.pausing and view.state is not State.WAITING and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        view = door.show(view.id).view
    return view


def _say(screen: Screen, view: RunView, *next_: str) -> None:
    from rich.text import Text

    from orchestrator.cli import document, states

    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    screen.line(Text.assemble((screen.id(view.id), "bold"), "  ", states.state(view)))
    screen.next(*next_)
