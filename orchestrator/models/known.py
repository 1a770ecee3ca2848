"""What was made of the parts of a request, kept for the next one, which brings nearly all of them again."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")


class Known(Generic[V]):
    """Values by the very object that they were made of; those of the request before are kept, older ones go."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[object, V]] = {}
        self._now: dict[int, tuple[object, V]] = {}

    def begin(self) -> None:
        """Begin a request: what it doesn't bring again is forgotten with the next one."""
        self._before, self._now = self._now, {}

    def find(self, of: object) -> V | None:
        """Return what was made of this object, None where nothing was."""
        found = self._now.get(id(of)) or self._before.get(id(of))  # An object that is kept here keeps its id.
        if found is None:
            return None
        self._now[id(of)] = found
        return found[1]

    def keep(self, of: object, value: V) -> V:
        """Keep what was made of this object, and return it."""
        self._now[id(of)] = (of, value)
        return value
