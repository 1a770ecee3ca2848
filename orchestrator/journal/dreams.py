"""Who dreams of a project: one at a time, whatever the number of hosts; and until when its runs were looked at."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from contextlib import contextmanager, suppress
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import DeniedError, JournalError, RedisAwayError, UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available, hurried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

LEASE_SECONDS: Final = 30.0
"""How long a project is a dream's without a renewal; after that another one may begin, and this one commits nothing."""
_UNSURE: Final = 0.8
"""Share of the lease without renewal after which nothing is begun any more: a commit takes a moment, too."""
_PATIENCE: Final = 0.1
"""Share of the lease that a renewal may take, and that is waited before the next one where it failed."""


@contextmanager
def held(client: Redis, project: str, seconds: float = LEASE_SECONDS) -> Iterator[Held]:
    """Have a project's library to oneself until the block ends; `owns` says whether that still holds.

    Raises UnavailableError where another has it, RedisAwayError, DeniedError.
    """
    token, host = token_hex(16), f"{platform.node()}, process {os.getpid()}"
    told = str(Scripts(client)("dream_hold", [], [project, token, host, int(seconds * 1000), "0"]))
    if told != "OK":
        other = json.loads(told)
        raise UnavailableError(
            "somebody else dreams of this repository just now",
            cause=f"{other['host']}, for {other['seconds']:.0f} s",
            hint="try again when it's done; the lock of one that was killed goes by itself",
        )
    mine = Held(client, project, token, host, seconds)
    try:
        yield mine
    finally:
        mine.end()


class Held:
    """The right to change a project's library, renewed from a thread four times per its lease.

    Where Redis is away for longer than that it's lost until a renewal says that nobody has had it since; where another
    one has, for good.
    """

    def __init__(self, client: Redis, project: str, token: str, host: str, seconds: float) -> None:
        # Its own client: what hangs longer than a renewal may take is away.
        self._client = hurried(client, seconds * _PATIENCE)
        self._scripts = Scripts(self._client)
        self._project, self._token, self._host, self._seconds = project, token, host, seconds
        self._good_until = time.monotonic() + seconds * _UNSURE
        self._lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"dream-{project}", daemon=True)
        self._thread.start()

    def owns(self) -> bool:
        """Whether nobody else can have it just now; asked right before whatever others can see."""
        return not self._lost and time.monotonic() < self._good_until

    def end(self) -> None:
        """Give it back, if it's still one's own; where Redis is away, it goes with its lease."""
        self._ended.set()
        self._thread.join(self._seconds)
        with suppress(UnavailableError, DeniedError, JournalError):
            self._scripts("dream_free", [], [self._project, self._token])
        self._client.close()

    def _keep(self) -> None:
        wait = self._seconds / 4
        args = [self._project, self._token, self._host, int(self._seconds * 1000), "1"]
        while not self._ended.wait(wait):
            asked = time.monotonic()
            try:
                status = self._scripts("dream_hold", [], args)
            except (RedisAwayError, DeniedError):  # Rules of Redis that change under it are an outage, too.
                wait = self._seconds * _PATIENCE
                continue
            except JournalError:  # The key is none any more.
                status = "LOST"
            if status != "OK":
                self._lost = True
                return
            self._good_until, wait = asked + self._seconds * _UNSURE, self._seconds / 4


def seen(client: Redis, project: str) -> int:
    """Return until when the project's runs were looked at: ms of Redis's clock; 0 for never. Raises RedisAwayError."""
    with available():
        found: Any = client.hget(keys.DREAMT, project)
    return int(found) if found and found.isdigit() else 0


def all_seen(client: Redis) -> dict[str, int]:
    """Return the same of all projects, without what somebody else wrote there. Raises RedisAwayError."""
    rows: Any
    with available():
        rows = client.hgetall(keys.DREAMT)
    return {project.decode(errors="replace"): int(text) for project, text in rows.items() if text.isdigit()}


def note(client: Redis, project: str, until_ms: int) -> None:
    """Note that the project's runs were looked at until then: only ever forward. Raises RedisAwayError, DeniedError."""
    Scripts(client)("dream_note", [], [project, until_ms])
