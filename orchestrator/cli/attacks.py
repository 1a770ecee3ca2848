"""`dreamdock doctor --attack`: promise, attempt and result of every escape check, on a page that can be signed."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.text import Text

from orchestrator.cli import document, layout
from orchestrator.cli.terminal_attack import TERMINAL
from orchestrator.cli.text import moment, visible
from orchestrator.cli.wording import Line
from orchestrator.errors import ConfigError, DeniedError
from sandbox import engine, images
from sandbox.attack.suite import CHECKS, attack

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.settings import Settings
    from sandbox.attack.suite import Verdict

ALL: Final = (*CHECKS, TERMINAL)
"""Every check: those of the sandbox, and that of what is printed."""

_AGAIN: Final = f"sudo {Path(sys.executable).with_name('dreamdock')} doctor --attack"


def carry_out(screen: Screen, settings: Settings) -> int:
    """Attack a real sandbox and print each verdict as it comes. Returns 0 where every promise held, else 1."""
    if os.geteuid() != 0:
        raise DeniedError("only root may attack a sandbox", cause="root mounts what a sandbox works on", hint=_AGAIN)
    about = _about(settings)
    if not screen.json:
        layout.facts(screen, about)
        screen.line()
    told = []
    doing = ["opening a sandbox"]
    with screen.progress(lambda: Text(doing[0], "dim", no_wrap=True, overflow="ellipsis")):
        for number, verdict in enumerate(attack(about["image"], settings.state_dir / "attack", ALL), start=1):
            told.append(verdict)
            doing[0] = f"{number} of {len(ALL)} done"
            if not screen.json:
                layout.put(screen, lines(verdict))
    held = sum(verdict.held for verdict in told)
    if screen.json:
        verdicts = [asdict(verdict) for verdict in told]
        document.write("dreamdock.attack/1", {"about": about, "held": held, "of": len(ALL), "verdicts": verdicts})
    else:
        _sum_up(screen, held)
    return 0 if held == len(ALL) else 1


def lines(verdict: Verdict) -> list[Line]:
    """Return a verdict as labelled lines."""
    label = "✓ held" if verdict.held else "✗ NOT HELD"
    style = "" if verdict.held else "red"
    return [
        Line(label, Text.assemble((visible(verdict.promise), "bold"), (f"  {verdict.id}", "dim")), prose=True),
        Line("  attempt", Text(visible(verdict.attempt)), prose=True),
        Line("  result", Text(visible(verdict.result), style), prose=True),
    ]


def _about(settings: Settings) -> dict[str, str]:
    """Return what is attacked. Raises EngineUnavailable, ImageMissing, ConfigError."""
    found = engine.ping()
    image = images.named(settings.image) if settings.image else images.find(images.BASE)
    if image is None:
        raise ConfigError("the base image isn't built yet", hint="dreamdock up")
    images.check(image)
    return {
        "dreamdock": version("dreamdock"),
        "image": image,
        "engine": f"{found.version}, storage {found.storage_driver}, cgroup v{found.cgroup_version}",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": platform.node(),
        "limits": "those of this trial, lower than a run's",
        "time": moment(datetime.now(UTC)),
    }


def _sum_up(screen: Screen, held: int) -> None:
    screen.line()
    words = f"{held} of {len(ALL)} promises held"
    good = held == len(ALL)
    screen.line(Text(f"{'✓' if good else '✗'} {words}", "green" if good else "red"))
