"""`dreamdock approve` and `deny`: a person's word on the step that a run waits with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("asked", metavar="[ID]", default="")
@with_screen
def approve(screen: Screen, /, run: str, asked: str) -> None:
    """Approve the step that a run waits with.

    It goes on at once, and isn't asked for that step again. With ID, a1 say, only if that is what it waits with.
    Spending is approved up to twice what was spent by then.
    """
    from orchestrator.cli.door import found
    from orchestrator.cli.heard import say

    with found(run) as (door, run_id):
        view = door.approve(run_id, asked)
    say(screen, view)


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("why", metavar="[WHY]", default="")
@with_screen
def deny(screen: Screen, /, run: str, why: str) -> None:
    """Deny it: the step is undone.

    The model is told, and WHY, and goes on without it.
    Where it is spending that needed an approval, the run ends with its work kept, as at a limit.
    """
    from orchestrator.cli.door import found, without_secrets
    from orchestrator.cli.heard import say

    with found(run) as (door, run_id):
        view = door.deny(run_id, without_secrets(screen, door, why, "the reason"))
    say(screen, view)
