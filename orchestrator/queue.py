"""The only way onto RQ's queue, written in RQ's own form; `orchestrator.job` is what a worker makes of an entry."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.runs import attempt_id

if TYPE_CHECKING:
    from redis import Redis

QUEUE: Final = "runs"
DREAM_QUEUE: Final = "dream"
QUEUE_KEY: Final = f"rq:queue:{QUEUE}"
ENTRY_POINT: Final = "orchestrator.worker.run_attempt"


def dispatch(client: Redis, run_id: str, attempt: int) -> bool:
    """Move a pending run onto RQ; false where it is there already, done, or at another attempt."""
    job_id = attempt_id(run_id, attempt)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields: dict[str, Any] = {
        "created_at": now,
        "enqueued_at": now,
        "data": call(ENTRY_POINT, job_id),
        "description": job_id,
        "origin": QUEUE,
        "status": "queued",
        "timeout": -1,
        "result_ttl": 0,
        "failure_ttl": 86_400,
    }
    flat = [part for pair in fields.items() for part in pair]
    script_keys = [keys.PENDING, keys.record(run_id), f"rq:job:{job_id}", QUEUE_KEY, "rq:queues"]
    return Scripts(client)("dispatch", script_keys, [run_id, attempt, job_id, *flat]) == "OK"


def queued(client: Redis) -> list[str]:
    """Return the attempts on the queue, the next one first."""
    found: Any
    with available():
        found = client.lrange(QUEUE_KEY, 0, -1)
    return [job_id.decode(errors="replace") for job_id in found]


def call(function: str, job_id: str) -> bytes:
    """Return a call in RQ's JSON form: a function's name, and the job's own id as its only argument."""
    return json.dumps([function, None, [job_id], {}]).encode()
