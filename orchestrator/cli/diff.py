"""`dreamdock diff`: a run's changes as a patch."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@run_argument
@with_screen
def diff(screen: Screen, /, run: str) -> None:
    """Print a run's changes as a patch.

    From its base to its last committed step, in git's format.
    On a pipe the patch is byte for byte what `git apply` takes; on a terminal control characters are made visible.
    """
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        patch = door.diff(run_id)
    if screen.json:
        _write(run_id, patch)
    elif not screen.tty:
        sys.stdout.flush()
        sys.stdout.buffer.write(patch)
    else:
        from orchestrator.cli.patch import coloured

        for line in coloured(patch):
            screen.whole(line)
    if not patch:
        done = door.show(run_id).view.outcome is not None
        screen.say("the run changed nothing" if done else "no committed step has changed anything yet")
        return
    if screen.tty:
        screen.next(f"dreamdock apply {screen.id(run_id)}")


def _write(run_id: str, patch: bytes) -> None:
    from orchestrator.cli import document

    try:
        fields = {"encoding": "utf-8", "patch": patch.decode()}
    except UnicodeDecodeError:
        fields = {"encoding": "base64", "patch": base64.b64encode(patch).decode()}
    document.write("dreamdock.diff/1", {"run": run_id, **fields})
