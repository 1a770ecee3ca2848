"""What a matcher finds, before its paths are named and anything of it is checked; and what tools call severities."""

from __future__ import annotations

from typing import Final, NamedTuple

from orchestrator.diagnostic import Severity


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
