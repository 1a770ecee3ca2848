"""Journals of runs that are over: put together after a while, and read as before; given up later, where wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.errors import JournalError, NotFoundError
from orchestrator.journal import index, keys, packing
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.stream import entries, unpacked
from orchestrator.journal.verify import verify
from orchestrator.runs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

_log = structlog.get_logger(__name__)
_DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 50


def tidy(client: Redis, *, archive_days: float) -> list[str]:
    """Archive the journals of up to 50 runs that were over for `archive_days`; return the runs' ids.

    One that isn't as it was written stays as it is, and is told. Raises RedisAwayError.
    """
    return _each(client, keys.FINISHED, archive_days, archive)


def expire(client: Redis, *, keep_days: float) -> list[str]:
    """Give up up to 50 journals that were over for `keep_days`, with all that Redis has of the run; 0: never.

    Returns the runs' ids. Raises RedisAwayError.
    """
    return _each(client, keys.ARCHIVED, keep_days, forget) if keep_days else []


def _each(client: Redis, key: str, days: float, act: Callable[[Redis, str], bool]) -> list[str]:
    """Act on those runs of a list that are due; what can't be acted on is taken from it, or it would hold up others."""
    done = []
    for raw in _due(client, key, days):
        run_id = raw.decode(errors="backslashreplace")
        try:
            done += [run_id] if RUN_ID.match(run_id) and act(client, run_id) else []
        except (JournalError, NotFoundError) as error:  # As it lies there it tells more than an archive of it would.
            _log.error("a journal is left as it is", run=run_id, why=error.message, cause=error.cause)
            with available():
                client.zrem(key, raw)
        if not RUN_ID.match(run_id):
            with available():
                client.zrem(key, raw)
    return done


def archive(client: Redis, run_id: str) -> bool:
    """Put a journal together; false where its run isn't over, or it is put together already.

    Raises JournalError for one that isn't as it was written.
    """
    check = verify(client, run_id)
    if not check.ok:
        raise JournalError(
            f"the journal of run {run_id} isn't whole", cause=check.why, hint=f"dreamdock audit {run_id}"
        )
    lines = [packing.Line(entry.data, entry.hash, entry.signature) for entry in entries(client, run_id)]
    stored: Any
    with available():
        stored = client.hvals(keys.blobs(run_id))
    try:
        blobs = [blob for packed in stored if (blob := unpacked(packed)) is not None]
        parts = list(packing.pieces(lines, blobs)) if len(blobs) == len(stored) else []
    except ValueError as error:
        raise JournalError(f"the journal of run {run_id} can't be archived", cause=str(error)) from error
    if not parts:
        raise JournalError(f"a patch of run {run_id} is damaged", hint=f"dreamdock audit {run_id} --verify")
    names = [keys.record(run_id), keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id)]
    status = Scripts(client)("archive", [*names, keys.FINISHED, keys.ARCHIVED], [run_id, check.head, *parts])
    return status == "OK"


def forget(client: Redis, run_id: str) -> bool:
    """Give up a run that is over, with all that Redis has of it; false for one that isn't over."""
    names = [keys.record(run_id), keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id), keys.live(run_id)]
    lists = [keys.DEADLINES, keys.RUNS, keys.FINISHED, keys.ARCHIVED]
    return Scripts(client)("forget", [*names, *lists], [run_id]) == "OK"


def _due(client: Redis, key: str, days: float) -> list[bytes]:
    found: Any
    until = index.now_ms(client) - int(days * _DAY_MS)
    with available():
        found = client.zrangebyscore(key, 0, until, start=0, num=_AT_ONCE)
    return list(found)
