"""How a command ended, in words, and the line in brackets that tells it behind what the command printed."""

from __future__ import annotations

import re
from collections import deque
from typing import Final, NamedTuple

WELL: Final = "exit code 0"
RAN_OUT: Final = "exit code 124"
"""What `timeout` ends with."""
_LINE: Final = re.compile(r"^\[(exit code \d{1,3}|ended by signal \d{1,3}|timed out)\b[^\n]*\]$", re.MULTILINE)


class Ending(NamedTuple):
    """How a command ended, in words, and where in its result the line stands that says so."""

    how: str
    start: int
    end: int


def how(*, exit_code: int | None, signal: int | None, timed_out: bool) -> str:
    """Return how a command ended, in words; empty for one that never ran."""
    if timed_out:
        return "timed out"
    if signal is not None:
        return f"ended by signal {signal}"
    return "" if exit_code is None else f"exit code {exit_code}"


def last(content: str) -> Ending | None:
    """Return the last such line of a result, which is the harness's: a command may print others before it."""
    found = deque(_LINE.finditer(content), maxlen=1)
    return Ending(found[0][1], *found[0].span()) if found else None
