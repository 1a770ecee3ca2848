"""`dreamdock dream`: turn what runs learned into what later ones know; look at dreams, and take one back."""

from __future__ import annotations

import functools
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

import click

from orchestrator.cli.options import with_repository, with_screen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.cli.screen import Screen
    from orchestrator.dreams import Dreams

P = ParamSpec("P")
R = TypeVar("R")
_UNAVAILABLE = 5
_WHICH = click.argument("which", metavar="[WHICH]", default="@")


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """Return a time; one without a zone is UTC."""
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("a time is 2026-11-26 or 2026-11-26T08:30:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _with_dreams(function: Callable[Concatenate[Screen, Dreams, P], R]) -> Callable[P, R]:
    """Give a command the dreams of a repository, and what says which."""

    @with_repository
    @with_screen
    @functools.wraps(function)
    def command(screen: Screen, /, *args: P.args, **kwargs: P.kwargs) -> R:
        from orchestrator.cli.door import opened

        repo, project = cast("Path | None", kwargs.pop("repo")), str(kwargs.pop("project"))
        with opened() as door:
            return function(screen, door.dreams(repo, project), *args, **kwargs)

    return command


@click.group(invoke_without_command=True)
@click.option("--since", metavar="TIME", callback=_moment, help="Read runs that ended since then, known ones again.")
@click.option("--dry-run", is_flag=True, help="Say what it would do; write nothing, try no command, ask no model.")
@with_repository
@click.pass_context
@with_screen
def dream(
    screen: Screen,
    ctx: click.Context,
    /,
    *,
    since: datetime | None,
    dry_run: bool,
    repo: Path | None,
    project: str,
) -> int:
    """Turn what a repository's runs learned into entries of the library.

    It reads the journals of the runs that ended since the last dream, merges what says the same, verifies what is
    known against the repository, settles contradictions or puts them to you, and archives what is of little use.
    All of it is one commit, with a report. The dream worker does it every week; this does it now, in this process.
    """
    from orchestrator.cli import dream_shown
    from orchestrator.cli.door import opened
    from orchestrator.dream.report import rfc
    from orchestrator.errors import UsageError

    if ctx.invoked_subcommand is not None:
        if since or dry_run or repo or project:
            name = ctx.invoked_subcommand
            raise UsageError(f"options of `dream {name}` stand behind it", hint=f"dreamdock dream {name} --help")
        return 0
    told = dream_shown.Following()
    with opened() as door:
        dreams = door.dreams(repo, project)
        with screen.progress(told.line):
            report = dreams.dream(since=since, dry_run=dry_run, progress=told.hear)
    since_too = ["--since", rfc(since)] if since else []
    where = [*(["--repo", str(repo)] if repo else []), *(["--project", project] if project else [])]
    dream_shown.report(screen, report, shlex.join(["dreamdock", "dream", *since_too, *where]))
    return _UNAVAILABLE if report.refused else 0


@dream.command("log")
@_with_dreams
def log(screen: Screen, dreams: Dreams, /) -> None:
    """List the dreams of the past, newest first."""
    from orchestrator.cli import dream_shown

    dream_shown.log(screen, dreams.project, dreams.listed())


@dream.command()
@_WHICH
@_with_dreams
def show(screen: Screen, dreams: Dreams, /, which: str) -> None:
    """Show what a dream did and why, and what it changed, page by page.

    WHICH is a dream's name or commit, or the start of one; without it the last one, @- is the one before.
    """
    from orchestrator.cli import dream_shown

    dream_shown.told(screen, dreams.told(which))


@dream.command()
@_WHICH
@_with_dreams
def revert(screen: Screen, dreams: Dreams, /, which: str) -> None:
    """Take back what a dream wrote, in a commit of yours.

    What people and later dreams changed since stays, and that is said. WHICH is as for `dream show`.
    """
    from orchestrator.cli import dream_shown

    dream_shown.reverted(screen, dreams.revert(which))
