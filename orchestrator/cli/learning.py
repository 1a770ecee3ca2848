"""The demo's moment with memory: what one run has to find out, the next one is told, and does in fewer steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from orchestrator.cli import layout, steps
from orchestrator.cli.door import told_away
from orchestrator.cli.text import lines, plural
from orchestrator.demo import MEMORY, bundled, make
from orchestrator.events import Recalled
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from orchestrator.api import Door
    from orchestrator.cli.reporter import TalkReporter
    from orchestrator.cli.screen import Screen
    from orchestrator.requests import RunRequest


def show(screen: Screen, reporter: TalkReporter, door: Door, folder: Path) -> bool:
    """Have two runs of one script do tasks of one kind, with a dream between. Returns whether the second was shorter.

    The first is given nothing, also where an earlier demo left something. Raises as a dream does.
    """
    made = make(bundled(MEMORY), folder)
    screen.say("")
    screen.say(f"what one run finds out the next one is told; on {made.name}, {made.about}:")
    asked = made.request.model_copy(update={"model": f"scripted/{made.script}"})
    first = _run(screen, reporter, door, asked.model_copy(update={"recall": 0}))
    with reporter.step("a dream keeps what it found out") as detail:
        report = door.dreams(Path(asked.repo)).dream(
            since=None, dry_run=False, progress=lambda now: detail(f"{now.phase} {now.what}".strip())
        )
    screen.line(f"dream: {plural(report.runs, 'run')} looked at: {report.words}")
    second = _run(screen, reporter, door, asked.model_copy(update={"task": made.then}))
    _given(screen, door, first, second)
    long, short = (door.show(run).view for run in (first, second))
    screen.line(f"one script, a task of the same kind: {long.step} steps without memory, {short.step} with it")
    return long.outcome is short.outcome is Outcome.SUCCEEDED and short.step < long.step


def _run(screen: Screen, reporter: TalkReporter, door: Door, request: RunRequest) -> str:
    """Have a run done, show its steps, and return its id."""
    run = door.submit(door.resolve(request)).id
    told = "told nothing (--recall 0)" if request.recall == 0 else "told what is known"
    screen.say(f"task: {request.task.strip()}")
    with reporter.step(f"run {screen.id(run)}, {told}"):
        for _ in door.listen(run, away=told_away(screen)):
            pass
    for row in steps.table(door.timeline(run)):
        screen.line(row)
    return run


def _given(screen: Screen, door: Door, first: str, second: str) -> None:
    """Show an entry that the second run was given, as its journal has it: one of the first run's, if there is one."""
    for event in door.events(second):
        if isinstance(event.body, Recalled):
            entries = event.body.text.split("\n\n[")[1:]
            ours = [entry for entry in entries if f"run {first} " in entry] or entries
            screen.say(f"what its journal has of memory, in event {event.seq}, with the run that it's from:")
            for row in lines(f"[{ours[0]}" if ours else ""):
                layout.beside(screen, Text(), Text(row))
