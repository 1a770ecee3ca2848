"""The right to write to a run: claimed under a fencing token, renewed from a thread, lost to a newer token."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from orchestrator.errors import DeniedError, JournalError, RedisAwayError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, hurried
from orchestrator.stop import LOST

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.stop import Stop

_UNSURE: Final = 0.8
"""Share of the lease without renewal after which the attempt starts nothing more."""
_PATIENCE: Final = 0.1
"""Share of the lease that a renewal may take, and that is waited before the next one where it failed."""


def claim(client: Redis, run_id: str, attempt: int, *, lease_seconds: float, worker: str = "") -> int | str:
    """Claim a run for an attempt. Returns the fencing token, or why not: UNKNOWN, DONE, PARKED, STALE or LEASED.

    With the name of a `worker` it's also STALE where the run isn't that worker's any more.
    """
    return Scripts(client)("claim", [keys.record(run_id)], [attempt, int(lease_seconds * 1000), worker])


class Lease:
    """Renews a claimed lease four times per its length, from a thread; sets the stop when it is lost.

    While Redis is away the thread goes on trying; at 0.8 of the lease without renewal the stop holds: nothing more is
    begun, and what is under way is paused, because somebody else may own the run from then on. When Redis is back, the
    lease is renewed under the same token, and the stop goes on; or there is a newer one, and it is set.
    """

    def __init__(self, client: Redis, run_id: str, fence: int, *, lease_seconds: float, stop: Stop) -> None:
        # Its own client: what hangs longer than a renewal may take is away.
        self._client = hurried(client, lease_seconds * _PATIENCE)
        self._scripts = Scripts(self._client)
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
        self._client.close()

    def _keep(self) -> None:
        renewed, wait = time.monotonic(), self._seconds / 4
        while not self._ended.wait(wait):
            asked = time.monotonic()
            try:
                status = self._scripts("renew", self._keys, self._args)
            except (RedisAwayError, DeniedError):  # Rules of Redis that change under it are an outage, too.
                wait = self._seconds * _PATIENCE
                if time.monotonic() + 2 * wait - renewed > self._seconds * _UNSURE:  # The next answer may come later.
                    self._stop.hold()
                continue
            except JournalError:  # The record is none any more: nobody can own the run.
                status = "DAMAGED"
            if status != "OK":
                self._stop.set(LOST)
                return
            renewed, wait = asked, self._seconds / 4
            self._stop.go_on()
