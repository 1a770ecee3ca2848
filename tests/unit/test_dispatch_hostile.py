"""What somebody else wrote where the queue keeps its own: it stops nobody, and loses nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from seats import at_work, claimed, freed, sent, submitted

from orchestrator import events as e
from orchestrator.journal import keys
from orchestrator.queue import repair
from orchestrator.standing import queue_state, waiting

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.dialogue import Reply
    from orchestrator.runs import RunSpec

pytestmark = pytest.mark.needs_redis


@pytest.mark.parametrize(
    "told",
    [
        {"requires": 5},
        {"requires": {"labels": 5}},
        {"requires": {"labels": [{}, None]}},
        {"requires": {"image": {}, "store": {}}},
        {"requires": {}, "host": {}, "format": "nan"},
        {"requires": {}, "user": 5},
    ],
)
def test_a_line_of_garbage_stops_nobody_else(client: Redis, spec: RunSpec, told: dict[str, Any]) -> None:
    at_work(client)
    line = {"user": "eve", "priority": "high", "repo": "r", "name": "n", "host": "h", "format": 1}
    client.hset(keys.LINES, "evil", json.dumps(line | told))
    client.zadd(f"{keys.LINE}evil", {submitted(client, spec, "eve@h"): 1})
    run_id = submitted(client, spec)
    client.hset(keys.LINES, "deep", "[" * 5000)
    assert waiting(client, [run_id])
    assert queue_state(client).lines
    found = {*sent(client)} | {*(freed(client) and sent(client))} | {*(freed(client) and sent(client))}
    assert f"{run_id}-a1" in found


@pytest.mark.parametrize("number", ["nan", "-nan", "inf", "-inf", "x"])
def test_numbers_that_are_none_lose_nothing(client: Redis, spec: RunSpec, number: str) -> None:
    at_work(client)
    first, second = submitted(client, spec), submitted(client, spec, "bob@h")
    client.hset(keys.PASSES, mapping={"ann": number, "eve": number})
    client.hset(keys.ESTIMATE, mapping={"seconds": number, "runs": number})
    client.hset(f"{keys.SPENT}{datetime.now(UTC):%Y-%m-%d}", "user:ann", number)
    assert {*waiting(client, [first, second])} == {first, second}
    assert queue_state(client).spent == {}
    assert {*sent(client)} | {*(freed(client) and sent(client))} == {f"{first}-a1", f"{second}-a1"}


def test_what_stands_where_a_budget_should_loses_no_append(client: Redis, spec: RunSpec, reply: Reply) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    journal = claimed(client, run_id, worker="w")
    client.hset(f"{keys.SPENT}{datetime.now(UTC):%Y-%m-%d}", "user:ann", "x")
    journal.append(e.Replied(step=1, reply=reply))
    assert queue_state(client).spent == {"user:ann": 0.25}


def test_whoever_is_to_be_asked_for_garbage_isnt_asked(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    held = {"user": "eve", "repo": "r", "asked_at": 1, "worker": "x"}
    for ghost, asked in {"a": "because", "b": {}, "c": "drain"}.items():
        client.hset(keys.HELD, ghost, json.dumps(held | {"asked": asked}))
    assert {*sent(client)} == {f"{run_id}-a1"}


def test_a_worker_that_said_so_in_the_future_is_dead(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    ahead = (client.hget(keys.WORKERS, "w") or b"").replace(b'{"seen":', b'{"seen":9')
    client.hset(keys.WORKERS, "w", ahead)
    submitted(client, spec)
    assert sent(client) == {}, "Redis's clock went back since then"
    repair(client)
    assert not client.hexists(keys.WORKERS, "w")
