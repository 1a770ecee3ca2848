"""`dreamdock export`: a run in a file that can be handed on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.models.cassette import Match


@click.command()
@run_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["cassette"]),
    default="cassette",
    help="cassette: the model's replies, to be replayed with --model scripted/FILE.",
    show_default=True,
)
@click.option(
    "--match",
    type=click.Choice(["step", "request"]),
    default="step",
    help="Find a reply by its step, or by what is asked: then a run that goes another way ends with an error.",
    show_default=True,
)
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(path_type=Path), help="Write to a file, not to stdout."
)
@click.option("--force", is_flag=True, help="Overwrite the file.")
@with_screen
def export(screen: Screen, /, run: str, *, form: str, match: str, path: Path | None, force: bool) -> None:
    """Write a run's replies to a file that can be replayed.

    The replies of all committed steps, and the last one where its step isn't committed yet.
    What looks like a credential is replaced by [redacted]; read the file before you hand it on all the same.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        text = door.cassette(run_id, match=cast("Match", match))
    if path is not None:
        _write(path, text, force=force)
    if screen.json:
        where = {"content": text} if path is None else {"file": str(path)}
        document.write("dreamdock.export/1", {"run": run_id, "format": form, "match": match, **where})
    elif path is None:
        sys.stdout.write(text)  # Everything beyond ASCII is escaped in it: it is safe on a terminal too.
        sys.stdout.flush()
    else:
        screen.say("what looks like a credential is left out; read it before you hand it on")
        screen.next(f'dreamdock run --model scripted/{shlex.quote(str(path))} "…"')


def _write(path: Path, text: str, *, force: bool) -> None:
    from orchestrator.errors import UsageError

    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", hint="--force overwrites it; or name another with -o") from error
