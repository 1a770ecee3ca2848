"""What a tool said of a place in the code, as values that the journal can keep."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from orchestrator.dialogue import Value

LONGEST_MESSAGE: Final = 500
"""Characters of one message; what is longer is cut."""
LONGEST_NAME: Final = 400
"""Characters of a file's name, a code or a function; nothing longer is taken for one."""
MOST_KEPT: Final = 100
"""Diagnostics of one call that the journal keeps."""
LARGEST_READ: Final = 1024 * 1024
"""Bytes of output that are read of a command that ended well; of more only head and tail are."""
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
