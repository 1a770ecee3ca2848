"""`dreamdock retry`: take a run up again that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen


@click.command()
@run_argument
@click.option("-m", "--message", metavar="TEXT", default="", help="What to tell the model with it.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="So many steps more than it has taken.")
@click.option(
    "--money", type=click.FloatRange(min=0, min_open=True), metavar="USD", help="So much more than it has spent."
)
@click.option("--tokens", type=click.IntRange(min=1), metavar="N", help="So many more than it has used.")
@click.option("--seconds", type=click.IntRange(min=1), metavar="N", help="Most time from its next start.")
@with_screen
def retry(screen: Screen, /, *, run: str, message: str, money: float | None, **more: int | None) -> None:
    """Take a run up again that is over.

    One that failed, was cancelled or reached a limit goes on from its last step.
    It has its files, shell and dialogue, and is told how it had ended.
    Its limits stay unless you extend them, but for the time, which begins anew. One that succeeded takes a message.
    """
    from rich.text import Text

    from orchestrator.cli import document, states
    from orchestrator.cli.door import found, without_secrets
    from orchestrator.steering import More

    with found(run) as (door, run_id):
        said = without_secrets(screen, door, message, "the message")
        view = door.retry(run_id, More(money_usd=money, **more), message=said)
    if screen.json:
        document.write("dreamdock.run/1", {"run": document.run_fields(view)})
        return
    short = screen.id(run_id)
    screen.line(Text.assemble((short, "bold"), "  ", states.state(view)))
    screen.next(f"dreamdock logs -f {short}", f"dreamdock pause {short}", f"dreamdock cancel {short}")
