"""What a queue entry can be: an attempt of ours, or refused.

RQ imports and calls whatever function a job names, and calls back and posts to wherever it says.
Here the function is a constant, the only argument is the job's own id, and everything else in the entry is ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from orchestrator.queue import ENTRY_POINT, QUEUE, call
from orchestrator.runs import ATTEMPT_ID

REFUSAL: Final = "orchestrator.worker.refuse_entry"
SERIALIZER: Final = JSONSerializer


class AttemptJob(Job):
    """A job whose function is a constant.

    An entry that names another function, or whose id isn't an attempt's, becomes a call of `refuse_entry`.
    Only the status is taken from Redis; callbacks, web hooks, retries, dependencies and results never are.
    """

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take an entry from Redis."""
        status = raw_data.get(b"status", b"").decode(errors="replace")
        ours = ATTEMPT_ID.match(self.id) and raw_data.get(b"data") == call(ENTRY_POINT, self.id)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        super().restore(
            {
                b"created_at": now,
                b"enqueued_at": now,
                b"data": call(ENTRY_POINT if ours else REFUSAL, self.id),
                b"description": self.id.encode(),
                b"origin": QUEUE.encode(),
                b"status": (status if status in set(JobStatus) else JobStatus.QUEUED.value).encode(),
                b"timeout": b"-1",
                b"result_ttl": b"0",
                b"failure_ttl": b"86400",
            }
        )
