"""A run's working memory, step by step: what the agent notes, and what people say.

Pure functions on frozen values, folded over the journal: the same events give the same memory, byte for byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from orchestrator.memory.plain import one_line
from orchestrator.notes import Note, NoteKind, Rules, Said, TaskState, WorkingMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NOTE: Final = "note"
"""The tool that the agent notes with."""
LONGEST: Final = 2_000
"""Characters of a note's text, and of its reason."""
CONSTRAINTS: Final = 4_000
"""Bytes of all constraints as they are shown, about 1,000 tokens: they never leave the context, so these must do."""
_FRAME: Final = 40
"""Bytes that an entry is shown with: its id, its steps."""
MOST_OWN: Final = 1_000
"""Entries that the agent may keep."""
MOST_CHARACTERS: Final = 500_000
"""Characters of all of them: many times what any window shows, and looked through within a tenth of a second."""

MOST_RULES: Final = 64
MOST_GIVEN: Final = 200
"""Folders whose rules are kept: far more than fit. Those of a folder that is forgotten are read anew."""

OPEN, FIXED, GONE = "open", "fixed", "gone"
LETTERS: Final = {
    NoteKind.CONSTRAINT: "c",
    NoteKind.TASK: "t",
    NoteKind.DECISION: "d",
    NoteKind.FACT: "f",
    NoteKind.FILE: "p",
    NoteKind.ERROR: "e",
    NoteKind.RESOURCE: "r",
    NoteKind.NEXT: "n",
}
AWAY: Final = (TaskState.ABANDONED.value, GONE)
"""States that take an entry away, unless it is a task."""
_OVER: Final = (TaskState.DONE, TaskState.ABANDONED)


def begin(goal: str) -> WorkingMemory:
    """Return the memory that a run begins with: `goal` is the task verbatim."""
    return WorkingMemory(goal=goal)


def said(memory: WorkingMemory, text: str, step: int) -> WorkingMemory:
    """Add what a person said after `step`, verbatim."""
    return memory.model_copy(update={"said": (*memory.said, Said(step=step, text=text))})


def rules(memory: WorkingMemory, path: str, text: str, step: int) -> WorkingMemory:
    """Add an AGENTS.md as it was read in `step`, in place of an earlier state of it; of too many the oldest goes."""
    others = tuple(one for one in memory.rules if one.path != path)
    return memory.model_copy(update={"rules": (*others[1 - MOST_RULES :], Rules(path=path, text=text, step=step))})


def given(memory: WorkingMemory, ids: Iterable[str], step: int) -> WorkingMemory:
    """Add entries of the library that were told in `step`; of too many the oldest are told again where they fit."""
    fresh = dict.fromkeys(ids, step)
    kept = {entry: when for entry, when in memory.given.items() if entry not in fresh}
    return memory.model_copy(update={"given": dict([*kept.items(), *fresh.items()][-MOST_GIVEN:])})


def noted(memory: WorkingMemory, arguments: Mapping[str, Any], step: int) -> tuple[WorkingMemory, Note]:
    """Carry out a call of `note` and return the entry that it made, changed or took away.

    Raises ValueError that says what to do instead, where the arguments can't be taken.
    """
    given = {name: str(arguments.get(name) or "") for name in ("kind", "id", "text", "state", "under", "why")}
    for name in ("text", "why"):
        if len(given[name]) > LONGEST:
            raise ValueError(f"{name} has {len(given[name]):,} characters; at most {LONGEST:,} fit, so say it shorter")
        given[name] = one_line(given[name], LONGEST)
    given["state"] = re.sub(r"[\s-]+", "_", given["state"].strip().lower())
    given["id"], given["under"] = given["id"].strip(), given["under"].strip()
    old = _old(memory, given)
    return _new(memory, given, step) if old is None else _changed(memory, old, given, step)


def _old(memory: WorkingMemory, given: Mapping[str, str]) -> Note | None:
    """Return the entry that a call of `note` means, None for a new one."""
    if name := given["id"]:
        old = next((note for note in memory.notes if note.id == name), None)
        if old is None:
            raise ValueError(f"there is no entry {name[:20]!r}; leave id out for a new one")
        if given["kind"] not in {"", old.kind}:
            raise ValueError(f"{name} is of kind {old.kind}; leave kind out, or leave id out for a new entry")
        return old
    same = (note for note in memory.notes if note.by == "agent" and (note.kind, note.text) == _key(given))
    return next((note for note in same if note.state not in {TaskState.DONE, TaskState.ABANDONED, FIXED}), None)


def _key(given: Mapping[str, str]) -> tuple[str, str]:
    return given["kind"], given["text"]


