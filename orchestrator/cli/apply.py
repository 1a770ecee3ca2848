"""`dreamdock apply`: put a run's changes onto a working tree."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.api import Door
    from orchestrator.cli.screen import Screen
    from orchestrator.delivery.patch import Applied


@click.command()
@run_argument
@click.option("--repo", metavar="PATH", default=".", help="Repository to change.  [default: the current folder's]")
@click.option("--allow-elsewhere", is_flag=True, help="Apply files that run elsewhere too, without asking.")
@with_screen
def apply(screen: Screen, /, run: str, repo: str, allow_elsewhere: bool) -> None:
    """Apply a run's changes to a repository.

    All of them or none; nothing is committed.
    Files that run on your machine or elsewhere by themselves (CI workflows, Makefile, .envrc, hooks, editor tasks) are
    named, and applied only after a yes.
    """
    from orchestrator.cli import document, wording
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        done = _apply(screen, door, run_id, Path(repo).absolute(), allow_elsewhere=allow_elsewhere)
    if screen.json:
        files = [file.model_dump(mode="json") for file in done.files]
        document.write("dreamdock.apply/1", {"run": run_id, "files": files, "elsewhere": list(done.asks)})
        return
    for line in wording.changes(done.files, limit=None):
        screen.line(line)
    if not done.files:
        screen.say("the run changed nothing")
        return
    screen.next("git status" if repo == "." else f"git -C {shlex.quote(repo)} status")


def _apply(screen: Screen, door: Door, run_id: str, repo: Path, *, allow_elsewhere: bool) -> Applied:
    """Apply, and on a terminal ask where the policy wants a person's word."""
    from orchestrator.cli.failure import explain, show
    from orchestrator.errors import DeniedError

    try:
        return door.apply(run_id, repo, allow_elsewhere=allow_elsewhere)
    except DeniedError as error:
        if not (screen.live and sys.stdin.isatty()):
            raise
        show(explain(error), as_json=False)
        if not click.confirm("Apply them all the same?", err=True):
            raise
    return door.apply(run_id, repo, allow_elsewhere=True)
