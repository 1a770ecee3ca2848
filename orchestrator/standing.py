"""How the queue stands: why a run waits and in which place, which workers there are, who has had how much."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import ValidationError

from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.index import now_ms
from orchestrator.journal.presence import Presence
from orchestrator.runs import Requires
from orchestrator.shares import QueueSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

PAUSED: Final = "paused"
DRAIN: Final = "drain:"
"""Fields of `dd:queue`; the second and a host."""
_AT_ONCE: Final = 50
"""Runs that are asked about in one script: Redis answers nobody else meanwhile, and leases are renewed there."""


class Waiting(NamedTuple):
    """Why a run waits, and its place from 1: behind those that would probably be dispatched before it.

    `why`: paused, draining, budget, user_runs, team_runs, repo_runs, nobody, no_workers or busy; `about` names the
    user, team, repository or host, or what no worker has, in words.
    """

    place: int
    why: str
    about: str


class WorkerState(NamedTuple):
    """A worker, for how many seconds it has said nothing, and which attempt it has: empty where it's free."""

    presence: Presence
    seen_s: float
    attempt: str


class Line(NamedTuple):
    """Runs of one user that ask for the same; `oldest_s` is for how long the first one has been submitted."""

    user: str
    priority: str
    repo: str
    requires: Requires
    length: int
    oldest_s: float


class Held(NamedTuple):
    """A run under way: whose, on which worker, for how long; `asked` is why it's to give that up, if it is."""

    user: str
    team: str
    repo: str
    priority: str
    worker: str
    seconds: float
    asked: str


class QueueState(NamedTuple):
    """The queue at one moment.

    `draining` are hosts, or ids of hosts, by who drains them; the empty one is every host. `held` is by run id, `spent`
    is US dollars of today (UTC) by `user:NAME` and `team:NAME`.
    """

    paused_by: str
    draining: dict[str, str]
    policy: QueueSettings
    lines: list[Line]
    held: dict[str, Held]
    spent: dict[str, float]


def waiting(client: Redis, run_ids: Sequence[str]) -> dict[str, Waiting]:
    """Return why these runs wait; nothing of those that don't."""
    scripts, found = Scripts(client), dict[str, Waiting]()
    for start in range(0, len(run_ids), _AT_ONCE):
        rows = json.loads(str(scripts.ask("waiting", [*run_ids[start : start + _AT_ONCE]])))
        found |= {run_id: Waiting(int(place), why, about) for run_id, place, why, about in rows}
    return found


def workers(client: Redis) -> list[WorkerState]:
    """Return the workers by name; one that is dead is there until a keeper comes by."""
    busy, now = _hash(client, keys.BUSY), now_ms(client)
    found = []
    for name, text in sorted(_hash(client, keys.WORKERS).items()):
        with suppress(ValidationError, ValueError, KeyError, TypeError):
            seen_s = max(now - float(json.loads(text)["seen"]), 0.0) / 1000
            found.append(WorkerState(Presence.model_validate_json(text), seen_s, busy.get(name, "")))
    return found


def queue_state(client: Redis) -> QueueState:
    """Return how the queue stands."""
    switches, now = _hash(client, keys.QUEUE), now_ms(client)
    today = f"{keys.SPENT}{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d}"
    return QueueState(
        paused_by=switches.get(PAUSED, ""),
        draining={key.removeprefix(DRAIN): who for key, who in switches.items() if key.startswith(DRAIN)},
        policy=policy(client) or QueueSettings(),
        lines=sorted(_lines(client, now), key=lambda line: (line.user, line.priority, line.repo)),
        held=dict(_held(client, now)),
        spent={name: dollars for name, text in sorted(_hash(client, today).items()) if (dollars := _dollars(text))},
    )


def wanted_images(client: Redis) -> set[str]:
    """Return the images that runs wait for, among others; see `journal.asks.plain_image`."""
    found = (told.get("requires") for told in _objects(client, keys.LINES).values())
    return {str(asks["image"]) for asks in found if isinstance(asks, dict) and asks.get("image")}


def policy(client: Redis) -> QueueSettings | None:
    """Return the settings that count for the queue; None where no keeper has published any."""
    with available():
        found: Any = client.get(keys.POLICY)
    try:
        return QueueSettings.model_validate_json(found) if found else None
    except ValidationError:  # A newer version's.
        return None


def _lines(client: Redis, now: int) -> Iterator[Line]:
    lines = _objects(client, keys.LINES)
    rows: Any
    with available(), client.pipeline(transaction=False) as pipe:
        for line_id in lines:
            pipe.zcard(f"{keys.LINE}{line_id}")
            pipe.zrange(f"{keys.LINE}{line_id}", 0, 0, withscores=True)
        rows = iter(pipe.execute())
    for told, length, first in zip(lines.values(), rows, rows, strict=True):
        with suppress(ValidationError, KeyError, TypeError):
            requires = Requires.model_validate(told["requires"])
            oldest_s = max(now - first[0][1], 0.0) / 1000 if first else 0.0
            yield Line(str(told["user"]), str(told["priority"]), str(told["name"]), requires, length, oldest_s)


def _held(client: Redis, now: int) -> Iterator[tuple[str, Held]]:
    for run_id, told in sorted(_objects(client, keys.HELD).items()):
        with suppress(KeyError, TypeError):
            seconds = max(now - told["since"], 0.0) / 1000
            named = told["user"], told["team"], told["name"], told["priority"], told["worker"]
            yield run_id, Held(*named, seconds, told.get("asked", ""))


def _dollars(text: str) -> float:
    """Return a sum; 0 for what is none: somebody else may have written there."""
    with suppress(ValueError):
        return found if isfinite(found := float(text)) else 0.0
    return 0.0


def _objects(client: Redis, key: str) -> dict[str, dict[str, Any]]:
    found = {}
    for field, text in _hash(client, key).items():
        with suppress(ValueError, RecursionError):
            found[field] = json.loads(text)
    return {field: told for field, told in found.items() if isinstance(told, dict)}


def _hash(client: Redis, key: str) -> dict[str, str]:
    with available():
        found: Any = client.hgetall(key)
    return {field.decode(errors="replace"): value.decode(errors="replace") for field, value in found.items()}
