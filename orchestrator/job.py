"""What a queue entry can be: an attempt or a dream of ours, or refused.

RQ imports and calls whatever function a job names, and calls back and posts to wherever it says.
Here the function is a constant, the only argument is the job's own id, and everything else in the entry is ignored.
"""

from __future__ import annotations

import re  # noqa: TC003  # ClassVar of a class that others look into at run time.
from datetime import UTC, datetime
from typing import ClassVar, Final

from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from orchestrator.queue import DREAM_ENTRY_POINT, DREAM_QUEUE, ENTRY_POINT, QUEUE, call
from orchestrator.runs import ATTEMPT_ID, DREAM_ID

REFUSAL: Final = "orchestrator.worker.refuse_entry"
SERIALIZER: Final = JSONSerializer


class AttemptJob(Job):
    """A job whose function is a constant.

    An entry that names another function, or whose id isn't an attempt's, becomes a call of `refuse_entry`.
    Only the status is taken from Redis; callbacks, web hooks, retries, dependencies and results never are.
    """

    queue_name: ClassVar[str] = QUEUE
    """The one queue that this process takes jobs from."""

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take an entry from Redis."""
        status = raw_data.get(b"status", b"").decode(errors="replace")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        super().restore(
            {
                b"created_at": now,
                b"enqueued_at": now,
                b"data": call(self._function(raw_data.get(b"data")), self.id),
                b"description": self.id.encode(),
                b"origin": self.queue_name.encode(),
                b"status": (status if status in set(JobStatus) else JobStatus.QUEUED.value).encode(),
                b"timeout": b"-1",
                b"result_ttl": b"0",
                b"failure_ttl": b"86400",
            }
        )

    entry_point: ClassVar[str] = ENTRY_POINT
    id_pattern: ClassVar[re.Pattern[str]] = ATTEMPT_ID

    def _function(self, data: bytes | None) -> str:
        ours = self.id_pattern.match(self.id) and data == call(self.entry_point, self.id)
        return self.entry_point if ours else REFUSAL


class DreamJob(AttemptJob):
    """A job of the queue of dreams: its id is a dream's, everything else is refused as above."""

    queue_name = DREAM_QUEUE
    entry_point = DREAM_ENTRY_POINT
    id_pattern = DREAM_ID


def job_of(queue: str, worker: str) -> type[AttemptJob]:
    """Return the jobs of a worker: those of its own queue of runs, or those of the queue of dreams."""
    if queue == DREAM_QUEUE:
        return DreamJob
    return type("AttemptJob", (AttemptJob,), {"queue_name": f"{QUEUE}:{worker}"})
