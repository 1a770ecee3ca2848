"""One signal that ends an attempt early, from any thread: a cancel, a lost lease, a shutdown."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CANCELLED: Final = "cancelled"
PAUSED: Final = "paused"
SHUTDOWN: Final = "the worker was shut down"
LOST: Final = "lease lost"
"""Reasons that somebody looks at."""


class Stopped(Exception):  # noqa: N818  # A flow signal, not an error.
    """The attempt must end now; `reason` is the Stop's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stop:
    """A flag with a reason. Callbacks run once, in the thread that sets it, or at once where it is set already."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        """Whether the attempt must end."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why, or the empty string."""
        return self._reason or ""

    def set(self, reason: str) -> None:
        """Ask the attempt to end; only the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_set(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the stop is set. Returns a function that takes it back."""
        with self._lock:
            if self._reason is None:
                self._callbacks.append(callback)
                return lambda: self._remove(callback)
        callback()
        return lambda: None

    def check(self) -> None:
        """Raise Stopped if it is set."""
        if self.is_set:
            raise Stopped(self.reason)

    def _remove(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
