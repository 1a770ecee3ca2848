"""What a run teaches, as its journal has it: no model is asked, so that nothing is in it which didn't happen.

Steps that were undone teach nothing: the working memory is that of the steps which count, and so are the commands.
What the run was given from the library isn't its own finding, and what it copied from a tool's output isn't either
where that gives orders.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.agent.role import RECALL
from orchestrator.dream.course import outcome, passed
from orchestrator.dream.draft import REASON
from orchestrator.dream.echo import Given
from orchestrator.dream.finding import Finding, Whose
from orchestrator.dream.statement import Statement
from orchestrator.dream.taint import Copies, is_data
from orchestrator.dream.worth import heard, note_is_junk
from orchestrator.memory.plain import one_line
from orchestrator.memory.working import FIXED, NOTE
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
_LONGEST_COMMAND: Final = 400
"""Characters of a command that is kept; a longer one was made for one occasion."""
_DETOUR: Final = 3
"""An error that took so many steps to end is a pitfall, told or not."""
_LONG_DETOUR: Final = 8
"""The same for a test that failed: whoever writes code has those, and mends them in a few steps."""
_A_FAILED_TEST: Final = re.compile(r"\bassert|\bfailed\b|\bFAIL(?:ED|URES?)?\b|\bexpected\b")
_STEP: Final = re.compile(r"(?:; )?\bstep \d+(?:, )?")
_ARROW: Final = " → "
"""What stands between a command and how it ended, where the harness notes an error."""
_KINDS: Final[dict[NoteKind, Kind]] = {
    NoteKind.DECISION: "decision",
    NoteKind.FACT: "fact",
    NoteKind.CONSTRAINT: "convention",
}
_TESTS: Final = re.compile(
    r"\b(?:pytest|tox|nox|unittest|ctest|rspec|phpunit|jest|vitest|mocha)\b"
    r"|\b(?:go|cargo|dotnet|swift|mix|zig)\s+(?:test|build|nextest|vet|clippy|check)\b"
    r"|\b(?:npm|pnpm|yarn|bun)\s+(?:run\s+)?(?:test|build|check|lint)\b|\b(?:mvn|gradle|gradlew|bazel|ninja|cmake)\b"
    r"|\b(?:make|just|task)(?:\s+-\S+)*\s+(?:all\b|\S*(?:test|check|build|lint))"
    r"|^(?:(?:ba)?sh\s+)?\S*/\S*(?:test|check|build|lint)\S*"
    r"|\b(?:ruff|mypy|flake8|eslint|tsc)\b"
)
"""What builds or tests something, to be told from what only looks."""
_ONCE: Final = re.compile(
    r"[<>|;&\n]|\$\(|\bcd\b|/tmp/|::|\bgit\b|\bpython\S*\s+-c\b"
    r"|\s(?:-k|-h|-V|--(?:version|help|collect-only|list\S*|lf|last-failed|ff|sw|pdb|dry-run))(?:\s|=|$)"
)
"""What a command has in it that was made for one occasion."""

_PATH: Final = re.compile(r"(?<![\w./@-])[\w.-]+(?:/[\w.-]+)*/[\w-]+(?:\.\w+)+(?![\w/])")
"""What looks like the path of a file, below the repository's root."""
_ADDRESS: Final = re.compile(r"\w+://\S+")


def extract(run: str, events: Sequence[Event]) -> tuple[Finding, ...]:
    """Return what a run teaches, each finding once, in the order of its steps. Raises JournalError for no run's."""
    timeline = Timeline(events, run)
    line = {moment.step: moment for moment in timeline.line(timeline.now)}
    memory = Projection().follow(events).memory
    accepted = outcome(events) is Outcome.SUCCEEDED
    noted = _judged([*_of_notes(run, memory)], events)
    found = [*_of_people(run, memory), *noted, *_of_commands(run, events, line)]
    known = {file.path for moment in line.values() for file in moment.files}
    known |= {note.text for note in memory.notes if note.kind is NoteKind.FILE}
    unique = {(one.kind, one.text): one for one in reversed(found)}
    ordered = sorted(unique.values(), key=lambda one: one.steps)
    return tuple(_placed(one, line, known, accepted=accepted) for one in ordered)


def _of_people(run: str, memory: WorkingMemory) -> Iterator[Finding]:
    """Yield what people said to the agent while it worked: they saw something that it didn't know."""
    for said in memory.said:
        if kept := heard(said.text):
            text, lasting = one_line(kept[0], LONGEST), kept[1]
            more = {"whose": Whose.PERSON, "run": run, "steps": (said.step,), "lasting": lasting}
            yield Finding(kind="convention", text=text, **more)