def _new(memory: WorkingMemory, given: Mapping[str, str], step: int) -> tuple[WorkingMemory, Note]:
    if given["kind"] not in LETTERS:
        raise ValueError(f"kind {given['kind'][:20]!r} is none; the kinds are {', '.join(NoteKind)}")
    kind = NoteKind(given["kind"])
    if not given["text"]:
        raise ValueError("text is empty; say what is to be kept, or give the id of the entry to change")
    if given["state"] in AWAY and kind is not NoteKind.TASK:
        raise ValueError(f"a new entry can't be {given['state']}; give the id of the entry to take away")
    kept = _with_room(tuple(note for note in memory.notes if kind is not NoteKind.NEXT or note.kind is not kind))
    name, numbers = next_id(memory.numbers, LETTERS[kind])
    note = Note(
        id=name,
        kind=kind,
        text=given["text"],
        step=step,
        state=_state(kind, given["state"]) or (OPEN if kind in {NoteKind.TASK, NoteKind.ERROR} else ""),
        why=given["why"],
        under=_under(memory, name, given["under"]),
    )
    return _fitting(memory.model_copy(update={"notes": (*kept, note), "numbers": numbers})), note


def _with_room(notes: tuple[Note, ...]) -> tuple[Note, ...]:
    """Return the entries that stay beside a new one: of too many, the oldest task that is over goes, else it raises."""
    if sum(note.by == "agent" for note in notes) < MOST_OWN:
        return notes
    done = [note for note in notes if note.state in _OVER]
    if not done:
        raise ValueError(f"{MOST_OWN:,} entries are kept already; take away what no longer counts, by its id")
    oldest = min(done, key=lambda note: note.changed or note.step)
    return tuple(note for note in notes if note is not oldest)


def _changed(memory: WorkingMemory, old: Note, given: Mapping[str, str], step: int) -> tuple[WorkingMemory, Note]:
    if not any(given[name] for name in ("text", "state", "why", "under")):
        raise ValueError(f"nothing to change: give {old.id} another text, state, why or under")
    if old.by == "harness" and given["text"]:
        raise ValueError(f"{old.id} is what the harness saw; give it a state or why, or make an entry of your own")
    if given["state"] in AWAY and old.kind is not NoteKind.TASK:
        note = old.model_copy(update={"state": given["state"], "changed": step})
        left = tuple(one for one in memory.notes if one is not old)
        return memory.model_copy(update={"notes": left}), note
    changes: dict[str, Any] = {name: given[name] for name in ("text", "why") if given[name]}
    state = _state(old.kind, given["state"])
    if state or old.kind is NoteKind.RESOURCE:  # One that was gone with its sandbox, and is there again.
        changes["state"] = state
    if given["under"]:
        changes["under"] = _under(memory, old.id, given["under"])
    note = old.model_copy(update={**changes, "changed": step})
    notes = tuple(note if one is old else one for one in memory.notes)
    return _fitting(memory.model_copy(update={"notes": notes})), note


def _state(kind: NoteKind, state: str) -> str:
    """Return the state where entries of that kind have it; raises ValueError."""
    known = {NoteKind.TASK: tuple(map(str, TaskState)), NoteKind.ERROR: (OPEN, FIXED)}.get(kind, ())
    if not state or state in known:
        return state
    away = () if kind is NoteKind.TASK else (f"{' or '.join(AWAY)} to take it away",)
    raise ValueError(f"state {state[:20]!r} is none of {kind}: {', '.join((*known, *away))}")


def _under(memory: WorkingMemory, name: str, parent: str) -> str:
    """Return the task that an entry is to be a part of; raises ValueError where it can't be."""
    if not parent:
        return ""
    parents = {note.id: note.under for note in memory.notes if note.kind is NoteKind.TASK}
    if parent not in parents:
        raise ValueError(f"under is {parent[:20]!r}, which is no task; give the id of a task, or leave it out")
    above = parent
    for _ in parents:
        if above == name:
            raise ValueError(f"{name} can't be under {parent}, which is a part of it")
        above = parents.get(above, "")
    return parent


def _fitting(memory: WorkingMemory) -> WorkingMemory:
    """Return the memory, whose constraints must fit; raises ValueError where they don't."""
    constraints = (note for note in memory.notes if note.kind is NoteKind.CONSTRAINT)
    if sum(len(f"{note.text}{note.why}".encode()) + _FRAME for note in constraints) > CONSTRAINTS:
        raise ValueError("constraints are full; change or take away one by its id")
    if sum(len(note.text) + len(note.why) for note in memory.notes if note.by == "agent") > MOST_CHARACTERS:
        raise ValueError(
            f"entries may have {MOST_CHARACTERS:,} characters together; shorten or take away some by their ids"
        )
    return memory


def next_id(numbers: Mapping[str, int], letter: str) -> tuple[str, dict[str, int]]:
    """Return the id of the next entry with that letter, and the numbers with it."""
    number = numbers.get(letter, 0) + 1
    return f"{letter}{number}", {**numbers, letter: number}
