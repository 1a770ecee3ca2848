"""What a writer appended last, as it gave it to the script: to write it again where a fail-over lost it."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

_MOST: Final = 64
_MOST_BYTES: Final = 8 << 20


class Call(NamedTuple):
    """One append: the journal's heads before and after it, and what the script was given."""

    before: str
    after: str
    keys: list[str]
    args: list[Any]

    @property
    def weight(self) -> int:
        """About how many bytes it is."""
        return sum(len(part) for part in self.args if isinstance(part, str | bytes))


class Tail:
    """The last appends, up to 64 of them and 8 MiB."""

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self._weight = 0

    def keep(self, call: Call) -> None:
        """Keep one that was taken."""
        self._calls.append(call)
        self._weight += call.weight
        while len(self._calls) > _MOST or self._weight > _MOST_BYTES:
            self._weight -= self._calls.popleft().weight

    def between(self, head: str, end: str) -> list[Call]:
        """Return the appends that lead from one head to another; none where they don't, or others wrote between."""
        found = list[Call]()
        for call in reversed(self._calls):
            if call.after != end:
                return []
            found, end = [call, *found], call.before
            if end == head:
                return found
        return []
