"""The figures of the queue by itself: what a dispatch takes while 10,000 runs wait."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Final

from rq import Queue

from benchmarks.cli import own_redis
from orchestrator import events as e
from orchestrator.journal.connection import Scripts, connect
from orchestrator.journal.presence import WORKER, Offer, Presence, beat
from orchestrator.journal.writer import Writer, create
from orchestrator.queue import dispatch
from orchestrator.runs import Outcome, Priority, Requires, RunSpec, new_run_id
from sandbox.spec import Base

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from benchmarks.host_rows import Telling
    from benchmarks.report import Row

DISPATCH_MS: Final = 5.0
PENDING: Final = 10_000
ROUNDS: Final = 101
_ROUNDS_BRIEF: Final = 5


def measure(folder: Path, told: Telling, *, brief: bool) -> list[Row]:
    """Return the rows: on a Redis of its own, with three users, three priorities and three requirements."""
    rounds = _ROUNDS_BRIEF if brief else ROUNDS
    with own_redis(folder) as url, connect(url) as client:
        fill(client, 500 if brief else PENDING)
        samples, bare = dispatches(client, rounds), enqueues(client, rounds)
    return [
        told("dispatch of a run while 10,000 wait", samples, "ms", DISPATCH_MS),
        told("the same as a bare RQ enqueue, in no order", bare, "ms", DISPATCH_MS),
    ]


def enqueues(client: Redis, rounds: int) -> list[float]:
    """Return the ms that RQ takes to enqueue a job by itself: first come, first served."""
    queue, times = Queue("bare", connection=client), []
    for _ in range(rounds):
        began = time.perf_counter()
        queue.enqueue(print)
        times.append((time.perf_counter() - began) * 1000)
    return times


def fill(client: Redis, runs: int) -> None:
    """Queue so many runs."""
    base = Base(project="p" * 12, commit="c" * 40, tree="t" * 40, name="small", source="/nowhere")
    kinds = list(product(("ann", "bob", "cyd"), Priority, ((), ("ssd",), ("eu",))))
    for number in range(runs):
        who, priority, labels = kinds[number % len(kinds)]
        told = {"task": "mend it", "repo": base, "model": "scripted", "image": ""}
        spec = RunSpec.model_validate(told | {"priority": priority, "requires": Requires(labels=labels)})
        create(client, new_run_id(), who, [e.Submitted(spec=spec), e.Dispatched(attempt=1)])


def dispatches(client: Redis, rounds: int) -> list[float]:
    """Return the ms of dispatches that each find one worker free, the client's round trip included."""
    offer = Offer(memory_mb=2048, cpus=2, labels=("ssd", "eu"), format=e.FORMAT)
    worker = Presence(kind=WORKER, name="w", host="h", pid=1, version="0", offer=offer)
    times = []
    for _ in range(rounds):
        client.delete("rq:queue:runs:w")
        beat(Scripts(client), worker)
        began = time.perf_counter()
        [sent] = dispatch(client)
        times.append((time.perf_counter() - began) * 1000)
        journal = Writer(client, sent.attempt.partition("-")[0], who="w")
        journal.append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")
    return times
