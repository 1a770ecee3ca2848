"""Records, presences and events that somebody else wrote: told in words, and nobody else's harm."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from journals import Carried, carried, rechained, rewrite, stored
from seats import at_work, sent

from orchestrator import events as e
from orchestrator.api import Door
from orchestrator.errors import DreamdockError, JournalError
from orchestrator.journal import index, keys, presence, signing
from orchestrator.journal.plain import require_plain
from orchestrator.journal.verify import check, collect
from orchestrator.journal.writer import Writer, create
from orchestrator.keeper import Keeper
from orchestrator.runs import RUN_ID, new_run_id
from orchestrator.settings import Settings
from orchestrator.steering import More
from orchestrator.timeline import Timeline
from orchestrator.upkeep import forget_heads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def settings(tmp_path: Path, redis_server: str) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run", redis_url=redis_server)


@pytest.fixture
def run(client: Redis, run_id: str, settings: Settings) -> Carried:
    return carried(client, run_id, settings.state_dir)


@pytest.fixture
def other(client: Redis, spec: RunSpec) -> str:
    """Return the id of a second run, which nobody harms."""
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    return run_id


def edited(client: Redis, run_id: str, old: bytes, new: bytes) -> None:
    """Change all events as somebody does who computes the hashes anew, and the record with them."""
    changed = [one._replace(data=one.data.replace(old, new)) for one in stored(client, run_id)]
    rewrite(client, run_id, rechained(run_id, changed), record=True)


def put(name: Callable[[str], str]) -> Callable[[Redis, str], object]:
    """Return what puts a text where a hash, a list or a stream was."""
    return lambda client, run_id: (client.delete(name(run_id)), client.set(name(run_id), "x"))


def field(name: str, value: bytes) -> Callable[[Redis, str], object]:
    return lambda client, run_id: client.hset(keys.record(run_id), name, value)


HARMS: dict[str, Callable[[Redis, str], object]] = {
    "record": put(keys.record),
    "stream": put(keys.stream),
    "blobs": put(keys.blobs),
    "archive": put(keys.archive),
    "live": put(keys.live),
    "no view": lambda client, run_id: client.hdel(keys.record(run_id), "view"),
    "nothing": lambda client, run_id: (client.hdel(keys.record(run_id), "view"), client.delete(keys.stream(run_id))),
    "naive": lambda client, run_id: (
        client.hset(keys.record(run_id), "view", client.hget(keys.record(run_id), "view").replace(b'Z"', b'"')),  # type: ignore[union-attr, arg-type]  # redis-py's own types are both kinds of client's.
        edited(client, run_id, b'Z","who"', b'","who"'),
    ),
    "front cut off": lambda client, run_id: client.xtrim(keys.stream(run_id), maxlen=3, approximate=False),
    "foreign fields": lambda client, run_id: client.xadd(keys.stream(run_id), {"foo": "bar"}, id="999-0"),
    "last id": lambda client, run_id: client.xadd(keys.stream(run_id), {"e": "{}"}, id=f"{2**64 - 1}-0"),
    "tokens": lambda client, run_id: edited(client, run_id, b'"input_tokens":0', b'"input_tokens":' + b"9" * 4299),
    **{
        f"{name} {value[:3]!r}": field(name, value)
        for name in ("seq", "head", "state", "fence", "attempt", "lease_until", "spec", "view")
        for value in (b"\xff", b"-1", b"9" * 5000, b"[" * 100_000)
    },
}


@pytest.mark.parametrize("harm", HARMS)
def test_harm_to_one_run_is_told_in_words_and_stays_its_own(
    client: Redis, run: Carried, other: str, settings: Settings, harm: str
) -> None:
    HARMS[harm](client, run.run)
    door = Door(client, settings)
    assert other in [listed.view.id for listed in door.runs(include_done=True).runs]
    keeper = Keeper(client, settings)
    keeper._judges_from = 0
    keeper.tick()
    at_work(client)
    assert list(sent(client)) == [f"{other}-a1"]
    assert index.pending(client) == []
    told = list[tuple[int, str]]()
    for look in (
        lambda: door.show(run.run),
        lambda: list(door.events(run.run)),
        lambda: door.audit(run.run),
        lambda: door.timeline(run.run),
        lambda: door.costs(run.run),
        lambda: door.diff(run.run),
        lambda: door.retry(run.run, More(), message="go on"),
        lambda: door.steer(run.run, "go on"),
    ):
        try:
            look()
        except DreamdockError as error:
            told.append((error.exit_code, error.message))
    assert all(code in {1, 2, 3} and "busy" not in message for code, message in told), told


@pytest.mark.parametrize("gone", [False, True])
def test_a_keeper_that_cannot_hand_a_run_over_hands_over_the_next(
    client: Redis, run: Carried, other: str, settings: Settings, *, gone: bool
) -> None:
    """The record of a run that is over says that it is under way."""
    client.hset(keys.record(run.run), mapping={"state": "running", "lease_until": 1})
    client.hset(keys.record(other), "lease_until", 1)
    client.zadd(keys.LIVE, {run.run: 2e18})
    client.delete(keys.PENDING)
    if gone:
        client.delete(keys.stream(run.run))
    keeper = Keeper(client, settings)
    for _ in range(2):
        keeper._repair()
    assert index.record(client, other).attempt == 2


def test_a_listing_names_what_it_cannot_read(client: Redis, run: Carried, other: str, settings: Settings) -> None:
    client.delete(keys.record(run.run))
    client.set(keys.record(run.run), "x")
    found = Door(client, settings).runs(include_done=True)
    assert ([listed.view.id for listed in found.runs], found.damaged) == ([other], [run.run])


def test_what_is_put_in_front_of_a_listing_hides_no_run(client: Redis, run_id: str, settings: Settings) -> None:
    for place in (keys.RUNS, keys.LIVE):
        client.zadd(place, {f"z{number:011d}": 1e18 for number in range(120)} | {f"{run_id}\n": 1e18})
    found = Door(client, settings).runs(include_done=False, limit=50)
    assert [listed.view.id for listed in found.runs] == [run_id]
    assert not RUN_ID.match(f"{run_id}\n")


def test_a_presence_that_says_nothing_is_no_process_and_a_newer_one_is(client: Redis) -> None:
    told = {"kind": "worker", "name": "w", "host": "h", "pid": 1, "version": "9", "namespace": 1}
    client.set(keys.process("worker", "new"), json.dumps({**told, "mood": "good"}))
    for name, value in (("a", "no JSON"), ("b", "[]"), ("c", '{"kind":1}'), ("\n", "\xff")):
        client.set(keys.process("worker", name), value)
    client.lpush(keys.process("worker", "d"), "x")
    assert [one.version for one in presence.alive(client, "worker")] == ["9"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b"",
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # Each says something else.
        require_plain(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"duration_s":0.0', b'"duration_s":NaN'),
        (b'"duration_s":0.0', b'"duration_s":1e999'),
        (b'"who":"w1"', b'"who":"w1","who":"w2"'),
        (b'"who":"w1"', b'"who":"\\ud800"'),
        (b'"exit_code":0', b'"exit_code":' + b"9" * 5000),
        (b'Z","who"', b'","who"'),
        (b'"echo 1"', b'"echo 1","x":' + b"[" * 5000 + b"]" * 5000),
    ],
)
def test_an_event_that_is_ambiguous_is_no_event(
    client: Redis, run: Carried, settings: Settings, old: bytes, new: bytes
) -> None:
    assert any(old in one.data for one in stored(client, run.run))
    edited(client, run.run, old, new)
    with pytest.raises(JournalError, match="can't be read"):
        Writer(client, run.run, who="ann")
    journal, evidence = collect(client, run.run)
    found = check(journal, evidence._replace(keys=signing.pinned(settings.state_dir, {})))
    assert not found.ok


@pytest.mark.parametrize(
    "bodies",
    [
        [],
        [e.Checkpointed(step=1, commit="c", tree="t")],
        [e.Rewound(step=1, to=9, why="rewind", commit="c", tree="t", depth=0)],
        [e.Rewound(step=0, to=0, why="rewind", commit="c", tree="t", depth=0)],
        [e.Checkpointed(step=1, commit="c", tree="t"), e.Checkpointed(step=1, commit="c", tree="t")],
    ],
)
def test_steps_that_go_round_in_circles_are_no_run(client: Redis, run_id: str, bodies: list[e.Body]) -> None:
    writer = Writer(client, run_id, who="ann")
    events = writer.append(*bodies) if bodies else []
    begun = [] if len(bodies) < 2 and not any(isinstance(body, e.Rewound) for body in bodies) else writer.events[:2]
    with pytest.raises(JournalError, match="tells no run"):
        Timeline([*begun, *events])


def test_signed_heads_go_with_runs_that_are_gone_and_not_at_once(
    client: Redis, run: Carried, other: str, settings: Settings
) -> None:
    heads = settings.state_dir / "signer" / "heads"
    (heads / other).write_text((heads / run.run).read_text())
    (heads / "no run's").write_text("")
    assert forget_heads(client, settings, retention_s=0) == []
    client.delete(keys.record(run.run))
    assert forget_heads(client, settings, retention_s=3600) == [], "he may put it back, shorter"
    assert forget_heads(client, settings, retention_s=0) == [run.run]
    assert signing.remembered(settings.state_dir, run.run) is None
    assert signing.remembered(settings.state_dir, other) is not None


def test_what_people_type_is_journalled_without_keys(client: Redis, run_id: str, settings: Settings) -> None:
    key = "ghp_" + "a1B2c3D4e5" * 4
    door = Door(client, settings)
    assert door.typed(f"use {key} and {key}") == ("use [redacted] and [redacted]", 1)
    door.steer(run_id, f"the key is {key}")
    assert not any(key.encode() in one.data for one in stored(client, run_id))
    assert any(re.search(rb"the key is \[redacted\]", one.data) for one in stored(client, run_id))
