"""`dreamdock prune`: give up what is kept for nobody any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.cli.wording import Line
    from orchestrator.upkeep import Pruned


@click.command()
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Give up the checkpoints of runs that were over for N days.  [default: retention_days]",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@with_screen
def prune(screen: Screen, /, days: float | None, dry_run: bool) -> None:
    """Give up old runs' checkpoints, and what is cached beyond its quota.

    The keeper does it once a day; this does it now. Runs that aren't over lose nothing. A run that was pruned keeps its
    journal, its diff and its audit, and can't be rewound or forked any more. What was written within the last day comes
    free a day later.
    """
    from orchestrator.cli import document, layout
    from orchestrator.cli.door import opened

    with opened() as door:
        gone = door.prune(days=days, dry_run=dry_run)
    if screen.json:
        document.write("dreamdock.pruned/1", gone._asdict())
        return
    layout.put(screen, told(gone))
    same = "dreamdock prune" if days is None else f"dreamdock prune --days {days:g}"
    screen.next(same if dry_run else "dreamdock ps -a")


def told(gone: Pruned) -> list[Line]:
    """Return what went, or would go, as labelled lines."""
    from rich.text import Text

    from orchestrator.cli.text import count, plural
    from orchestrator.cli.wording import Line

    would = "would be given up" if gone.dry_run else "given up"
    caches = f"{plural(len(gone.checkouts), 'checkout')}, {plural(len(gone.layers), 'set-up layer')} {would}"
    lines = [Line("checkpoints", Text(f"of {plural(len(gone.runs), 'run')} {would}")), Line("caches", Text(caches))]
    if gone.runs:
        lines.append(Line("runs", Text(" ".join(gone.runs)), prose=True))
    freed = f"at least {count(gone.freed_bytes)}B would come free" if gone.dry_run else f"{count(gone.freed_bytes)}B"
    left = f"{count(gone.store_bytes)}B of repositories and checkpoints"
    return [*lines, Line("freed", Text(freed)), Line("there" if gone.dry_run else "left", Text(left))]
