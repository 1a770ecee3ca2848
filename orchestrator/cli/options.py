"""What every command takes: `--json`, `--color`, `-v`; and the run that most of them are about."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.screen import Screen

P = ParamSpec("P")
R = TypeVar("R")


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
