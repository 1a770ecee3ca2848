"""What went over the wire: how large each request was, and how much of the one before it kept.

Providers cache what a request begins with. The list of messages, which grows, doesn't stand last in a body: what is
behind it (the tools, the settings) is the same in each request, and providers read it first.
"""

from __future__ import annotations

import re
from typing import Final

from orchestrator.dialogue import Sent

_CAP: Final = re.compile(rb'(?<=[{,])"max_(?:completion_|output_)?tokens":\d+,?')


class Sender:
    """Remembers the last body that was sent."""

    def __init__(self) -> None:
        self._body = b""
        self.last = Sent(size=0)

    def sent(self, body: bytes) -> None:
        """Take a request's body; one that is sent once more is still the same request."""
        if body != self._body:
            self.last = Sent(size=len(body), previous=len(self._body), kept=kept(self._body, body))
            self._body = body


def kept(before: bytes, now: bytes) -> int:
    """Return how many bytes of a body the next one keeps: all, where only its list of messages went on.

    How long the reply may be is no part of what a provider caches, wherever it stands.
    """
    size = len(before)
    before, now = _CAP.sub(b"", before), _CAP.sub(b"", now)
    found = _kept(before, now)
    return size if found == len(before) else found


def _kept(before: bytes, now: bytes) -> int:
    same = _common_prefix(before, now)
    tail = before[same:]
    return len(before) if tail.startswith((b'],"', b"]}")) and now[same:].endswith(tail) else same


def _common_prefix(one: bytes, other: bytes) -> int:
    """Halving, because a comparison of slices is one memcmp where a loop over a megabyte takes seconds."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
