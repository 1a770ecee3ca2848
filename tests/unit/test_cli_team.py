"""What a team reads: hosts, shares, why a run waits, whose it is and where."""

from __future__ import annotations

import io
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from seats import at_work, claimed, sent, submitted

from orchestrator import api
from orchestrator.cli import listing, queue, show, waits, workers
from orchestrator.cli.screen import Screen
from orchestrator.queue import drain, pause_queue, publish
from orchestrator.runs import Priority, Requires, RunSpec
from orchestrator.settings import Settings
from orchestrator.shares import QueueSettings, Share, UserShare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def door(redis_server: str, client: Redis, tmp_path: Path) -> Iterator[api.Door]:
    assert client.ping()
    settings = Settings(redis_url=redis_server, state_dir=tmp_path, runtime_dir=tmp_path / "run")
    with closing(api.connect(settings)) as door:
        yield door


def hosts(door: api.Door) -> list[list[str]]:
    return [line.plain.split() for line in workers.table(door.fleet(), door.queue())]


def runs(door: api.Door) -> list[str]:
    screen = Screen(json=False, color="never", answer=io.StringIO(), talk=io.StringIO())
    return [line.plain for line in listing.table(screen, door.runs(include_done=False).runs, datetime.now(UTC))]


def test_hosts_are_told_with_what_they_have(client: Redis, door: api.Door, spec: RunSpec) -> None:
    at_work(client, "a", host="h1", labels=("ssd",)), at_work(client, "b", host="h1", labels=("ssd",))
    at_work(client, "c", host="h2", gpus=2)
    submitted(client, spec, requires=Requires(labels=("ssd",)))
    sent(client)
    drain(client, "ann", "h2")
    assert hosts(door) == [
        ["HOST", "RUNNING", "FREE", "SEEN", "VERSION", "LABELS"],
        ["h1", "1", "1", "0s", "0", "ssd"],
        ["h2", "0", "draining", "0s", "0", "2", "gpus"],
    ]


def test_two_hosts_of_one_name_are_told_apart(client: Redis, door: api.Door) -> None:
    at_work(client, "a", host="twin", host_id="aaaa"), at_work(client, "b", host="twin", host_id="bbbb")
    assert [row[:2] for row in hosts(door)[1:]] == [["twin", "(aaaa)"], ["twin", "(bbbb)"]]


def test_another_version_is_told(client: Redis, door: api.Door) -> None:
    at_work(client, host="old")
    assert [
        told for told in door.dangers() if told.startswith(f"old runs version 0, and this is {version('dreamdock')}")
    ]


def test_the_queue_is_told_by_user_with_limits_and_money(client: Redis, door: api.Door, spec: RunSpec) -> None:
    share = UserShare(runs=1, usd_per_day=5, weight=2, team="core")
    publish(client, QueueSettings(users={"ann": share}, teams={"core": Share(runs=3)}))
    at_work(client)
    submitted(client, spec), submitted(client, spec), submitted(client, spec, "bob")
    sent(client)
    client.hset(f"dd:spent:{datetime.now(UTC):%Y-%m-%d}", "user:ann", "1.5")
    pause_queue(client, "eve")
    assert [line.plain.split() for line in queue._told(door.queue())] == [
        ["‖", "paused", "by", "eve:", "dreamdock", "queue", "resume"],
        ["USER", "UNDER", "WAY", "WAITING", "LONGEST", "TODAY", "SHARE"],
        ["ann", "1", "of", "1", "1", "0s", "$1.50", "of", "$5.00", "2", "·", "team", "core"],
        ["bob", "0", "1", "0s", "$0.00", "1"],
        ["team", "core:", "1", "of", "3", "under", "way,", "$0.00", "today"],
    ]


def test_ps_says_why_a_run_waits_whose_it_is_and_where(client: Redis, door: api.Door, spec: RunSpec) -> None:
    at_work(client, "a", host="h1"), at_work(client, "b", host="h2")
    first, second = submitted(client, spec), submitted(client, spec, "bob@h")
    given = sent(client)
    for run_id, host in ((first, "h1"), (second, "h2")):
        claimed(client, run_id, worker=given[f"{run_id}-a1"], host=host)
    waiting, nobodys = submitted(client, spec), submitted(client, spec, requires=Requires(labels=("ssd",)))
    header, *rows = runs(door)
    assert header.split() == ["ID", "STATE", "STEPS", "AGE", "COST", "USER", "HOST", "TASK"]
    told = {row.split()[0]: row for row in rows}
    assert "queued (nobody)" in told[nobodys]
    assert told[nobodys].endswith("no worker has label ssd")
    assert "queued (1st)" in told[waiting]
    assert " bob   h2 " in told[second]
    lines = {line.label: line.text.plain for line in show.lines(door.show(nobodys), datetime.now(UTC))}
    assert lines["waits"].startswith("no worker has label ssd")
    assert lines["requires"] == "a worker with label ssd"


def test_a_run_that_only_waits_for_its_turn_says_so(client: Redis, door: api.Door, spec: RunSpec) -> None:
    at_work(client)
    submitted(client, spec)
    sent(client)
    run_id = submitted(client, spec, priority=Priority.HIGH)
    lines = {line.label: line.text.plain for line in show.lines(door.show(run_id), datetime.now(UTC))}
    assert lines["waits"] == "for a worker that is free (1st in line)"
    assert lines["priority"] == "high"
    assert waits.sentence(door.show(run_id).waiting) == ""
