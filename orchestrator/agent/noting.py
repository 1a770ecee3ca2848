"""The tool that notes: it checks a note against the memory, and says what came of it.

Nothing is kept here: the note is in the call, and the memory is folded from the calls that were accepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.agent.outcome import Outcome
from orchestrator.memory.working import AWAY, noted
from orchestrator.notes import NoteKind

if TYPE_CHECKING:
    from orchestrator.agent.arguments import Note as Arguments
    from orchestrator.notes import WorkingMemory


def note(memory: WorkingMemory, arguments: Arguments) -> Outcome:
    """Return what became of a note. Raises ValueError, which says what to do, where it can't be taken."""
    _, entry = noted(memory, arguments.model_dump(), step=0)  # Its step is that of the call, once it's committed.
    if all(known.id != entry.id for known in memory.notes):
        return Outcome(f"noted as {entry.id}")
    if entry.state in AWAY and entry.kind is not NoteKind.TASK:
        return Outcome(f"{entry.id} is taken away")
    if arguments.state:
        return Outcome(f"{entry.id} is {entry.state.replace('_', ' ')}")
    return Outcome(f"{entry.id} is changed" if arguments.id else f"{entry.id} says so already")
