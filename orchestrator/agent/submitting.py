"""The tool that submits: refused while items of the agent's own plan are open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.agent import wording
from orchestrator.agent.outcome import Outcome, failed
from orchestrator.memory.plain import one_line
from orchestrator.notes import NoteKind, TaskState

if TYPE_CHECKING:
    from orchestrator.notes import Note, WorkingMemory

_SHOWN: Final = 30
_LONGEST: Final = 120
"""Characters of an item's text."""


def submit(memory: WorkingMemory) -> Outcome:
    """Return what became of a submission: the items that are open, where there are some."""
    if not (items := still_open(memory)):
        return Outcome("submitted")
    ids = ", ".join(note.id for note in _left(memory)[:_SHOWN])
    return failed(wording.fill("open_plan", ids=ids, items="\n".join(items)))


def still_open(memory: WorkingMemory) -> list[str]:
    """Return the items of the plan that are open, a line each; of many, the ids alone."""
    left = _left(memory)
    items = [f"{note.id} ({_state(note)}): {one_line(note.text, _LONGEST)}" for note in left[:_SHOWN]]
    if more := left[_SHOWN:]:
        items.append(f"and {len(more)} more: {', '.join(note.id for note in more)}")
    return items


def _left(memory: WorkingMemory) -> list[Note]:
    return [note for note in memory.notes if note.kind is NoteKind.TASK and _is_open(note)]


def _is_open(note: Note) -> bool:
    """Whether an item is neither done nor given up for a reason that is said."""
    return note.state != TaskState.DONE and not (note.state == TaskState.ABANDONED and note.why)


def _state(note: Note) -> str:
    return "abandoned without why" if note.state == TaskState.ABANDONED else note.state.replace("_", " ")
