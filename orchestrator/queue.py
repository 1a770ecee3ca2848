"""RQ, safely: the only way onto the queue, and a job class that can run nothing but an attempt.

RQ imports and calls whatever function a job names, and calls back and posts to wherever it says.
Here the function is a constant, the only argument is the job's own id, and everything else in the entry is ignored.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.runs import ATTEMPT_ID, attempt_id

if TYPE_CHECKING:
    from redis import Redis

QUEUE: Final = "runs"
QUEUE_KEY: Final = f"rq:queue:{QUEUE}"
ENTRY_POINT: Final = "orchestrator.worker.run_attempt"
REFUSAL: Final = "orchestrator.worker.refuse_entry"


def dispatch(client: Redis, run_id: str, attempt: int) -> bool:
    """Move a pending run onto RQ; false where it is there already, done, or at another attempt."""
    job_id = attempt_id(run_id, attempt)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields: dict[str, Any] = {
        "created_at": now,
        "enqueued_at": now,
        "data": _data(job_id),
        "description": job_id,
        "origin": QUEUE,
        "status": JobStatus.QUEUED.value,
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


class AttemptJob(Job):
    """A job whose function is a constant.

    An entry that names another function, or whose id isn't an attempt's, becomes a call of `refuse_entry`.
    Only the status is taken from Redis; callbacks, web hooks, retries, dependencies and results never are.
    """

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take an entry from Redis."""
        status = raw_data.get(b"status", b"").decode(errors="replace")
        ours = ATTEMPT_ID.match(self.id) and raw_data.get(b"data") == _data(self.id)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        super().restore(
            {
                b"created_at": now,
                b"enqueued_at": now,
                b"data": _data(self.id) if ours else _data(self.id, REFUSAL),
                b"description": self.id.encode(),
                b"origin": QUEUE.encode(),
                b"status": (status if status in set(JobStatus) else JobStatus.QUEUED.value).encode(),
                b"timeout": b"-1",
                b"result_ttl": b"0",
                b"failure_ttl": b"86400",
            }
        )


def _data(job_id: str, function: str = ENTRY_POINT) -> bytes:
    return json.dumps([function, None, [job_id], {}]).encode()


SERIALIZER: Final = JSONSerializer
