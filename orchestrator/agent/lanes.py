"""Forks in which candidates are tried: a few lanes, and each takes one candidate after another.

More lanes than cores would only wait for one another, and each costs the start and the memory of a sandbox; a rewind
between two candidates costs next to nothing.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from orchestrator.stop import Stop
from orchestrator.timeline import Timeline
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.agent.around import Fork
    from orchestrator.events import Event
    from sandbox.open import Sandbox

_LEAST: Final = 2


class Point(NamedTuple):
    """Where candidates start from: the last checkpoint's commit and tree, and the state of the shell there."""

    commit: str
    tree: str
    shell: str

    @classmethod
    def of(cls, events: Sequence[Event]) -> Self:
        """Return where a run is after these events."""
        now = Timeline(events).now
        return cls(now.commit, now.tree, now.shell)


class Lane:
    """A fork that is opened when it's first needed, and kept; one thread at a time uses it.

    `give_up` may be called from any, and ends what is under way; nothing but `close` is done with it after that.
    """

    def __init__(self, fork: Fork, stop: Stop) -> None:
        """Take what opens a fork; what is under way ends with `stop`."""
        self.stop = Stop()
        self._fork = fork
        self._forget = stop.on_set(lambda: self.stop.set(stop.reason))
        self._open = ExitStack()
        self._box: Sandbox | None = None
        self._there: Point | None = None
        self._turn = Lock()

    def prepare(self, point: Point) -> None:
        """Have the fork be as it is at a checkpoint: rewound if it's open, else opened.

        Raises SandboxError, Stopped.
        """
        with self._turn:
            self._at(point)

    def take(self, point: Point) -> Sandbox:
        """Return the fork as it is at a checkpoint, to be used: it isn't so any more. Raises as `prepare` does."""
        with self._turn:
            box = self._at(point)
            self._there = None
            return box

    def give_up(self, why: str) -> None:
        """End what is under way at once."""
        self.stop.set(why)

    def close(self) -> None:
        """Remove the fork, once it's open if it is being opened."""
        self._forget()
        with self._turn:
            self._leave()

    def _at(self, point: Point) -> Sandbox:
        self.stop.check()
        if self._box is not None and self._there != point:
            try:
                self._box.rewind(point.commit, shell=point.shell)
            except SandboxError:  # It's ended; another one may do.
                self._leave()
        if self._box is None:
            self._box = box = self._open.enter_context(self._fork(point.tree, point.shell))
            self._open.callback(self.stop.on_set(lambda: _kill(box)))
        self._there = point
        return self._box

    def _leave(self) -> None:
        self._box = self._there = None
        with suppress(SandboxError):  # What is left, the keeper finds.
            self._open.close()


class Lanes:
    """The lanes that are free for one step's candidates. One that can't have a fork is left out."""

    def __init__(self, lanes: list[Lane], point: Point) -> None:
        """Take the lanes, and where each candidate starts from."""
        self._point = point
        self._usable = len(lanes)
        self._lock = Lock()
        self._free: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    @contextmanager
    def taken(self) -> Iterator[Sandbox]:
        """Wait for a lane, and have its fork while the block runs. Raises SandboxError where none has one; Stopped."""
        while True:
            lane = self._free.get()
            try:
                box = lane.take(self._point)
                break
            except BaseException as error:
                if self._is_needed(error):
                    self._free.put(lane)
                    raise
        try:
            yield box
        finally:
            self._free.put(lane)

    def _is_needed(self, error: BaseException) -> bool:
        """Whether a lane that has no fork is the last one, or is to say so: else another one may be waited for."""
        with self._lock:
            if not isinstance(error, SandboxError) or self._usable == 1:
                return True
            self._usable -= 1
            return False


def lanes_for(candidates: int) -> int:
    """Return how many lanes so many candidates have on this host: one for each core, and two at least."""
    return min(candidates, max(os.cpu_count() or 1, _LEAST))


def _kill(box: Sandbox) -> None:
    with suppress(SandboxError):  # It's gone already, or its engine is.
        box.kill()
