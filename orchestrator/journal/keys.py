"""Every Redis key of runs, in one place."""

from __future__ import annotations

from typing import Final

RUNS: Final = "dd:runs"  # Sorted set: run id by time of creation, ms.
LIVE: Final = "dd:live"  # Sorted set: the runs that aren't done, by time of creation.
PENDING: Final = "dd:pending"  # Sorted set: runs that wait for dispatch, by time.
FINISHED: Final = "dd:finished"  # Sorted set: the runs that are done and not archived yet, by the time of their end.
ARCHIVED: Final = "dd:archived"  # Sorted set: the runs whose journals are archived, by the time of their end.
TOUCHED: Final = "dd:touched"  # Written to learn that a replica has all that came before it; it expires.


def record(run_id: str) -> str:
    """Return the key of the run's record: spec, view, head, seq, state, fence, attempt, lease_until."""
    return f"dd:run:{run_id}"


def stream(run_id: str) -> str:
    """Return the key of the run's journal. Entry ids are `<seq>-0`; for the fields see `packing`."""
    return f"dd:run:{run_id}:events"


def blobs(run_id: str) -> str:
    """Return the key of the run's blobs: a hash from `sha256:…` to zlib-compressed bytes."""
    return f"dd:run:{run_id}:blobs"


def archive(run_id: str) -> str:
    """Return the key of the archive that takes the place of journal and blobs: a list of pieces, see `packing`."""
    return f"dd:run:{run_id}:archive"


def live(run_id: str) -> str:
    """Return the key of what the run's model is just saying. Entries: s (JSON of a piece); it expires."""
    return f"dd:run:{run_id}:live"


def process(kind: str, name: str) -> str:
    """Return the key under which a worker or keeper says that it is alive; it expires."""
    return f"dd:process:{kind}:{name}"
