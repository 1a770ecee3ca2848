"""The right to write to a run: claimed under a fencing token, renewed from a thread, lost to a newer token."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from orchestrator.errors import RedisAwayError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts
from orchestrator.stop import LOST

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.stop import Stop

_UNSURE: Final = 0.8
"""Share of the lease without renewal after which the attempt starts nothing more."""


def claim(client: Redis, run_id: str, attempt: int, *, lease_seconds: float) -> int | str:
    """Claim a run for an attempt. Returns the fencing token, or why not: UNKNOWN, DONE, PARKED, STALE or LEASED."""
    return Scripts(client)("claim", [keys.record(run_id)], [attempt, int(lease_seconds * 1000)])


class Lease:
    """Renews a claimed lease four times per its length, from a thread; sets the stop when it is lost.

    While Redis is away the thread goes on trying; at 0.8 of the lease without renewal the stop is set:
    what was not committed by then will be done again by the next attempt.
    """

    def __init__(self, client: Redis, run_id: str, fence: int, *, lease_seconds: float, stop: Stop) -> None:
        self._scripts = Scripts(client)
        self._args = [fence, int(lease_seconds * 1000)]
        self._keys = [keys.record(run_id)]
        self._seconds = lease_seconds
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(self._seconds)

    def _keep(self) -> None:
        renewed = time.monotonic()
        while not self._ended.wait(self._seconds / 4):
            try:
                status = self._scripts("renew", self._keys, self._args)
            except RedisAwayError:
                if time.monotonic() - renewed > self._seconds * _UNSURE:
                    self._stop.set(LOST)
                continue
            if status != "OK":
                self._stop.set(LOST)
                return
            renewed = time.monotonic()
