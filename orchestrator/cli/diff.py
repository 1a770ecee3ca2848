"""`dreamdock diff`: a run's changes as a patch."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.timeline import Timeline


@click.command()
@run_argument
@click.argument("steps", metavar="[N[..M]]", default="")
@with_screen
def diff(screen: Screen, /, run: str, steps: str) -> None:
    """Print a run's changes as a patch.

    From its base to where it is, in git's format; with N what step N changed, with N..M what was changed between the
    two, with N.. from then on, with ..M up to then.
    On a pipe the patch is byte for byte what `git apply` takes; on a terminal control characters are made visible.
    """
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        old, new = between(steps, door.timeline(run_id)) if steps else (None, None)
        patch = door.diff(run_id, old=old, new=new)
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
        if steps:
            screen.say("nothing changed between the two" if ".." in steps else f"step {steps} changed nothing")
        elif door.show(run_id).view.outcome is not None:
            screen.say("the run changed nothing")
        else:
            screen.say("no committed step has changed anything yet")
        return
    if screen.tty and not steps:
        screen.next(f"dreamdock apply {screen.id(run_id)}")


def between(steps: str, timeline: Timeline) -> tuple[int | None, int | None]:
    """Return the two moments that are meant; None for the base, or for where the run is. Raises UsageError."""
    first, dots, last = steps.partition("..")
    if not all(number.isdecimal() or (dots and not number) for number in (first, last if dots else first)):
        from orchestrator.errors import UsageError

        raise UsageError(
            f"{steps!r} names no steps",
            cause="it has to be N, N..M, N.. or ..M",
            hint=f"dreamdock steps {timeline.run}",
        )
    if dots:
        return (int(first) if first else None), (int(last) if last else None)
    moment = timeline.at(int(first))
    return moment.step if moment.before is None else moment.before, moment.step


def _write(run_id: str, patch: bytes) -> None:
    from orchestrator.cli import document

    try:
        fields = {"encoding": "utf-8", "patch": patch.decode()}
    except UnicodeDecodeError:
        fields = {"encoding": "base64", "patch": base64.b64encode(patch).decode()}
    document.write("dreamdock.diff/1", {"run": run_id, **fields})
