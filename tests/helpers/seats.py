"""Workers as the queue sees them, without their processes, and runs that wait for them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from orchestrator import events as e
from orchestrator.journal import index, keys
from orchestrator.journal.connection import Scripts
from orchestrator.journal.lease import claim
from orchestrator.journal.presence import WORKER, Offer, Presence, beat
from orchestrator.journal.writer import Writer, create
from orchestrator.queue import dispatch
from orchestrator.runs import Outcome, new_run_id

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.runs import RunSpec

ROOM = {"memory_mb": 2048, "cpus": 2.0, "images": ("none:latest",), "format": e.FORMAT}
"""What a worker offers here if nothing else is said: enough for the tests' own specification."""


def at_work(
    client: Redis, name: str = "w", *, host: str = "h", host_id: str = "", models: tuple[str, ...] = (), **offer: Any
) -> str:
    """Have a worker say that it lives, and is free if it was given nothing. Returns its name."""
    told: dict[str, Any] = {"kind": WORKER, "name": name, "host": host, "pid": 1, "version": "0", "models": models}
    presence = Presence(**told, host_id=host_id or f"id-{host}", offer=Offer(**(ROOM | offer)))
    beat(Scripts(client), presence)
    return name


def freed(client: Redis, name: str = "w", **more: Any) -> str:
    """Have a worker pop what it was given, be done with it, and say so."""
    client.delete(f"rq:queue:runs:{name}")
    return at_work(client, name, **more)


def submitted(client: Redis, spec: RunSpec, who: str = "ann@h", **changes: Any) -> str:
    """Queue a run, with some changes to its specification; return its id."""
    time.sleep(0.002)  # The queue tells moments apart by the millisecond.
    run_id = new_run_id()
    body = e.Submitted(spec=spec.model_copy(update=changes))
    create(client, run_id, who, [body, e.Dispatched(attempt=1)])
    return run_id


def claimed(
    client: Redis, run_id: str, number: int = 1, *, worker: str = "", host: str = "h", seconds: float = 30.0
) -> Writer:
    """Claim a run that was given to a worker, and return the attempt's journal, at the beginning of a step."""
    fence = claim(client, run_id, number, lease_seconds=seconds, worker=worker)
    assert isinstance(fence, int), fence
    journal = Writer(client, run_id, who="w", fence=fence, lease_seconds=seconds)
    ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
    journal.append(e.Claimed(attempt=number, fence=fence, worker="w", host=host), ready)
    return journal


def sent(client: Redis) -> dict[str, str]:
    """Dispatch, and return which attempt went to which worker."""
    return dict(dispatch(client))


def waited(client: Redis, run_id: str, seconds: float) -> None:
    """Have a run wait for so much longer than it has."""
    record = keys.record(run_id)
    client.hset(record, "since", int(client.hget(record, "since") or 0) - int(seconds * 1000))


def lasted(client: Redis, run_id: str, seconds: float) -> None:
    """Have what is under way have begun so many seconds ago."""
    held = json.loads(client.hget(keys.HELD, run_id) or b"{}")
    client.hset(keys.HELD, run_id, json.dumps(held | {"since": index.now_ms(client) - int(seconds * 1000)}))


def ended(journal: Writer) -> None:
    """Let an attempt end its run well."""
    journal.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
