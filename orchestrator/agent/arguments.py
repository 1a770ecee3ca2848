"""The arguments of each tool, as the model is told of them and as they are checked."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_AT_ONCE: Final = 8
"""Sub-agents of one call."""
LONGEST_QUESTION: Final = 4000
LONGEST_OPTION: Final = 200
"""Characters."""
MOST_OPTIONS: Final = 10
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a name is short: lower-case letters, figures, - and _")
    return name


def _few(tasks: tuple[Given, ...]) -> tuple[Given, ...]:
    if not 1 <= len(tasks) <= MOST_AT_ONCE:
        raise ValueError(f"one call takes 1 to {MOST_AT_ONCE}")
    return tasks


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("it says nothing")
    return text.strip()


def _asked(text: str) -> str:
    if len(said := _said(text)) > LONGEST_QUESTION:
        raise ValueError(f"it has {len(said)} characters of {LONGEST_QUESTION}")
    return said


def _option(text: str) -> str:
    if len(said := _said(text)) > LONGEST_OPTION:
        raise ValueError(f"it has {len(said)} characters of {LONGEST_OPTION}")
    return said


def _choices(options: list[str]) -> list[str]:
    if len(options) > MOST_OPTIONS:
        raise ValueError(f"there are {len(options)}, and {MOST_OPTIONS} may be")
    return options


# Not as constraints of the schema: every request carries that.
Name = Annotated[str, AfterValidator(_named)]
Text = Annotated[str, AfterValidator(_said)]
Question = Annotated[str, AfterValidator(_asked)]
Option = Annotated[str, AfterValidator(_option)]


class _Arguments(BaseModel):
    # Models send numbers as strings and a field too many: the first is read, the second is named in the error.
    model_config = ConfigDict(frozen=True, extra="forbid")


class Bash(_Arguments):
    """Run a bash command. Standard output and error come back together, with the exit code."""

    command: str
    timeout: float = Field(0, ge=0, description="Seconds; 0 is the longest allowed.")


class Read(_Arguments):
    """Read a text file, with line numbers."""

    path: str
    offset: int = Field(1, ge=1, description="First line.")
    limit: int = Field(400, ge=1, le=2000, description="Number of lines.")


class Edit(_Arguments):
    """Replace text in a file. `old` must occur exactly once, unless replace_all; copy it without line numbers."""

    path: str
    old: str = Field(min_length=1)
    new: str
    replace_all: bool = False


class Write(_Arguments):
    """Write a whole file; directories are made, an existing file is replaced."""

    path: str
    content: str


class Grep(_Arguments):
    """Search file contents with a regular expression (ripgrep); ignored files are left out."""

    pattern: str = Field(min_length=1)
    path: str = "."
    glob: str = Field("", description="Only files like this, for example *.py")
    ignore_case: bool = False


class Glob(_Arguments):
    """List files by name, for example **/test_*.py; ignored files are left out."""

    pattern: str = Field(min_length=1)
    path: str = "."


class Processes(_Arguments):
    """List what your commands left running in the background, or stop one of it with its descendants."""

    stop: int = Field(0, ge=0, description="Pid to stop; 0 only lists.")


class Note(_Arguments):
    """Keep something in view, or change an entry by its id. Notes outlast old output."""

    kind: str = Field("", description="Of a new one: constraint, task, decision, fact, file, error, resource or next.")
    text: str = ""
    id: str = ""
    state: str = Field(
        "", description="Task: open, in_progress, blocked, done, abandoned. Error: open, fixed. Others: gone."
    )
    under: str = Field("", description="Id of its task.")
    why: str = Field("", description="A decision's reason, an error's fix.")


class History(_Arguments):
    """Search this run's earlier steps, or show all of one: what is no longer in view."""

    query: str = Field("", description="Words, or an identifier.")
    step: int = Field(0, ge=0, description="Step to show instead.")
    offset: int = Field(0, ge=0, description="Character of the step to begin at.")


class Recall(_Arguments):
    """Look up what earlier runs and people know: of this repository, the team, you. Data, and it may be out of date."""

    query: Text = Field(description="Words, paths or identifiers.")


class Given(_Arguments):
    """A task for one sub-agent."""

    kind: Literal["explore", "task"]
    task: Text
    name: Name


class Delegate(_Arguments):
    """Have sub-agents do parts, side by side, each on a copy of the workspace. They know only what task says.

    explore only reports; what a task changes is merged, unless it conflicts.
    """

    tasks: Annotated[tuple[Given, ...], AfterValidator(_few)]


class Ask(_Arguments):
    """Ask a person, once in a reply. The work stops until there is an answer; without one in time default counts."""

    question: Question
    options: Annotated[list[Option], AfterValidator(_choices)] = Field(
        default_factory=list, description="Answers to choose from."
    )
    default: Question = Field(description="What you'll do if nobody answers.")


class Submit(_Arguments):
    """End the work: the task is done, or it can't be."""

    summary: str
