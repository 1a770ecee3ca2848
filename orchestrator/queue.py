"""The fair queue, in front of RQ: who gives runs to workers, and what a person can do to all of it.

Whose turn it is, and why somebody waits, is decided in `journal/lua/queue.lua` alone. Workers and keepers call
`dispatch`, which is the only way onto RQ, in RQ's own form; each worker has a queue of its own there, and is given a
run when it's free. `orchestrator.job` is what it makes of the entry.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import events as e
from orchestrator.errors import HeadMovedError, JournalError, NotFoundError, UsageError
from orchestrator.journal import index, keys
from orchestrator.journal.asks import asks, user_of
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.writer import Writer
from orchestrator.runs import State, attempt_id
from orchestrator.standing import DRAIN, PAUSED, policy, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from redis import Redis

    from orchestrator.shares import QueueSettings

QUEUE: Final = "runs"
DREAM_QUEUE: Final = "dream"
ENTRY_POINT: Final = "orchestrator.worker.run_attempt"
DREAM_ENTRY_POINT: Final = "orchestrator.dreaming.run_dream"
_OVER: Final = frozenset({State.WAITING, State.DONE})
_TEXTS: Final[Mapping[str, str]] = {
    "priority": "pre-empted by a run of high priority",
    "budget": "the budget of {} for today is used up",
    "drain": "its host is to drain",
}
"""Why an attempt is to give its worker up; the run shows it while it waits again."""


class Sent(NamedTuple):
    """An attempt that was given to a worker."""

    attempt: str
    worker: str


def dispatch(client: Redis) -> list[Sent]:
    """Give runs that wait to the workers that are free, and ask those that are to give theirs up to do so.

    Anybody may call it at any time; it returns what was sent.
    """
    fields = entry(ENTRY_POINT, "{job}", f"{QUEUE}:{{worker}}")
    done = json.loads(str(Scripts(client)("dispatch", [], ["rq:queues", "rq:job:", *fields])))
    for run_id, attempt, why, about in done["asked"]:
        _ask(client, run_id, attempt, e.PreemptRequested(why=why, text=_TEXTS[why].format(about)))
    return [Sent(*pair) for pair in done["sent"]]


def _ask(client: Redis, run_id: str, attempt: str, asked: e.PreemptRequested) -> None:
    """Ask an attempt to give its worker up, once; one that has ended, or hands over, isn't asked any more."""
    import structlog  # noqa: PLC0415  # It takes 40 ms that `ps` doesn't pay.

    said = structlog.get_logger(__name__)
    try:
        journal = Writer(client, run_id, who="queue")
        while not (view := journal.view).preempting and view.state not in _OVER:
            if attempt_id(run_id, view.attempt) != attempt:
                return
            try:
                journal.append(asked, strict=True)
            except HeadMovedError:
                journal.refresh()
            else:
                said.info("asked to give its worker up", run=run_id, why=asked.text)
    except (JournalError, NotFoundError) as error:  # Damaged, or a newer version's: it mustn't stop the others.
        said.error("a run can't be asked to give its worker up", run=run_id, why=error.message, cause=error.cause)


def repair(client: Redis) -> int:
    """Put back what dead workers were given and hadn't claimed, and forget what isn't under way; return how many.

    Whoever calls it knows that Redis wasn't away a moment ago: else all workers seem to be dead.
    """
    return int(Scripts(client)("repair", [], [""]))


def adopt(client: Redis) -> int:
    """Put those in line that wait and stand in none, as those of an older version do; return how many."""
    lines: Any
    rows: Any
    with available():
        lines = client.hkeys(keys.LINES)
    with available(), client.pipeline(transaction=False) as pipe:
        for line_id in lines:
            pipe.zrange(keys.LINE.encode() + line_id, 0, -1)
        rows = pipe.execute()
    lined_up = {run_id.decode(errors="replace") for row in rows for run_id in row}
    found = 0
    for record in index.records(client, [run_id for run_id in index.pending(client) if run_id not in lined_up]):
        spec, who = record.view.spec, record.view.who
        status = Scripts(client)("adopt", [], [record.view.id, user_of(who), asks(spec, who), e.FORMAT])
        found += status == "OK"
    return found


def publish(client: Redis, settings: QueueSettings) -> QueueSettings | None:
    """Have these settings count for the queue; return those that did, where they differ."""
    before = policy(client)
    with available():
        client.set(keys.POLICY, settings.model_dump_json())
    return before if before != settings else None


@contextmanager
def nudges(client: Redis) -> Iterator[Callable[[float], bool]]:
    """Have a function that waits for so many seconds until somebody is put in line; true where somebody was.

    Both raise RedisAwayError.
    """
    with available(), client.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]  # redis-py has no type for it.
        heard.subscribe(keys.NUDGE)

        def wait(seconds: float) -> bool:
            with available():
                found = heard.get_message(timeout=seconds) is not None
                while heard.get_message() is not None:
                    pass  # One dispatch is for all of them.
                return found

        yield wait


def pause_queue(client: Redis, who: str) -> None:
    """Dispatch nothing more until it's resumed; what is under way goes on."""
    with available():
        client.hset(keys.QUEUE, PAUSED, who)


def resume_queue(client: Redis, host: str = "") -> None:
    """Dispatch again: what was paused, or drained everywhere; with a host what was drained there.

    Raises NotFoundError for a host that isn't draining.
    """
    with available():
        gone: Any = client.hdel(keys.QUEUE, *([f"{DRAIN}{host}"] if host else [PAUSED, DRAIN]))
        client.publish(keys.NUDGE, "")
    if host and not gone:
        raise NotFoundError(f"the host {host} isn't draining", hint="dreamdock queue")


def drain(client: Redis, who: str, host: str = "") -> None:
    """Have what runs handed over at its next checkpoint, and dispatch nothing more; with a host, by name or id, there.

    Raises NotFoundError for a host without a worker, UsageError for a name that two hosts have.
    """
    if host:
        _require_one(client, host)
    with available():
        client.hset(keys.QUEUE, f"{DRAIN}{host}", who)
        client.publish(keys.NUDGE, "")


def _require_one(client: Redis, host: str) -> None:
    living = {(one.presence.host, one.presence.host_id) for one in workers(client)}
    found = sorted(host_id for name, host_id in living if host in {name, host_id})
    if not found:
        raise NotFoundError(f"no worker is on a host {host}", hint="dreamdock workers")
    if len(found) > 1:
        hint = f"dreamdock queue drain {found[0]}"
        raise UsageError(f"{len(found)} hosts are named {host}", cause=f"their ids are {', '.join(found)}", hint=hint)


def entry(function: str, job_id: str, origin: str) -> list[Any]:
    """Return the fields and values of a job in RQ's form, in turn; `origin` is the name of its queue."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields: dict[str, Any] = {
        "created_at": now,
        "enqueued_at": now,
        "data": call(function, job_id),
        "description": job_id,
        "origin": origin,
        "status": "queued",
        "timeout": -1,
        "result_ttl": 0,
        "failure_ttl": 86_400,
    }
    return [part for pair in fields.items() for part in pair]


def call(function: str, job_id: str) -> bytes:
    """Return a call in RQ's JSON form: a function's name, and the job's own id as its only argument."""
    return json.dumps([function, None, [job_id], {}]).encode()
