"""Runs that wait for a person until a deadline: a list beside their records, which a keeper looks at each second."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import JournalError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.index import now_ms
from orchestrator.runs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

_AT_ONCE: Final = 1000


def due(client: Redis) -> list[str]:
    """Return the runs whose deadline has come by Redis's clock, the longest past first; what can't be one is taken out.

    Raises RedisAwayError.
    """
    found: Any = []
    with suppress(JournalError), available():  # It isn't the list that was put there: `mend` says.
        found = client.zrangebyscore(keys.DEADLINES, "-inf", now_ms(client))
    names = [raw.decode(errors="replace") for raw in found]
    if garbage := [raw for raw, name in zip(found, names, strict=True) if not RUN_ID.match(name)]:
        with available():
            client.zrem(keys.DEADLINES, *garbage)
    return [name for name in names if RUN_ID.match(name)]


def mend(client: Redis, run_ids: Sequence[str]) -> int:
    """Put those of these runs into the list that lack there, take out those that don't wait; return how many that were.

    Raises RedisAwayError.
    """
    scripts = Scripts(client)
    parts = [run_ids[start : start + _AT_ONCE] for start in range(0, len(run_ids), _AT_ONCE)]
    return sum(int(scripts("deadlines", [], list(part))) for part in parts)
