"""What `dreamdock demo` does: the real commands, one after the other, each shown as it would be typed."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator import settings
from orchestrator.cli import audit, listing, submission
from orchestrator.cli.door import opened
from orchestrator.cli.reporter import TalkReporter
from orchestrator.cli.text import first_line, visible
from orchestrator.demo import REAL, prepare
from orchestrator.models import SCRIPTED, default_model

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.demo import Prepared


def carry_out(screen: Screen) -> int:
    """Prepare the project, run the job, list the runs, audit it. Returns the run's exit code."""
    loaded = settings.load()
    with TalkReporter(screen).step("fetching a project with a known bug"):
        prepared = prepare(loaded.state_dir)
    scripted = (loaded.model or default_model(os.environ)) == SCRIPTED
    _introduce(screen, prepared, scripted=scripted)
    request = prepared.request
    if scripted:
        request = request.model_copy(update={"model": f"{SCRIPTED}/{prepared.script}"})
    _typed(screen, f"dreamdock run {shlex.quote(first_line(request.task))} --repo {shlex.quote(request.repo)}")
    code = submission.carry_out(screen, request)
    if screen.json or code == submission.DETACHED:
        return code
    with opened() as door:
        runs = door.runs(include_done=True, limit=5)
        told = door.audit(runs[0].view.id)
    _typed(screen, "dreamdock ps -a")
    for line in listing.table(screen, runs, datetime.now(UTC)):
        screen.line(line)
    _typed(screen, f"dreamdock audit {screen.id(runs[0].view.id)} --verify")
    for line in [*audit.table(told), audit.chain_line(told)]:
        screen.line(line)
    screen.next('dreamdock run "what you want done" --repo PATH', "dreamdock down")
    return code


def _introduce(screen: Screen, prepared: Prepared, *, scripted: bool) -> None:
    """Say what is going to be mended, by whom."""
    screen.say(Text.assemble((visible(prepared.name), "bold"), f": {visible(prepared.about)}"))
    if prepared.script.stem != REAL:
        screen.say("The package index can't be reached, so a small project of our own stands in for a real one.")
    if scripted:
        screen.say(
            "No model key is set, so the scripted model that ships with the package answers: its words are written in "
            "advance, its commands run for real."
        )


def _typed(screen: Screen, command: str) -> None:
    if not screen.json:
        screen.line()
        screen.line(Text(f"$ {command}", "bold"))
