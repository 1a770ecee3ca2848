"""Journals of runs that are over: put together after a while, and read as before; given up later, where wanted."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

import structlog

from orchestrator.errors import JournalError
from orchestrator.journal import index, keys, packing
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.stream import entries
from orchestrator.journal.verify import verify

if TYPE_CHECKING:
    from redis import Redis

_log = structlog.get_logger(__name__)
_DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 50


def tidy(client: Redis, *, archive_days: float, keep_days: float) -> list[str]:
    """Archive the journals of up to 50 runs that were over for `archive_days`; return the runs' ids.

    Those that were over for `keep_days` are given up, with all that Redis has of the run; 0: never.
    Raises RedisAwayError.
    """
    done = []
    for run_id in _due(client, keys.FINISHED, archive_days):
        try:
            done += [run_id] if archive(client, run_id) else []
        except JournalError as error:  # As it lies there it tells more than an archive of it would.
            _log.error("a journal isn't archived", run=run_id, why=error.message, cause=error.cause)
            with available():
                client.zrem(keys.FINISHED, run_id)
    for run_id in _due(client, keys.ARCHIVED, keep_days) if keep_days else ():
        forget(client, run_id)
        _log.info("gave up a journal", run=run_id)
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
        blobs = [zlib.decompress(packed) for packed in stored]
    except zlib.error as error:
        raise JournalError(f"a patch of run {run_id} is damaged", cause=str(error)) from error
    parts = list(packing.pieces(lines, blobs))
    names = [keys.record(run_id), keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id)]
    status = Scripts(client)("archive", [*names, keys.FINISHED, keys.ARCHIVED], [run_id, check.head, *parts])
    return status == "OK"


def forget(client: Redis, run_id: str) -> bool:
    """Give up a run that is over, with all that Redis has of it; false for one that isn't over."""
    names = [keys.record(run_id), keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id), keys.live(run_id)]
    lists = [keys.RUNS, keys.FINISHED, keys.ARCHIVED]
    return Scripts(client)("forget", [*names, *lists], [run_id]) == "OK"


def _due(client: Redis, key: str, days: float) -> list[str]:
    found: Any
    until = index.now_ms(client) - int(days * _DAY_MS)
    with available():
        found = client.zrangebyscore(key, 0, until, start=0, num=_AT_ONCE)
    return [run_id.decode() for run_id in found]
