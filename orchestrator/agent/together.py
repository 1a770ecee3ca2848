"""Waits for what is done side by side: for all of it, but not much longer than for the first that came."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import DreamdockError
from orchestrator.models.port import OutOfTime
from orchestrator.stop import Stopped
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOO_LONG: Final = "it took much longer than the others"
_PATIENCE_S: Final = 60.0
"""What the others have beside as many times what the first one took as there are of them."""
_ENDING_S: Final = 5.0
"""How long what was given up may take to end; then it's left to itself."""


def gather(futures: Sequence[Future[Any]], give_up: Callable[[int], None], *, patience_s: float = _PATIENCE_S) -> None:
    """Wait until all are done; who takes too long is given up, by its place from 0."""
    began, until = time.monotonic(), None
    left = set(futures)
    while left and (until is None or time.monotonic() < until):
        done, left = wait(left, until and max(until - time.monotonic(), 0.0), FIRST_COMPLETED)
        if until is None and any(one.exception() is None for one in done):
            until = time.monotonic() + len(futures) * (time.monotonic() - began) + patience_s
    for place, future in enumerate(futures):
        if future in left:
            give_up(place)
    wait(left, _ENDING_S)


def failure(future: Future[Any]) -> str:
    """Return why nothing came; empty where something did."""
    if not future.done():
        return TOO_LONG
    match future.exception():
        case None:
            return ""
        case OutOfTime():
            return "the run's time is up"
        case DreamdockError() | SandboxError() as error:
            return error.words
        case Stopped() as stopped:
            return stopped.reason
        case error:
            return f"{type(error).__name__}: {error}"
