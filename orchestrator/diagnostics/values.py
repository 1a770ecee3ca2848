"""What a tool said of a place in the code, as values that the journal can keep."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pydantic import Field

from orchestrator.dialogue import Value

LONGEST_MESSAGE: Final = 500
"""Characters of one message; what is longer is cut."""
LONGEST_NAME: Final = 400
"""Characters of a file's name, a code or a function; nothing longer is taken for one."""
LAST_LINE: Final = 10_000_000
"""Beyond it a number is no line of a file."""


class Severity(StrEnum):
    """How bad it is, as the tool says; a tool that doesn't say so means an error."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Frame(Value):
    """One place on the way to a diagnostic: a frame of a stack trace, an including file, a compiler's note.

    `ours` says that it lies in the repository, and isn't the work of a library.
    """

    file: str
    line: int = Field(ge=0, le=LAST_LINE)
    what: str = ""
    ours: bool = False


class Diagnostic(Value):
    """What a tool found, and where: `line` and `column` count from 1, 0 stands for none.

    `file` is relative to the workspace where it lies there, else as it was printed; empty where there is none.
    `code` is the tool's name of the rule, or of the test that failed. `times` counts how often it was printed.
    """

    file: str = ""
    line: int = Field(0, ge=0, le=LAST_LINE)
    column: int = Field(0, ge=0, le=LAST_LINE)
    severity: Severity = Severity.ERROR
    message: str = ""
    code: str = ""
    tool: str = ""
    frames: tuple[Frame, ...] = ()
    times: int = Field(1, ge=1)


class Found(NamedTuple):
    """A diagnostic as a matcher found it: paths as printed, nothing checked yet.

    `past` is the first line of the log that no other matcher needs to look at any more, 0 for the next one.
    """

    file: str
    line: int = 0
    column: int = 0
    severity: Severity = Severity.ERROR
    message: str = ""
    code: str = ""
    tool: str = ""
    frames: tuple[Place, ...] = ()
    past: int = 0


class Place(NamedTuple):
    """A frame as printed."""

    file: str
    line: int
    what: str = ""


WORDS: Final = {
    "error": Severity.ERROR,
    "errors": Severity.ERROR,
    "fatal": Severity.ERROR,
    "fatal error": Severity.ERROR,
    "critical": Severity.ERROR,
    "high": Severity.ERROR,
    "failure": Severity.ERROR,
    "blocker": Severity.ERROR,
    "bug": Severity.ERROR,
    "e": Severity.ERROR,
    "f": Severity.ERROR,
    "2": Severity.ERROR,
    "warning": Severity.WARNING,
    "warn": Severity.WARNING,
    "medium": Severity.WARNING,
    "convention": Severity.WARNING,
    "refactor": Severity.WARNING,
    "style": Severity.WARNING,
    "w": Severity.WARNING,
    "c": Severity.WARNING,
    "r": Severity.WARNING,
    "1": Severity.WARNING,
    "note": Severity.NOTE,
    "info": Severity.NOTE,
    "information": Severity.NOTE,
    "hint": Severity.NOTE,
    "help": Severity.NOTE,
    "low": Severity.NOTE,
    "i": Severity.NOTE,
    "none": Severity.NOTE,
}
"""What tools call their severities, in lower case."""


def severity(word: object, otherwise: Severity = Severity.ERROR) -> Severity:
    """Return what a tool's own word means, in whatever case."""
    return WORDS.get(str(word).strip().lower(), otherwise) if word is not None else otherwise
