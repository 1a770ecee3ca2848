"""A run's working memory as values: what the agent and the harness keep, and the step that each comes from.

What is done with them is in `orchestrator.memory`; the whole is a fold of the journal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from orchestrator.dialogue import Value


class NoteKind(StrEnum):
    """The sections of the working memory, in the order in which they are shown."""

    CONSTRAINT = "constraint"  # What must hold; never left out.
    TASK = "task"  # An item of the plan.
    DECISION = "decision"
    FACT = "fact"
    FILE = "file"
    ERROR = "error"
    RESOURCE = "resource"  # What is alive in the container: a server, a port, a shell's variable.
    NEXT = "next"  # What is to be done next: one at a time.


class TaskState(StrEnum):
    """How far an item of the plan is."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    BLOCKED = "blocked"
    DONE = "done"
    ABANDONED = "abandoned"


class Note(Value):
    """One entry.

    `id` is a letter of its kind and a number; `step` is the one that it comes from, `changed` the one that changed it
    last. `state` is a TaskState for an item of the plan, `open` or `fixed` for an error, else empty. `why` is a
    decision's reason or an error's fix, `under` the id of the task that this one is a part of.
    """

    id: str
    kind: NoteKind
    text: str
    step: int
    by: Literal["agent", "harness"] = "agent"
    state: str = ""
    why: str = ""
    under: str = ""
    changed: int = 0


class Said(Value):
    """What a person said, verbatim, and the last step before it."""

    step: int
    text: str


class Rules(Value):
    """An AGENTS.md of the repository, as it was read in a step; untrusted, as all text of the repository."""

    path: str
    text: str
    step: int


class WorkingMemory(Value):
    """What stays in view. `goal` is the task verbatim, `said` what people said later, verbatim.

    `numbers` is the last number that an entry got, by the letter of its id: no id ever means another entry.
    `given` are the ids of the library's entries that it was told, each with the step of that; 0 is its beginning.
    """

    goal: str = ""
    said: tuple[Said, ...] = ()
    notes: tuple[Note, ...] = ()
    rules: tuple[Rules, ...] = ()
    numbers: dict[str, int] = Field(default_factory=dict)
    given: dict[str, int] = Field(default_factory=dict)


class Window(Value):
    """What the model is asked with instead of the whole dialogue, since the context was last built anew.

    `text` stands behind the task; `first` is the first step whose reply and results are still there, whole.
    """

    text: str = ""
    first: int = 0


class Summary(Value):
    """What a model wrote of all steps up to `step`, but of those in `missing`: the first and the last of some in a row.

    It is `late` where the context was built anew while it was written: what it tells isn't in the window.
    """

    text: str = ""
    step: int = 0
    late: bool = False
    missing: tuple[tuple[int, int], ...] = ()
