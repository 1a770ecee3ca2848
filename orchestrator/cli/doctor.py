"""`dreamdock doctor`: proof that this machine works."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.cli.screen import Screen
    from orchestrator.settings import Settings
    from orchestrator.stack.check import HostCheck


@click.command()
@click.option("--attack", is_flag=True, help="Try to escape from a real sandbox, and tell promise, attempt and result.")
@click.option("--model", metavar="FAMILY/NAME", help="Ask this model to call a tool, too.")
@click.option("--base-url", metavar="URL", help="Endpoint of the model, if not the family's own.")
@with_screen
def doctor(screen: Screen, /, attack: bool, model: str | None, base_url: str | None) -> int:
    """Prove that this machine works; attack a real sandbox.

    Each check does the thing rather than reading that it could.
    With --model, one small request proves its key, its endpoint, and that it streams and calls tools.
    The exit code is 1 where something isn't as it should be, or a promise didn't hold.
    """
    from orchestrator import settings
    from orchestrator.errors import UsageError

    if attack and model:
        raise UsageError("--attack asks no --model", hint="dreamdock doctor --attack")
    if base_url and not model:
        hint = f"dreamdock doctor --model openai-compatible/NAME --base-url {base_url}"
        raise UsageError("--base-url is a model's, and there is none", hint=hint)
    loaded = settings.load()
    if attack:
        from orchestrator.cli import attacks

        return attacks.carry_out(screen, loaded)
    return report(screen, _checks(loaded, model, base_url))


def _checks(settings: Settings, model: str | None, base_url: str | None) -> Iterator[HostCheck]:
    from orchestrator.stack.checks import host_checks

    yield from host_checks(settings)
    if model is not None:
        from orchestrator.stack.model_checks import model_checks

        yield from model_checks(settings, model, base_url or "", os.environ)


def report(screen: Screen, checks: Iterable[HostCheck]) -> int:
    """Print checks as they come. Returns the exit code."""
    from rich.text import Text

    from orchestrator.cli import document
    from orchestrator.cli.layout import LABEL, beside
    from orchestrator.cli.text import visible

    told: list[dict[str, Any]] = []
    for check in checks:
        remedy = "" if check.ok else check.remedy
        told.append({"name": check.name, "ok": check.ok, "found": check.found, "try": remedy})
        if screen.json:
            continue
        glyph = ("✓ ok   ", "green") if check.ok else ("✗ wrong", "red")
        name = visible(check.name).ljust(LABEL)
        again = not check.ok and any(check.found == before["found"] for before in told[:-1])
        found = "as above" if again else " ".join(visible(check.found).split())
        beside(screen, Text.assemble(glyph, f"  {name}  "), Text(found, "dim"))
        if remedy and remedy not in {before["try"] for before in told[:-1]}:  # What mends several is said once.
            beside(screen, Text(f"{'try:':>{len(glyph[0])}}  "), Text(visible(remedy)))
    wrong = sum(not check["ok"] for check in told)
    if screen.json:
        document.write("dreamdock.doctor/1", {"ok": not wrong, "checks": told})
    elif not wrong:
        screen.next("dreamdock doctor --attack", 'dreamdock run "fix the failing tests"')
    return 1 if wrong else 0
