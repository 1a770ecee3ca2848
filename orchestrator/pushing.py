"""An attempt's checkpoints on their way to the checkpoint remote: the newest, again and again, beside the work."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

import structlog

from orchestrator.stop import LOST
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.stop import Stop

_SHARE: Final = 20
"""A pause takes so many times what the push before it took, within the bounds below."""
_PAUSES: Final = (0.25, 1.0)
"""Seconds: the shortest and the longest pause after a push."""
_LONGEST_RETRY: Final = 30.0
"""Seconds between two tries while they fail, at most."""
_LONG: Final = 5.0
"""Seconds after which a push that is under way is told of."""
_LOOK: Final = 0.1
_log = structlog.get_logger(__name__)


class Pushed(NamedTuple):
    """How far the checkpoint remote is: the last step that it has, and why it has no later one."""

    step: int = 0
    failed: str = ""


class Copies(Protocol):
    """Where committed steps go beside this host's store."""

    @property
    def pushed(self) -> Pushed:
        """How far they are."""

    def committed(self, step: int) -> None:
        """Take note that a step is committed; returns at once."""


class NoCopies:
    """What a host without a checkpoint remote has."""

    pushed = Pushed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def settle(self, within_s: float) -> None:
        """Do nothing."""

    def committed(self, step: int) -> None:
        """Do nothing."""


class Pushing:
    """Pushes what is committed, from a thread, while the block runs. It never holds up whoever commits.

    `push` pushes what there is, or raises SandboxError; `kill` ends one that is under way, and all later ones. While
    the stop holds nothing is begun, and nothing any more once the lease is lost: somebody else may own the run then.
    """

    def __init__(self, push: Callable[[], None], kill: Callable[[], None], stop: Stop, *, pushed: int = 0) -> None:
        self._push = push
        self._kill = kill
        self._stop = stop
        self._changed = threading.Condition()
        self._wanted = self._step = pushed
        self._failed = ""
        self._tries = 0
        self._began: float | None = None
        self._hurried = self._ended = False
        self._thread = threading.Thread(target=self._work, name="push", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._kill()
        self._thread.join(_LONG)

    @property
    def pushed(self) -> Pushed:
        """How far the remote is."""
        with self._changed:
            took = time.monotonic() - self._began if self._began is not None else 0.0
            slow = f"a push is under way for {took:.0f} s" if took > _LONG else ""
            return Pushed(self._step, self._failed or slow)

    def committed(self, step: int) -> None:
        """Push up to this step, soon."""
        with self._changed:
            self._wanted = step
            self._changed.notify_all()

    def settle(self, within_s: float) -> None:
        """Push what is behind now, and wait for it; once where it fails, and for so many seconds at most."""
        with self._changed:
            tries, self._hurried = self._tries, True
            under_way = self._began is not None
            self._changed.notify_all()
            # A try that was under way may have begun before the last step.
            self._changed.wait_for(
                lambda: self._step >= self._wanted or self._tries > tries + under_way or self._over, within_s
            )
            self._hurried = False

    @property
    def _over(self) -> bool:
        return self._ended or self._stop.reason == LOST

    def _work(self) -> None:
        pause = 0.0
        while self._due(pause):
            with self._changed:
                step, self._began = self._wanted, time.monotonic()
            failed = self._tried()
            with self._changed:
                took, self._began = time.monotonic() - self._began, None
                self._tries += 1
                self._failed = failed
                if failed:
                    pause = min(max(2 * pause, _PAUSES[1]), _LONGEST_RETRY)
                else:
                    self._step = max(step, self._step)
                    pause = min(max(_SHARE * took, _PAUSES[0]), _PAUSES[1])
                self._changed.notify_all()

    def _tried(self) -> str:
        """Push; return why that failed, in one line."""
        try:
            self._push()
        except (SandboxError, OSError) as error:
            told = (error.message, error.cause) if isinstance(error, SandboxError) else (str(error),)
            why = ": ".join(filter(None, told))
            if why != self._failed and not self._ended:
                _log.warning("a checkpoint can't be pushed", why=why)
            return why
        return ""

    def _due(self, pause: float) -> bool:
        """Wait for the pause, and for something to push; false at the end."""
        with self._changed:
            tries = self._tries if self._hurried else -1
            self._changed.wait_for(lambda: self._over or (self._hurried and self._tries != tries), pause)
            while not self._over:
                if self._wanted > self._step and not self._stop.holds:
                    return True
                self._changed.wait(_LOOK if self._wanted > self._step else None)
            return False
