"""What dies between any two moments of the queue: nothing is lost, run twice, held for ever or blocked for ever."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer
from seats import at_work, claimed, freed, sent, submitted

from orchestrator import events as e
from orchestrator.journal import index, keys
from orchestrator.journal.connection import Scripts, connect
from orchestrator.journal.handover import hand_over
from orchestrator.journal.lease import claim
from orchestrator.journal.presence import WORKER, Beat, Offer, Presence, beat
from orchestrator.journal.writer import Writer
from orchestrator.keeper import Keeper
from orchestrator.queue import adopt, dispatch, nudges, publish, repair
from orchestrator.runs import Outcome, Priority, Requires, RunSpec, State
from orchestrator.settings import Settings
from orchestrator.shares import QueueSettings, UserShare
from orchestrator.standing import queue_state, waiting, workers
from orchestrator.steering import More, Steering

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis


def dies(client: Redis, name: str = "w") -> None:
    """Have a worker say nothing for as long as a presence lasts."""
    told = json.loads(client.hget(keys.WORKERS, name) or b"{}")
    silent = json.dumps({**told, "seen": told["seen"] - 10_000}, separators=(",", ":"))
    client.hset(keys.WORKERS, name, '{"seen":' + str(told["seen"] - 10_000) + "," + silent[1:])


def pops(client: Redis, name: str = "w") -> None:
    """Have a worker pop what it was given, as RQ does."""
    queue = f"{keys.RQ_QUEUE}{name}"
    assert client.lmove(queue, f"{queue}:intermediate", "LEFT", "RIGHT")


@pytest.mark.parametrize("popped", [False, True])
def test_what_a_dead_worker_never_claimed_is_put_back_without_blame(
    client: Redis, spec: RunSpec, *, popped: bool
) -> None:
    publish(client, QueueSettings(user=UserShare(runs=1)))
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    if popped:
        pops(client)
    assert repair(client) == 0, "it lives"
    dies(client)
    assert [repair(client), repair(client)] == [1, 0], "two keepers put it back once"
    assert client.keys("rq:*") == []
    assert queue_state(client).held == {}
    assert workers(client) == []
    at_work(client, "other")
    assert sent(client) == {f"{run_id}-a1": "other"}, "as it was: nobody is to blame"
    assert claim(client, run_id, 1, lease_seconds=5, worker="w") == "STALE", "the first one wasn't dead"
    claimed(client, run_id, worker="other")


def test_a_worker_that_leaves_gives_back_what_it_was_given_at_once(client: Redis, spec: RunSpec) -> None:
    run_id = submitted(client, spec)
    told = {"host": "h", "pid": 1, "version": "0", "offer": Offer(images=("none:latest",), format=e.FORMAT)}
    with Beat(client, Presence.model_validate({"kind": WORKER, "name": "w", **told})):
        deadline = time.monotonic() + 5
        while not sent(client):
            assert time.monotonic() < deadline
    assert workers(client) == []
    assert index.pending(client) == [run_id]
    assert client.exists(keys.HELD, keys.BUSY) == 0


def test_a_dead_workers_claimed_run_is_its_leases_and_counts_until_then(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    claimed(client, run_id, worker="w", seconds=0.3)
    dies(client)
    assert repair(client) == 0
    assert list(queue_state(client).held) == [run_id]
    time.sleep(0.4)
    Keeper(client, Settings(lease_seconds=1))._repair()
    assert queue_state(client).held == {}
    at_work(client, "other")
    assert sent(client) == {f"{run_id}-a2": "other"}


def test_a_run_whose_journal_cannot_be_read_counts_against_no_limit_for_ever(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    claimed(client, run_id, worker="w", seconds=0.05)
    client.delete(keys.stream(run_id))
    freed(client)
    time.sleep(0.1)
    keeper = Keeper(client, Settings(lease_seconds=1))
    keeper._repair()
    repair(client)
    assert queue_state(client).held == {}


def test_a_work_horse_that_dies_before_its_claim_is_its_runs_to_blame(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    pops(client)
    scripts = Scripts(client)
    presence = workers(client)[0].presence
    beat(scripts, presence)
    assert workers(client)[0].attempt == f"{run_id}-a1", "it was popped, and may be about to begin"
    beat(scripts, presence, carries=f"{run_id}-a1")
    beat(scripts, presence, ended=True)
    assert workers(client)[0].attempt == "", "the worker is free"
    assert repair(client) == 0
    keeper = Keeper(client, Settings(lease_seconds=1))
    keeper._repair()
    assert index.record(client, run_id).attempt == 1
    time.sleep(1.1)
    keeper._repair()
    assert index.record(client, run_id).attempt == 2
    assert sent(client) == {f"{run_id}-a2": "w"}


def test_a_worker_whose_job_somebody_deleted_is_free_again(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    client.delete(f"rq:job:{run_id}-a1")
    pops(client)
    assert at_work(client) == "w"
    assert workers(client)[0].attempt == ""
    keeper = Keeper(client, Settings(lease_seconds=1))
    keeper._repair()
    time.sleep(1.1)
    keeper._repair()
    assert sent(client) == {f"{run_id}-a2": "w"}


def test_a_worker_that_was_believed_dead_and_carries_something_is_given_nothing(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    pops(client)
    scripts, presence = Scripts(client), workers(client)[0].presence
    beat(scripts, presence, carries=f"{run_id}-a1")
    journal = claimed(client, run_id, worker="w")
    dies(client)
    repair(client)
    submitted(client, spec)
    beat(scripts, presence, carries=f"{run_id}-a1")
    assert sent(client) == {}
    journal.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    assert sent(client) == {}, "its work-horse still clears up"
    beat(scripts, presence, ended=True)
    assert len(sent(client)) == 1


def test_a_worker_that_dies_between_the_end_of_its_run_and_its_freedom_blocks_nobody(
    client: Redis, spec: RunSpec
) -> None:
    at_work(client)
    run_id = submitted(client, spec)
    sent(client)
    pops(client)
    claimed(client, run_id, worker="w").append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
    dies(client)
    repair(client)
    assert client.exists(keys.HELD, keys.BUSY, keys.WORKERS) == 0
    assert client.keys("rq:*:runs:w*") == []


def test_runs_of_an_older_version_are_put_in_line(client: Redis, spec: RunSpec) -> None:
    run_id, other = submitted(client, spec), submitted(client, spec)
    for one in (run_id, other):
        client.hdel(keys.record(one), "user", "asks", "format", "line", "since")
    client.delete(keys.LINES, *client.keys(f"{keys.LINE}*"))
    at_work(client)
    assert sent(client) == {}
    assert [adopt(client), adopt(client)] == [2, 0]
    assert sent(client) == {f"{run_id}-a1": "w"}
    assert waiting(client, [other])[other].why == "busy"


def test_a_keepers_settings_count_and_it_is_told_where_they_differ(client: Redis) -> None:
    ours, theirs = QueueSettings(repo_runs=3), QueueSettings()
    assert publish(client, theirs) is None
    assert publish(client, ours) == theirs
    assert publish(client, ours) is None
    assert queue_state(client).policy == ours


def test_whoever_listens_hears_of_those_who_come(client: Redis, spec: RunSpec) -> None:
    with nudges(client) as wait:
        wait(0.1)
        assert not wait(0.05)
        for _ in range(3):
            submitted(client, spec)
        assert wait(5)
        assert not wait(0.05), "one dispatch is for all"
        began = time.monotonic()
        later = threading.Timer(0.2, lambda: submitted(client, spec))
        later.start()
        assert wait(5)
        assert time.monotonic() - began < 2
        later.join()


def test_what_is_under_way_outlasts_redis(spec: RunSpec) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    with RedisServer(folder) as server, connect(server.url) as client:
        at_work(client)
        run_id, other = submitted(client, spec), submitted(client, spec)
        sent(client)
        before = client.hgetall(keys.HELD)
        server.kill()
        server.start()
        assert client.hgetall(keys.HELD) == before
        assert workers(client)[0].attempt == f"{run_id}-a1"
        claimed(client, run_id, worker="w")
        freed(client)
        assert list(dispatch(client)[0]) == [f"{other}-a1", "w"]
    shutil.rmtree(folder)


class Story:
    """Random submissions, dispatches, ends, hand-overs, parkings, cancels, deaths and repairs."""

    def __init__(self, client: Redis, spec: RunSpec, seed: int) -> None:
        self.client = client
        self.spec = spec
        self.chance = random.Random(seed)  # noqa: S311  # No secret.
        self.runs: list[str] = []
        self.claims: Counter[str] = Counter()
        self._carried: dict[str, tuple[str, int]] = {}  # What a worker was given: run and attempt.
        self._alive: set[str] = set()
        self._numbers = iter(range(1000))

    def start(self) -> None:
        self._alive.add(at_work(self.client, f"w{next(self._numbers)}", gpus=self.chance.randrange(2)))

    def submit(self) -> None:
        requires, priority = Requires(gpus=self.chance.randrange(2)), self.chance.choice(list(Priority))
        who = self.chance.choice(["ann", "bob", "cyd"])
        self.runs.append(submitted(self.client, self.spec, who, priority=priority, requires=requires))

    def give(self) -> None:
        for attempt, worker in dispatch(self.client):
            assert worker in self._alive
            assert worker not in self._carried, "it was busy"
            run_id, _, number = attempt.partition("-a")
            self._carried[worker] = (run_id, int(number))

    def begin(self) -> None:
        for worker, (run_id, number) in self._carried.items():
            if self.client.lpop(f"{keys.RQ_QUEUE}{worker}"):
                self._say(worker, carries=f"{run_id}-a{number}")
                fence = claim(self.client, run_id, number, lease_seconds=60, worker=worker)
                self.claims[f"{run_id}-a{number}"] += isinstance(fence, int)
                return

    def stop(self) -> None:
        if not self._carried:
            return
        worker = self.chance.choice(sorted(self._carried))
        run_id, number = self._carried[worker]
        tenure = index.tenures(self.client, [run_id])[0]
        if tenure.attempt == number and tenure.state not in {State.DONE, State.WAITING}:
            if not tenure.lease_until:
                return  # A work-horse that dies before its claim has a test of its own.
            self._end(Writer(self.client, run_id, who="w", fence=tenure.fence, lease_seconds=60))
        del self._carried[worker]
        self.client.delete(f"{keys.RQ_QUEUE}{worker}")
        self._say(worker, ended=True)

    def step_in(self) -> None:
        if not self.runs:
            return
        run_id, ann = self.chance.choice(self.runs), Steering(self.client, "ann")
        view = index.record(self.client, run_id).view
        if view.state is State.WAITING:
            ann.resume(run_id)
        elif view.state is State.DONE:
            ann.retry(run_id, More(), message="more")
        else:
            self.chance.choice([ann.pause, ann.cancel])(run_id)

    def die(self) -> None:
        if not self._alive:
            return
        worker = self.chance.choice(sorted(self._alive))
        self._alive.discard(worker)
        dies(self.client, worker)
        if (had := self._carried.pop(worker, None)) is not None:
            tenure = index.tenures(self.client, [had[0]])[0]
            if tenure.lease_until and tenure.attempt == had[1]:
                self.client.hset(keys.record(had[0]), "lease_until", 1)
        Keeper(self.client, Settings(lease_seconds=1))._repair()
        repair(self.client)

    def mend(self) -> None:
        repair(self.client)

    def _end(self, journal: Writer) -> None:
        match self.chance.randrange(3):
            case 0:
                journal.append(e.Finished(outcome=Outcome.SUCCEEDED), operation="finish")
            case 1:
                hand_over(journal, "handed over", to_blame=False)
            case _:
                journal.append(e.Parked(why="paused", text="x"), operation="park")

    def _say(self, worker: str, *, carries: str = "", ended: bool = False) -> None:
        presence = next(one.presence for one in workers(self.client) if one.presence.name == worker)
        beat(Scripts(self.client), presence, carries=carries, ended=ended)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_whatever_order_the_queue_adds_up(client: Redis, spec: RunSpec, seed: int) -> None:
    publish(client, QueueSettings(user=UserShare(runs=4), repo_runs=6, users={"bob": UserShare(weight=3)}))
    story = Story(client, spec, seed)
    often = [story.submit, story.give, story.begin, story.stop] * 2
    story.start()
    for _ in range(150):
        story.chance.choice([*often, story.start, story.step_in, story.die, story.mend])()
        adds_up(client, story.runs)
    assert max(story.claims.values()) == 1, "no attempt was claimed twice"


def adds_up(client: Redis, runs: list[str]) -> None:
    """Look whether each run is where its state says, once, and nothing else is anywhere."""
    pending, held = set(index.pending(client)), queue_state(client).held
    lines = {key.decode().removeprefix(keys.LINE): client.zrange(key, 0, -1) for key in client.keys(f"{keys.LINE}*")}
    assert sorted(run.decode() for line in lines.values() for run in line) == sorted(pending), "each is in one line"
    assert set(lines) == {line.decode() for line in client.hkeys(keys.LINES)}
    assert not pending & set(held)
    for tenure in index.tenures(client, runs):
        is_out = tenure.state in {State.DONE, State.WAITING}
        assert is_out == (tenure.run_id not in pending and tenure.run_id not in held), tenure
    assert all(float(had) >= 0 for had in client.hvals(keys.PASSES))
    assert max(Counter(one.user for one in held.values()).values(), default=0) <= 4
