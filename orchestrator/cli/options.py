"""What every command takes: `--json`, `--color`, `-v`; and the run or the repository that many are about."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.screen import Screen

P = ParamSpec("P")
R = TypeVar("R")
_PROJECT: Final = re.compile(r"[0-9a-f]{12}")


def with_screen(function: Callable[Concatenate[Screen, P], R]) -> Callable[P, R]:
    """Give a command the options that all have, and a Screen as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON; errors too.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Colour the output.",
        show_default=True,
    )
    @click.option("-v", "--verbose", count=True, help="Twice: show a traceback with an error.")
    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        from orchestrator.cli.screen import Screen

        del kwargs["verbose"]  # Read from the bare arguments, see `process.Manner`.
        screen = Screen(json=bool(kwargs.pop("as_json")), color=str(kwargs.pop("color")))
        return function(screen, *args, **kwargs)

    return command


run_argument = click.argument("run", metavar="[RUN]", default="@")


def with_repository(function: Callable[P, R]) -> Callable[P, R]:
    """Give a command `repo` and `project`: the repository that it's about, by where it is or by its id."""
    repo = click.option("--repo", type=click.Path(path_type=Path), help="Repository; without it the current folder's.")
    project = click.option(
        "--project", default="", metavar="ID", callback=_project_id, help="A repository that isn't here, by its id."
    )
    return repo(project(function))


def _project_id(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value and not _PROJECT.fullmatch(value):
        raise click.BadParameter("a repository's id is 12 hex digits: the first of its first commit")
    return value
