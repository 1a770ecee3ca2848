"""`dreamdock doctor`: proof that this machine works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.cli.screen import Screen
    from orchestrator.stack.checks import HostCheck


@click.command()
@click.option("--attack", is_flag=True, help="Try to escape from a real sandbox, and tell promise, attempt and result.")
@with_screen
def doctor(screen: Screen, /, attack: bool) -> int:
    """Prove that this machine works; attack a real sandbox.

    Each check does the thing rather than reading that it could.
    The exit code is 1 where something isn't as it should be, or a promise didn't hold.
    """
    from orchestrator import settings

    loaded = settings.load()
    if attack:
        from orchestrator.cli import attacks

        return attacks.carry_out(screen, loaded)
    from orchestrator.stack.checks import host_checks

    return report(screen, host_checks(loaded))


def report(screen: Screen, checks: Iterable[HostCheck]) -> int:
    """Print checks as they come. Returns the exit code."""
    from rich.text import Text

    from orchestrator.cli import document
    from orchestrator.cli.layout import LABEL
    from orchestrator.cli.text import visible

    told: list[dict[str, Any]] = []
    for check in checks:
        remedy = "" if check.ok else check.remedy
        told.append({"name": check.name, "ok": check.ok, "found": check.found, "try": remedy})
        if screen.json:
            continue
        glyph = ("✓ ok   ", "green") if check.ok else ("✗ wrong", "red")
        name = visible(check.name).ljust(LABEL)
        screen.whole(Text.assemble(glyph, f"  {name}  ", (" ".join(visible(check.found).split()), "dim")))
        if remedy:
            screen.whole(Text(f"{'try:':>{len(glyph[0])}}  {visible(remedy)}"))
    wrong = sum(not check["ok"] for check in told)
    if screen.json:
        document.write("dreamdock.doctor/1", {"ok": not wrong, "checks": told})
    elif not wrong:
        screen.next("dreamdock doctor --attack", 'dreamdock run "fix the failing tests"')
    return 1 if wrong else 0
