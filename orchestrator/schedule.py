"""When each project's runs are dreamed of: once per period, enqueued by whichever keeper looks first.

What is known of a project's last dream is in `dd:dreams`; `journal/lua/dream_enqueue.lua` alone decides whether
there's to be another one. A period's runs are dreamed of once it's over. Each project's periods begin at another time,
so that not all of them are dreamed of at once. Where keepers differ about the length the shortest one counts.
"""

from __future__ import annotations

import re
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import ConfigDict, ValidationError

from orchestrator.dialogue import Value
from orchestrator.journal import dreams, index, keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.queue import DREAM_ENTRY_POINT, DREAM_QUEUE, entry
from orchestrator.runs import DREAM_ID

if TYPE_CHECKING:
    from redis import Redis

TRIES: Final = 3
"""How often a period's dream is begun, where its workers are killed in it."""
_DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 1000
_OVERLAP_MS: Final = 60_000
_PROJECT: Final = re.compile(r"^[0-9a-f]{12}\Z")
_LONGEST_WHY: Final = 500
_log = structlog.get_logger(__name__)


class DreamState(StrEnum):
    """Where a project's dream is."""

    QUEUED = "queued"
    RUNNING = "running"
    AGAIN = "again"  # It was interrupted, and a keeper will enqueue it again.
    DONE = "done"
    FAILED = "failed"


_UNDER_WAY: Final = frozenset({DreamState.QUEUED, DreamState.RUNNING, DreamState.AGAIN})


class LastDream(Value):
    """A project's last dream of the queue.

    `tries` is how often it was begun or is about to be, `at` when it was first enqueued and `changed` when its state
    last changed, ms of Redis's clock; `host` had it last, and `why` tells how it ended.
    """

    model_config = ConfigDict(extra="ignore")

    job: str
    state: DreamState
    tries: int = 1
    at: int
    changed: int
    host: str = ""
    why: str = ""


def last_dreams(client: Redis) -> dict[str, LastDream]:
    """Return each project's last dream by its id, without what somebody else wrote there. Raises RedisAwayError."""
    rows: Any
    with available():
        rows = client.hgetall(keys.DREAMS)
    found = {}
    for project, text in rows.items():
        with suppress(ValidationError, UnicodeDecodeError):
            found[project.decode()] = LastDream.model_validate_json(text)
    return found


def began(client: Redis, job_id: str, host: str) -> bool:
    """Say that a dream begins; false for one that no keeper has enqueued, or that is begun already."""
    return _mark(client, job_id, DreamState.RUNNING, host=host)


def ended(client: Redis, job_id: str, state: DreamState, why: str = "", *, counts: bool = True) -> None:
    """Say how a dream ended; one that is to be tried AGAIN may count as no try. Raises RedisAwayError."""
    _mark(client, job_id, state, why=why, counts=counts)


def _mark(client: Redis, job_id: str, state: DreamState, *, host: str = "", why: str = "", counts: bool = True) -> bool:
    found = DREAM_ID.match(job_id)
    if found is None:
        return False
    told = [found[1], job_id, state, host, why[:_LONGEST_WHY], "1" if counts else "0"]
    return Scripts(client)("dream_mark", [], told) == "OK"


class Schedule:
    """What a keeper knows of when runs ended; it reads each run's record once.

    `patience_seconds` is for how long a dream has to be missed before it's believed to be lost.
    """

    def __init__(self, days: float, *, patience_seconds: float = dreams.LEASE_SECONDS) -> None:
        self._period_ms = max(int(days * _DAY_MS), 1) if days else 0
        self._patience_ms = int(patience_seconds * 1000)
        self._ends: dict[str, set[int]] = {}
        self._read_until = 0

    def tick(self, client: Redis) -> None:
        """Enqueue the dreams that are due, and again those that were lost. Raises RedisAwayError, DeniedError."""
        if not self._period_ms:
            return
        now = index.now_ms(client)
        self._read(client, now)
        self._forget_seen(client)
        under_way = {project: last for project, last in last_dreams(client).items() if last.state in _UNDER_WAY}
        for project in sorted(filter(_PROJECT.match, {*self._ends, *under_way})):
            number, since = divmod(now + int(project, 16) % self._period_ms, self._period_ms)
            begins = now - since
            due = any(end < begins for end in self._ends.get(project, ()))
            if due or project in under_way:
                told = self._enqueue(client, project, f"dream-{project}-{number}", begins, due=due)
                _say(told, project, under_way.get(project))

    def _enqueue(self, client: Redis, project: str, job_id: str, begins: int, *, due: bool) -> str:
        told = [project, job_id, begins, "1" if due else "0", self._patience_ms, TRIES]
        fields = entry(DREAM_ENTRY_POINT, "{job}", DREAM_QUEUE)
        return str(Scripts(client)("dream_enqueue", [], [*told, "rq:queues", "rq:job:", *fields]))

    def _read(self, client: Redis, now: int) -> None:
        """Learn which runs have ended since the last time, and shortly before: a fail-over may set the clock back."""
        runs = index.ended(client, self._read_until - _OVERLAP_MS, now)
        for start in range(0, len(runs), _AT_ONCE):
            ends = dict(runs[start : start + _AT_ONCE])
            for run, project in index.projects(client, list(ends)).items():
                self._ends.setdefault(project, set()).add(ends[run])
        self._read_until = now

    def _forget_seen(self, client: Redis) -> None:
        """Forget the runs that were looked at."""
        for project, until in dreams.all_seen(client).items():
            if project in self._ends:
                self._ends[project] = {end for end in self._ends[project] if end > until}


def _say(told: str, project: str, last: LastDream | None) -> None:
    """Say what was done about a project's dream, once: only one keeper is told."""
    why = last.why if last is not None and last.why else "its worker died"
    if told == "QUEUED":
        _log.info("enqueued a dream", project=project)
    elif told == "AGAIN":
        _log.warning("enqueued a dream again", project=project, why=why)
    elif told == "GIVEN_UP":
        _log.error("gave up a dream until its next period", project=project, tries=TRIES, why=why)
