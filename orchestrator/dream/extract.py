"""What a run teaches, as its journal has it: no model is asked, so that nothing is in it which didn't happen.

Steps that were undone teach nothing: the working memory is that of the steps which count, and so are the commands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.dream.finding import Finding, Whose
from orchestrator.memory.plain import one_line
from orchestrator.memory.working import FIXED
from orchestrator.notes import NoteKind
from orchestrator.runs import Outcome
from orchestrator.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.dream.finding import Kind
    from orchestrator.events import Event
    from orchestrator.notes import Note, WorkingMemory
    from orchestrator.timeline import Moment

LONGEST: Final = 2_000
"""Characters of a finding."""
_DETOUR: Final = 3
"""An error that took so many steps to end is a pitfall, told or not."""
_KINDS: Final[dict[NoteKind, Kind]] = {
    NoteKind.DECISION: "decision",
    NoteKind.FACT: "fact",
    NoteKind.CONSTRAINT: "convention",
}
_TESTS: Final = re.compile(
    r"\b(?:pytest|tox|nox|unittest|ctest|rspec|phpunit|jest|vitest|mocha)\b"
    r"|\b(?:go|cargo|dotnet|swift|mix|zig)\s+(?:test|build|nextest|vet|clippy|check)\b"
    r"|\b(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?(?:test|build|check|lint)\b|\b(?:mvn|gradle|gradlew|bazel|ninja|cmake)\b"
    r"|\bmake(?:\s+-\S+)*\s+(?:test|check|all|build|lint)\b|\b(?:ruff|mypy|flake8|eslint|tsc)\b"
)
"""What builds or tests something, to be told from what only looks."""
_ONCE: Final = re.compile(r"[<>|;&\n]|\bcd\b|/tmp/")
"""What a command has in it that was made for one occasion."""


def extract(run: str, events: Sequence[Event]) -> tuple[Finding, ...]:
    """Return what a run teaches, each finding once, in the order of its steps. Raises JournalError for no run's."""
    timeline = Timeline(events, run)
    line = {moment.step: moment for moment in timeline.line(timeline.now)}
    context = Projection().follow(events)
    last = next((event.body for event in reversed(events) if isinstance(event.body, e.Finished)), None)
    accepted = last is not None and last.outcome is Outcome.SUCCEEDED
    found = [
        *_of_people(run, context.memory),
        *_of_notes(run, context.memory),
        *_of_commands(run, events, line),
    ]
    known = tuple(sorted({file.path for moment in line.values() for file in moment.files}))
    unique = {(one.kind, one.text): one for one in reversed(found)}
    ordered = sorted(unique.values(), key=lambda one: one.steps)
    return tuple(_placed(one, line, known, accepted=accepted) for one in ordered)


def _of_people(run: str, memory: WorkingMemory) -> Iterator[Finding]:
    """Yield what people said to the agent while it worked: they saw something that it didn't know."""
    for said in memory.said:
        text = one_line(said.text, LONGEST)
        yield Finding(kind="convention", text=text, whose=Whose.PERSON, run=run, steps=(said.step,))


def _of_notes(run: str, memory: WorkingMemory) -> Iterator[Finding]:
    for note in memory.notes:
        if note.kind is NoteKind.ERROR and note.state == FIXED and _worth_telling(note):
            text = one_line(f"{note.text} — {note.why}", LONGEST)
            whose = Whose.HARNESS if note.by == "harness" else Whose.AGENT
            yield Finding(kind="pitfall", text=text, whose=whose, run=run, steps=_steps(note))
        elif note.by == "agent" and (kind := _KINDS.get(note.kind)):
            text = one_line(f"{note.text} — {note.why}" if note.why else note.text, LONGEST)
            yield Finding(kind=kind, text=text, whose=Whose.AGENT, run=run, steps=_steps(note))


def _worth_telling(error: Note) -> bool:
    return bool(error.why) and (error.by == "agent" or error.changed - error.step >= _DETOUR)


def _steps(note: Note) -> tuple[int, ...]:
    return (note.step, note.changed) if note.changed > note.step else (note.step,)


def _of_commands(run: str, events: Sequence[Event], line: dict[int, Moment]) -> Iterator[Finding]:
    """Yield the commands that built or tested something and passed, and the one that the work was accepted by."""
    commands = {
        event.body.call.id: str(event.body.call.arguments.get("command", ""))
        for event in events
        if isinstance(event.body, e.CallStarted) and event.body.call.name == "bash"
    }
    for event in events:
        match event.body:
            case e.CallFinished(step=step, exit_code=0) as ended if step in line:
                command = commands.get(ended.result.call_id, "").strip()
                if _TESTS.search(command) and not _ONCE.search(command):
                    text = one_line(f"`{command}` passes", LONGEST)
                    more = {"whose": Whose.HARNESS, "run": run, "command": command}
                    yield Finding(kind="command", text=text, steps=(step,), **more)
            case e.Judged(verdict=verdict) if verdict.passed and not verdict.base_tests:
                text = one_line(f"`{verdict.command}` decides whether work is accepted", LONGEST)
                more = {"whose": Whose.HARNESS, "run": run, "command": verdict.command}
                yield Finding(kind="command", text=text, steps=(max(line, default=0),), **more)
            case _:
                continue


def _placed(found: Finding, line: dict[int, Moment], known: tuple[str, ...], *, accepted: bool) -> Finding:
    """Return a finding with the checkpoint that it was seen at and the files that it speaks of."""
    at = line.get(found.steps[-1])
    paths = tuple(path for path in known if path in found.text)
    return found.model_copy(update={"commit": at.commit if at else "", "paths": paths, "accepted": accepted})
