"""`dreamdock audit`: what a run executed and wrote, and whether its journal is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.audit import Audit
    from orchestrator.cli.screen import Screen


@click.command()
@run_argument
@click.option("--verify", is_flag=True, help="Say whether the journal's hash chain is whole, and where it ends.")
@with_screen
def audit(screen: Screen, /, run: str, verify: bool) -> int:
    """List what a run executed and wrote; verify its journal.

    Each command with its exit code inside the sandbox, each file changed, each verdict.
    The exit code is 1 where the journal isn't as it was written.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        told = door.audit(run_id)
    code = 0 if told.check.ok else 1
    if screen.json:
        entries = [entry.model_dump(mode="json") for entry in told.entries]
        chain = {"verified": told.check.ok, "broken_at": told.check.broken_at or None, "why": told.check.why}
        chain |= {"events": told.check.events, "head": told.check.head}
        document.write("dreamdock.audit/1", {"run": run_id, "entries": entries, **chain})
        return code
    show(screen, told, verify=verify)
    return code


def show(screen: Screen, told: Audit, *, verify: bool) -> None:
    """Print the entries; with `verify`, or where something is wrong, also what the check of the hash chain found."""
    for line in table(told):
        screen.line(line)
    if verify or not told.check.ok:
        screen.whole(chain_line(told))


def table(told: Audit) -> list[Text]:
    """Return the entries as aligned lines."""
    from rich.text import Text

    from orchestrator.cli import layout
    from orchestrator.cli.text import duration, first_line

    rows = [[Text(word, "dim") for word in ("SEQ", "TIME", "STEP", "KIND", "EXIT", "TOOK", "WHAT")]]
    rows += [
        [
            Text(str(entry.seq), "dim"),
            Text(f"{entry.at:%H:%M:%S}", "dim"),
            Text("" if entry.step is None else str(entry.step)),
            Text(entry.kind),
            Text("" if entry.exit_code is None else str(entry.exit_code), "red" if entry.exit_code else ""),
            Text("" if entry.duration_s is None else duration(entry.duration_s), "dim"),
            Text(first_line(entry.text)),
        ]
        for entry in told.entries
    ]
    return layout.table(rows, right=(0, 2, 4, 5))


def chain_line(told: Audit) -> Text:
    """Return what the check of the hash chain found."""
    from rich.text import Text

    from orchestrator.cli.text import plural, visible

    if told.check.ok:
        chained = f" · {plural(told.check.events, 'event')} chained · head {told.check.head}"
        return Text.assemble(("✓ verified", "green"), chained)
    return Text.assemble(("✗ not as it was written", "red"), f" · {visible(told.check.why)}")
