"""Whether a journal is as it was written: the hash chain, checked from the first event to the recorded head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import NotFoundError
from orchestrator.journal import keys
from orchestrator.journal.connection import available
from orchestrator.journal.stream import chain, entries, genesis

if TYPE_CHECKING:
    from redis import Redis


class Check(NamedTuple):
    """What the check found: `broken_at` is the number of the first event that isn't as it was written, 0 if none."""

    head: str
    events: int
    broken_at: int
    why: str

    @property
    def ok(self) -> bool:
        """Whether the journal is whole."""
        return not self.broken_at


def verify(client: Redis, run_id: str) -> Check:
    """Check one run's journal. Raises NotFoundError."""
    recorded: Any
    with available():
        recorded = client.hget(keys.record(run_id), "head")
    if recorded is None:
        raise NotFoundError(f"there is no run {run_id}", hint="dreamdock ps -a")
    head, count = genesis(run_id), 0
    for entry in entries(client, run_id):
        count += 1
        if entry.seq != count:
            return Check(head, count, count, f"event {count} is missing")
        head = chain(head, entry.data)
        if entry.hash != head:
            return Check(head, count, count, f"event {count} was altered, inserted or moved")
    if head != recorded.decode():
        return Check(head, count, count + 1, f"the journal was cut off or extended after event {count}")
    return Check(head, count, 0, "")
