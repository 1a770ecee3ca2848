"""`dreamdock rewind`, `undo` and `redo`: take a run back to an earlier step, and forth again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.api import Asked, Door
    from orchestrator.cli.screen import Screen

_PENDING: Final = 8


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("step", metavar="N", type=click.IntRange(min=0))
@click.option("-m", "--message", metavar="TEXT", default="", help="What to tell the model with it.")
@with_screen
def rewind(screen: Screen, /, run: str, step: int, message: str) -> int:
    """Take a run back to an earlier step: files, shell and dialogue.

    All are as they were at its end; the run goes on from there, and nothing is erased.
    What git ignores stays; processes and /tmp are gone. A run that is over is taken up again.
    What it waits for a person with isn't asked any more.
    On a run that is under way it waits for the end of the step; the exit code is 8 where that takes over a minute.
    """
    from orchestrator.cli.door import without_secrets

    def ask(door: Door, run_id: str) -> Asked:
        return door.rewind(run_id, step, message=without_secrets(screen, door, message, "the message"))

    return _carry_out(screen, run, ask)


@click.command()
@run_argument
@with_screen
def undo(screen: Screen, /, run: str) -> int:
    """Take back a run's last step, or its last rewind.

    As `rewind` to what was before it; `redo` takes it back, before the run's next step.
    The run goes on from there at once, also one that was over: to have it wait, `pause` it first, or then right away.
    """
    return _carry_out(screen, run, lambda door, run_id: door.undo(run_id))


@click.command()
@run_argument
@with_screen
def redo(screen: Screen, /, run: str) -> int:
    """Take back the last undo."""
    return _carry_out(screen, run, lambda door, run_id: door.redo(run_id))


def _carry_out(screen: Screen, run: str, ask: Callable[[Door, str], Asked]) -> int:
    from orchestrator.cli import document
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        asked = ask(door, run_id)
        done = door.rewound(run_id, asked)
        view = door.show(run_id).view
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view), "rewound": done is not None})
    else:
        from orchestrator.cli.steps import what
        from orchestrator.cli.wording import commands
        from orchestrator.runs import State

        short, parked = screen.id(run_id), view.state is State.WAITING
        when = "when the run is resumed" if parked else "at the end of the step, unless the run ends with it"
        pending = f"asked for: it comes {when}"
        screen.line(f"step {done.step}: {what(done)}; the run goes on from there" if done else pending)
        on: tuple[str, ...] = (f"dreamdock {'resume' if parked else 'logs -f'} {short}",)
        on = commands(view.question, short) if view.question else on
        screen.next(*on, f"dreamdock steps {short}", f"dreamdock undo {short}")
    return 0 if done else _PENDING
