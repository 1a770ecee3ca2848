"""`dreamdock answer`: answer the question that a run waits with."""

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
def answer(screen: Screen, /, run: str, text: str) -> None:
    """Answer the question that a run waits with.

    TEXT is the answer, or the number of an option; - reads it from standard input.
    The run goes on with it at once; `show` says what it asks, and until when.
    """
    from orchestrator.cli.door import found, without_secrets
    from orchestrator.cli.heard import say
    from orchestrator.runs import LONGEST_TASK

    with found(run) as (door, run_id):
        said = sys.stdin.read(LONGEST_TASK + 1) if text == "-" else text
        view = door.answer(run_id, without_secrets(screen, door, said, "the answer"))
    say(screen, view)
