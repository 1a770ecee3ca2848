"""When two outputs say the same: what differs from one time to the next is masked, and only lines that tell count."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import MOST_KEPT, Severity
from orchestrator.diagnostics.story import identity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.diagnostic import Diagnostic

_VARIES: Final = re.compile(
    r"(?<!\w)(?=[0-9a-f/\[pP])(?:"  # All begin so: most places of a text are none of them.
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z| ?[+-]\d\d:?\d\d)?"
    r"|\d{1,2}:\d\d:\d\d(?:[.,]\d+)?"
    r"|(?:\d+m ?)?\d+(?:\.\d+)? ?(?:ns|[uµ]s|ms|s|secs?|seconds?)\b"
    r"|0x[0-9a-fA-F]+\b"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{7,64}\b"  # Object names; a plain number may be a count that grows.
    r"|(?:/var)?/tmp/[^\s\"'`:,;()<>\[\]]+"
    r"|[pP][iI][dD]\W{1,3}\d+|^\[\d+\] \d+$"
    r"|127\.0\.0\.1:\d+)",
    re.MULTILINE,
)
_PLACE: Final = re.compile(r":\d+(?::\d+)?\b|\blines? \d+|\(\d+,\d+\)|^\s*\d+[\t|:]", re.IGNORECASE)
"""Where in a file something is: an edit above moves it, and it is the same all the same."""
_PREFIX: Final = re.compile(r"^\s*\d+\t|^[^\s:]+:\d+:")  # Of a line that read or grep shows.
_HARNESS: Final = re.compile(r"^\[(?:exit code|timed out|ended by|the whole output|…)")
_TELLS: Final = re.compile(
    r"error|fail|exception|assert|panic|fatal|not found|undefined|cannot|can't|unexpected|no such|^E  |✗|✕|refused",
    re.IGNORECASE,
)
_MOST_TELLING: Final = 40
_LAST_LINES: Final = 5


@lru_cache(maxsize=4)  # Its lines are looked at next.
def normal(text: str) -> str:
    """Return the text without times, durations, pids, addresses, ids, temporary paths and blanks at line ends."""
    return "\n".join(line.rstrip() for line in _VARIES.sub("~", text).strip().split("\n"))


def lines(text: str) -> frozenset[str]:
    """Return what a text says, line by line: without the harness's own lines, numbers of lines, and rulers."""
    told = (_PREFIX.sub("", line).strip() for line in normal(text).split("\n") if not _HARNESS.match(line))
    return frozenset(line for line in told if any(char.isalnum() for char in line))


def telling(text: str) -> tuple[str, ...]:
    """Return the lines that say what went wrong, wherever it stands; the last ones where none says so."""
    said = [line.strip() for line in normal(text).split("\n") if line.strip() and not _HARNESS.match(line)]
    wrong = [line for line in said if _TELLS.search(line)][:_MOST_TELLING]
    return tuple(_PLACE.sub(":", line) for line in wrong or said[-_LAST_LINES:])


def located(diagnostics: Sequence[Diagnostic]) -> tuple[str, ...]:
    """Return which errors a command had, wherever they have moved to, in whatever order it printed them.

    Each is known by its identity (file, rule or test, message). The numbers of its message count beside: an assertion
    that fails with another value is a fix that did something. Empty where there are none, or more than are known.
    """
    errors = [one for one in diagnostics if one.severity is Severity.ERROR]
    if len(diagnostics) >= MOST_KEPT:
        return ()
    return tuple(sorted("\n".join((*identity(one), _PLACE.sub(":", normal(one.message)))) for one in errors))
