"""Every Redis key of runs, in one place."""

from __future__ import annotations

from typing import Final

RUNS: Final = "dd:runs"  # Sorted set: run id by time of creation, ms.
LIVE: Final = "dd:live"  # Sorted set: the runs that aren't done, by time of creation.
PENDING: Final = "dd:pending"  # Sorted set: runs that wait for dispatch, by time.
FINISHED: Final = "dd:finished"  # Sorted set: the runs that are done and not archived yet, by the time of their end.
ARCHIVED: Final = "dd:archived"  # Sorted set: the runs whose journals are archived, by the time of their end.
DEADLINES: Final = "dd:deadlines"  # Sorted set: the runs that wait for a person, by the time that they wait until, ms.
TOUCHED: Final = "dd:touched"  # Written to learn that a replica has all that came before it; it expires.

LINES: Final = "dd:lines"  # Hash: what the runs of a line have in common, as JSON, by the line's id; no line is empty.
LINE: Final = "dd:line:"  # And a line's id. Sorted set: the runs in it, by time of creation.
SERVED: Final = "dd:served"  # Hash: when a line was last served, ms, by its id; when for its age, by `PRIORITY USER`.
HELD: Final = "dd:held"  # Hash: what is under way, as JSON, by run id: from the dispatch to what ends the attempt.
BUSY: Final = "dd:busy"  # Hash: the attempt that a worker was given, by the worker's name, until it's free again.
PROMISED: Final = "dd:promised"  # Hash: the run of high priority that a worker was given up for, by the worker's name.
WORKERS: Final = "dd:workers"  # Hash: a worker's presence as JSON, with the time at which it said so, by its name.
POLICY: Final = "dd:policy"  # JSON of the `QueueSettings` that count: those of the keeper that started last.
QUEUE: Final = "dd:queue"  # Hash: `paused` and `drain:HOST` to who asked for it; `drain:` is every host.
PASSES: Final = "dd:pass"  # Hash: a user's virtual time, seconds by weight.
ESTIMATE: Final = "dd:estimate"  # Hash: `seconds` that an attempt takes on average, and of how many `runs`.
SPENT: Final = "dd:spent:"  # And a UTC day. Hash: US dollars by `user:NAME` and `team:NAME`; it expires.
RESERVED: Final = "dd:reserved"  # Hash: as JSON `user`, and US dollars put aside, `held`, by name; by run.
NUDGE: Final = "dd:nudge"  # Channel: somebody was put in line.
DREAMING: Final = "dd:dreaming"  # Hash: who dreams of a project, as JSON with a lease, by the project's id.
DREAMT: Final = "dd:dreamt"  # Hash: until when a project's runs were looked at, ms, by the project's id.
DREAMS: Final = "dd:dreams"  # Hash: a project's last dream of the queue, as JSON, by the project's id; see `schedule`.
RQ_DREAMS: Final = "rq:queue:dream"  # RQ's queue of dreams.
RQ_QUEUE: Final = "rq:queue:runs:"  # And a worker's name: RQ's queue of that worker alone.
RUN: Final = "dd:run:"  # And a run's id: see `record`.


def record(run_id: str) -> str:
    """Return the key of the run's record: spec, view, head, seq, state, fence, attempt, lease_until.

    While it waits for a person: deadline (ms).

    For the queue: user, format, asks (JSON, see `journal.asks`), line (the id of the last one that it stood in),
    since (when it was put there, ms), and needs (US dollars without which it was refused a reply).
    """
    return f"{RUN}{run_id}"


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
