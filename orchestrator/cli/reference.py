"""`docs/commands.md`, made from the commands themselves: `python -m orchestrator.cli.reference > docs/commands.md`."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli.root import EXIT_CODES, SECTIONS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHARED = ("as_json", "color", "verbose", "help")


def reference() -> str:
    """Return the command reference as Markdown."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    ctx = click.Context(cli, info_name="dreamdock")
    yield from ("# Commands", "", "Made by `python -m orchestrator.cli.reference`; don't edit.", "")
    yield from (_prose(cli), "")
    yield from ("Every command also takes:", "")
    some = cli.get_command(ctx, "ps") or cli
    yield from (_option(option, ctx) for option in some.params if option.name in _SHARED)
    for title, section in SECTIONS.items():
        yield from ("", f"## {title}")
        for name in section:
            command = cli.get_command(ctx, name)
            if command is not None:
                yield from _command(command, click.Context(command, parent=ctx, info_name=name))
    yield from ("", "## Exit codes", "", "| code | means |", "|---:|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES)
    yield from ("", "An exit code inside the sandbox is data: it is shown, and never becomes the command's own.")


def _command(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield from ("", f"### {ctx.command_path}", "", "```", _usage(command, ctx), "```", "", _prose(command))
    options = [_option(option, ctx) for option in command.params if _own(option)]
    yield from ("", *options) if options else ()
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _command(child, click.Context(child, parent=ctx, info_name=name))


def _usage(command: click.Command, ctx: click.Context) -> str:
    return f"{ctx.command_path} {' '.join(command.collect_usage_pieces(ctx))}"


def _prose(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").replace("...", "…")


def _own(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and option.name not in _SHARED


def _option(option: click.Parameter, ctx: click.Context) -> str:
    names, words = option.get_help_record(ctx) or ("", "")
    return f"- `{names}`: {words}"


if __name__ == "__main__":
    sys.stdout.write(reference())