def _of_notes(run: str, memory: WorkingMemory) -> Iterator[Finding]:
    task = Statement.of(memory.goal)
    for note in memory.notes:
        if note.kind is NoteKind.ERROR and note.state == FIXED and _worth_telling(note):
            text = one_line(f"{note.text}{REASON}{_fix(note)}", LONGEST)
            whose = Whose.HARNESS if note.by == "harness" else Whose.AGENT
            yield Finding(kind="pitfall", text=text, whose=whose, run=run, steps=_steps(note))
        elif note.by == "agent" and (kind := _KINDS.get(note.kind)) and not note_is_junk(note.text, task):
            text = one_line(f"{note.text}{REASON}{note.why}" if note.why else note.text, LONGEST)
            yield Finding(kind=kind, text=text, whose=Whose.AGENT, run=run, steps=_steps(note))


def _judged(found: Sequence[Finding], events: Sequence[Event]) -> Iterator[Finding]:
    """Yield what was noted, as a tool's words where it is an order that a tool had printed before.

    What the run was given from the library is left out: it would be its own proof.
    """
    copies, given = Copies((one.text, one.steps[-1]) for one in found), Given(events)
    for event in events:
        match event.body:
            case e.CallFinished(step=step, result=result) if result.name not in {NOTE, RECALL}:
                copies.see(result.content, step)
            case e.RulesRead(step=step, text=text):
                copies.see(text, step)
            case _:
                continue
    for one in found:
        seen = one.whose is Whose.HARNESS  # The line that tells of the error is the tool's.
        if not seen and given.has(one):
            continue
        text = one.text.partition(_ARROW)[2] if seen else one.text
        tainted = is_data(text, copied=seen or copies.copied(one.text))
        yield one.model_copy(update={"whose": Whose.TOOL}) if tainted else one


def _worth_telling(error: Note) -> bool:
    if error.by == "agent":
        return bool(error.why)
    detour = _LONG_DETOUR if _A_FAILED_TEST.search(error.text.partition(_ARROW)[2]) else _DETOUR
    return bool(error.why) and error.changed - error.step >= detour


def _fix(error: Note) -> str:
    """Return what ended an error, without the numbers of steps that mean nothing to another run."""
    return error.why if error.by == "agent" else _STEP.sub("", error.why) or "it passed later, with no file changed"


def _steps(note: Note) -> tuple[int, ...]:
    return (note.step, note.changed) if note.changed > note.step else (note.step,)


def _of_commands(run: str, events: Sequence[Event], line: dict[int, Moment]) -> Iterator[Finding]:
    """Yield the commands that built or tested something and passed, and the one that the work was accepted by."""
    for step, command in passed(events):
        fits = step in line and len(command) <= _LONGEST_COMMAND
        if fits and _TESTS.search(command) and not _ONCE.search(command):
            text = one_line(f"`{command}` passes", LONGEST)
            # What is passed to a command may be somebody's words to the agents that will read it.
            whose = Whose.TOOL if is_data(text, copied=False) else Whose.HARNESS
            yield Finding(kind="command", text=text, whose=whose, run=run, steps=(step,), command=command)
    for event in events:
        match event.body:
            case e.Judged(verdict=verdict) if verdict.passed and not verdict.base_tests:
                text = one_line(f"`{verdict.command}` decides whether work is accepted", LONGEST)
                more = {"whose": Whose.HARNESS, "run": run, "command": verdict.command}
                yield Finding(kind="command", text=text, steps=(max(line, default=0),), **more)
            case _:
                continue


def _placed(found: Finding, line: dict[int, Moment], known: set[str], *, accepted: bool) -> Finding:
    """Return a finding with the checkpoint that it was seen at, its time, and the files that it speaks of."""
    at = line.get(found.steps[-1])
    spoken = {path for path in known if path in found.text and _apart(path, found.text)}
    spoken |= set(_PATH.findall(_ADDRESS.sub(" ", found.text)))
    return found.model_copy(
        update={
            "commit": at.commit if at else "",
            "at": at.at if at else None,
            "paths": tuple(sorted(spoken)),
            "accepted": accepted,
        }
    )


def _apart(path: str, text: str) -> bool:
    """Whether a text has a path as such, and not as a part of another one."""
    return re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w/-])", text) is not None
