"""Which runs there are: an index read, never a scan."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.errors import JournalError, NotFoundError
from orchestrator.journal import keys
from orchestrator.journal.connection import available
from orchestrator.journal.fold import fold
from orchestrator.journal.stream import load_view, read
from orchestrator.runs import RUN_ID, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis import Redis

    from orchestrator.runs import RunView


_PAGE: Final = 1000


class Record(NamedTuple):
    """A run's record: its view, and its lease. `lease_until` is in milliseconds of Redis TIME."""

    view: RunView
    attempt: int
    fence: int
    lease_until: int


class Tenure(NamedTuple):
    """Who has a run: what a keeper asks of thousands each second. `lease_until` as above."""

    run_id: str
    state: State
    attempt: int
    fence: int
    lease_until: int


def newest(client: Redis, *, live: bool, limit: int) -> list[str]:
    """Return up to `limit` run ids, newest first; with `live` only those that aren't done."""
    found: Any
    with available():
        found = client.zrevrange(keys.LIVE if live else keys.RUNS, 0, limit - 1)
    return _ids(found)


def page(client: Redis, *, live: bool, limit: int) -> tuple[list[Record], list[str]]:
    """Return up to `limit` records, newest first, and the ids of the damaged ones among them; `live` as above.

    It reads on behind what is no run, however much of that somebody put in front.
    """
    found, damaged, start, size = list[Record](), list[str](), 0, limit
    while len(found) < limit:
        with available():
            raw: Any = client.zrevrange(keys.LIVE if live else keys.RUNS, start, start + size - 1)
        good, bad = listed(client, _ids(raw))
        found, damaged = found + good, damaged + bad
        if len(raw) < size:
            break
        start, size = start + size, _PAGE
    return found[:limit], damaged


def matching(client: Redis, prefix: str) -> list[str]:
    """Return all run ids that begin with `prefix`."""
    found: Any
    with available():
        found = client.zrevrange(keys.RUNS, 0, -1)
    return [run_id for run_id in _ids(found) if run_id.startswith(prefix)]


def ended(client: Redis, since_ms: int, until_ms: int) -> list[tuple[str, int]]:
    """Return the runs that ended from `since_ms` to before `until_ms`, with when, in that order; archived ones too.

    Times are milliseconds of Redis TIME.
    """
    found: dict[str, int] = {}
    for key in (keys.FINISHED, keys.ARCHIVED):  # In this order: a run goes from one to the other.
        raw: Any
        with available():
            raw = client.zrangebyscore(key, since_ms, f"({until_ms}", withscores=True)
        found |= {run_id: int(when) for name, when in raw for run_id in _ids([name])}
    return sorted(found.items(), key=lambda one: (one[1], one[0]))


def projects(client: Redis, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the project of each of these runs; of one whose record is damaged there is none."""
    specs: Any
    with available(), client.pipeline(transaction=False) as pipe:
        for run_id in run_ids:
            pipe.hget(keys.record(run_id), "spec")
        specs = pipe.execute(raise_on_error=False)
    found = {}
    for run_id, spec in zip(run_ids, specs, strict=True):
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            if isinstance(project := json.loads(spec)["repo"]["project"], str):
                found[run_id] = project
    return found


def pending(client: Redis) -> list[str]:
    """Return the runs that wait for dispatch, first come first."""
    found: Any
    with available():
        found = client.zrange(keys.PENDING, 0, -1)
    return _ids(found)


def _ids(found: Iterable[bytes]) -> list[str]:
    """Return what can be a run's id: what else somebody put there must not stop the others."""
    return [text for text in (raw.decode(errors="replace") for raw in found) if RUN_ID.match(text)]


def records(client: Redis, run_ids: Sequence[str]) -> list[Record]:
    """Return the records of these runs, in this order, without those that are gone or damaged; see `listed`."""
    return listed(client, run_ids)[0]


def listed(client: Redis, run_ids: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the records of these runs, in this order, and the ids of those that are damaged; none of what is gone.

    One that can't be read, nor folded anew from its journal, is damaged: it must not stop the others.
    """
    rows: Any
    with available(), client.pipeline(transaction=False) as pipe:
        for run_id in run_ids:
            pipe.hmget(keys.record(run_id), ["spec", "view", "attempt", "fence", "lease_until"])
        rows = pipe.execute(raise_on_error=False)
    found, damaged = [], []
    for run_id, row in zip(run_ids, rows, strict=True):
        if isinstance(row, list) and not any(row):
            continue
        try:
            found.append(Record(_view(client, run_id, row), *map(int, row[2:])))
        except (JournalError, TypeError, ValueError):  # TypeError: the record is no record.
            damaged.append(run_id)
    return found, damaged


def gone(client: Redis, run_ids: Sequence[str]) -> list[str]:
    """Return those of these runs that have no record any more."""
    rows: Any
    with available(), client.pipeline(transaction=False) as pipe:
        for run_id in run_ids:
            pipe.exists(keys.record(run_id))
        rows = pipe.execute()
    return [run_id for run_id, row in zip(run_ids, rows, strict=True) if not row]


def _view(client: Redis, run_id: str, row: Sequence[bytes]) -> RunView:
    """Return the view of a record's row; one that can't be read is folded from the journal, which is the truth.

    Raises JournalError where that can't be read either.
    """
    if not (row[0] and row[1]):
        return _folded(client, run_id)
    try:
        view = load_view(row[0], row[1])
    except ValueError:
        return _folded(client, run_id)
    return view if view.id == run_id else _folded(client, run_id)


def _folded(client: Redis, run_id: str) -> RunView:
    try:
        return fold(run_id, read(client, run_id))
    except (ValueError, StopIteration) as error:
        hint = f"dreamdock audit {run_id} --verify"
        raise JournalError(f"run {run_id} can't be read", cause="its journal has no beginning", hint=hint) from error


def tenures(client: Redis, run_ids: Sequence[str]) -> list[Tenure]:
    """Return who has these runs, in this order, without those that are gone or damaged."""
    rows: Any
    with available(), client.pipeline(transaction=False) as pipe:
        for run_id in run_ids:
            pipe.hmget(keys.record(run_id), ["state", "attempt", "fence", "lease_until"])
        rows = pipe.execute(raise_on_error=False)
    found = []
    for run_id, row in zip(run_ids, rows, strict=True):
        with suppress(ValueError, TypeError):  # TypeError: a field is missing, or the record is no record.
            found.append(Tenure(run_id, State((row[0] or b"").decode(errors="replace")), *map(int, row[1:])))
    return found


def record(client: Redis, run_id: str) -> Record:
    """Return one run's record. Raises NotFoundError, or JournalError for one that can't be read."""
    found, damaged = listed(client, [run_id])
    if damaged:
        _folded(client, run_id)
        raise JournalError(f"the record of run {run_id} is damaged", hint=f"dreamdock audit {run_id} --verify")
    if not found:
        raise NotFoundError(f"there is no run {run_id}", hint="dreamdock ps -a")
    return found[0]


def now_ms(client: Redis) -> int:
    """Return Redis TIME in milliseconds: the clock that leases are judged by."""
    answer: Any
    with available():
        answer = client.time()
    return int(answer[0]) * 1000 + int(answer[1]) // 1000
