"""Every Redis key of runs, in one place."""

from __future__ import annotations

from typing import Final

RUNS: Final = "dd:runs"  # Sorted set: run id by time of creation, ms.
LIVE: Final = "dd:live"  # Sorted set: the runs that aren't done, by time of creation.
PENDING: Final = "dd:pending"  # Sorted set: runs that wait for dispatch, by time.


def record(run_id: str) -> str:
    """Return the key of the run's record: spec, view, head, seq, state, fence, attempt, lease_until."""
    return f"dd:run:{run_id}"


def stream(run_id: str) -> str:
    """Return the key of the run's journal. Entry ids: `<seq>-0`; fields: e (event JSON), h (hash), s (signature)."""
    return f"dd:run:{run_id}:events"


def blobs(run_id: str) -> str:
    """Return the key of the run's blobs: a hash from `sha256:…` to zlib-compressed bytes."""
    return f"dd:run:{run_id}:blobs"


def live(run_id: str) -> str:
    """Return the key of what the run's model is just saying. Entries: s (JSON of a piece); it expires."""
    return f"dd:run:{run_id}:live"


def process(kind: str, name: str) -> str:
    """Return the key under which a worker or keeper says that it is alive; it expires."""
    return f"dd:process:{kind}:{name}"
