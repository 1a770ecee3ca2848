"""One signal that ends an attempt early, or holds it, from any thread: a cancel, a lost lease, a shutdown."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANCELLED: Final = "cancelled"
PAUSED: Final = "paused"
SHUTDOWN: Final = "the worker was shut down"
PREEMPTED: Final = "pre-empted"
ASKED: Final = "a person is asked"
LOST: Final = "lease lost"
"""Reasons that somebody looks at."""


class Stopped(Exception):  # noqa: N818  # A flow signal, not an error.
    """The attempt must end now; `reason` is the Stop's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stop:
    """A flag with a reason. Callbacks run once, in the thread that sets it, or at once where it is set already.

    It can also hold: whoever is about to begin something waits in `check` until it goes on, or is set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._free = threading.Event()
        self._free.set()
        self._holding: list[tuple[Callable[[], None], Callable[[], None]]] = []

    @property
    def is_set(self) -> bool:
        """Whether the attempt must end."""
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why, or the empty string."""
        return self._reason or ""

    @property
    def holds(self) -> bool:
        """Whether nothing may be begun just now."""
        return not self._free.is_set()

    def set(self, reason: str) -> None:
        """Ask the attempt to end; only the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks, self._callbacks = self._callbacks, []
            self._free.set()
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
        """Raise Stopped if it is set; while it holds, wait."""
        self._free.wait()
        if self.is_set:
            raise Stopped(self.reason)

    def hold(self) -> None:
        """Let nothing more be begun, and pause what is under way."""
        with self._lock:
            if self.is_set or not self._free.is_set():
                return
            self._free.clear()
            for pause, _ in self._holding:
                pause()

    def go_on(self) -> None:
        """Let what is under way go on, and whoever waits."""
        with self._lock:
            if self.is_set or self._free.is_set():
                return
            for _, resume in self._holding:
                resume()
            self._free.set()

    @contextmanager
    def holding(self, pause: Callable[[], None], resume: Callable[[], None]) -> Iterator[None]:
        """Have `pause` called when it holds while the block runs, and `resume` when it goes on. They don't raise."""
        pair = (pause, resume)
        with self._lock:
            self._holding.append(pair)
            if not self._free.is_set():
                pause()
        try:
            yield
        finally:
            with self._lock:
                self._holding.remove(pair)

    def _remove(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


class Below(Stop):
    """A stop for a part of the work: it's set with the one above, and waits with it; by itself it ends only that part.

    Used as a context; behind it the one above has forgotten it.
    """

    def __init__(self, above: Stop) -> None:
        super().__init__()
        self._above = above
        self._forget: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._forget = self._above.on_set(lambda: self.set(self._above.reason))
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()

    def check(self) -> None:
        """Raise Stopped if it, or the one above, is set; while that holds, wait."""
        self._above.check()
        super().check()
