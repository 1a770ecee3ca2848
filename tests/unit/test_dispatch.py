"""Whose turn it is: priority, age, shares, limits, budgets, and what workers offer."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import NoPermissionError
from seats import at_work, claimed, ended, freed, lasted, sent, submitted, waited

from orchestrator import events as e
from orchestrator.journal import keys
from orchestrator.journal.connection import connect
from orchestrator.journal.fold import fold
from orchestrator.journal.stream import read
from orchestrator.journal.writer import Writer
from orchestrator.queue import dispatch, publish
from orchestrator.runs import Priority, Requires, RunSpec, State
from orchestrator.shares import QueueSettings, Share, UserShare
from orchestrator.standing import Waiting, queue_state, waiting, workers
from orchestrator.steering import Steering

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH


def order(client: Redis, runs: dict[str, str], worker: str = "w") -> list[str]:
    """Return the names of runs in the order in which one worker gets them."""
    named, found = {run_id: name for name, run_id in runs.items()}, []
    while True:
        freed(client, worker)
        done = sent(client)
        if not done:
            return found
        [attempt] = done
        found.append(named[attempt.partition("-")[0]])


def test_what_has_priority_comes_first_and_then_what_came_first(client: Redis, spec: RunSpec) -> None:
    names = {"low": LOW, "first": NORMAL, "second": NORMAL, "high": HIGH, "last": LOW}
    runs = {name: submitted(client, spec, priority=priority) for name, priority in names.items()}
    assert order(client, runs) == ["high", "first", "second", "low", "last"]
    assert client.exists(keys.LINES, keys.PENDING, keys.SERVED) == 0
    assert not client.keys(f"{keys.LINE}*")


def test_what_waits_for_long_counts_as_of_higher_priority_and_one_at_a_time(client: Redis, spec: RunSpec) -> None:
    runs = {f"low {n}": submitted(client, spec, priority=LOW) for n in range(2)}
    runs["normal"] = submitted(client, spec)
    for name in ("low 0", "low 1"):
        waited(client, runs[name], 700)
    assert order(client, runs) == ["low 0", "normal", "low 1"], "served once, a line's age begins anew"


def test_age_gives_no_more_to_whoever_asks_for_something_else_each_time(client: Redis, spec: RunSpec) -> None:
    runs = {f"ann{n}": submitted(client, spec, requires=Requires(memory_mb=100 + n)) for n in range(6)}
    runs |= {f"bob{n}": submitted(client, spec, "bob@h") for n in range(6)}
    for run_id in runs.values():
        waited(client, run_id, 1300)
    assert [name[:3] for name in order(client, runs)] == ["ann", "bob"] * 6
    for run_id in [submitted(client, spec, requires=Requires(memory_mb=100 + n)) for n in range(6)]:
        waited(client, run_id, 1300)
    bobs = submitted(client, spec, "bob@h")
    client.hset(keys.PASSES, mapping={"ann": 1000, "bob": 0})
    for name in ("w", "x", "y"):
        freed(client, name)
    assert f"{bobs}-a1" in sent(client), "also of several at once"


def test_age_never_overtakes_high_priority(client: Redis, spec: RunSpec) -> None:
    old, new = submitted(client, spec, "bob", priority=LOW), submitted(client, spec, priority=HIGH)
    client.hset(keys.PASSES, "bob", 5)
    waited(client, old, 1e6)
    assert order(client, {"old": old, "new": new}) == ["new", "old"], "it's as high, and its user had more"


def test_users_take_turns_whoever_queued_more(client: Redis, spec: RunSpec) -> None:
    runs = {f"ann{n}": submitted(client, spec) for n in range(6)}
    runs |= {f"bob{n}": submitted(client, spec, "bob@elsewhere") for n in range(3)}
    assert [name[:3] for name in order(client, runs)] == ["ann", "bob"] * 3 + ["ann"] * 3


def test_a_newcomer_begins_where_the_others_are_and_time_away_is_no_credit(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    for user, had in (("ann", 1000.0), ("bob", 1010.0)):
        submitted(client, spec, user)
        client.hset(keys.PASSES, user, had)
    submitted(client, spec, "cyd")
    assert float(client.hget(keys.PASSES, "cyd") or 0) == 1000.0
    submitted(client, spec, "bob", priority=LOW)
    assert float(client.hget(keys.PASSES, "bob") or 0) == 1010.0, "who waits already keeps what he had"


def test_who_may_not_go_anyway_is_no_measure_for_a_newcomer(client: Redis, spec: RunSpec) -> None:
    publish(client, QueueSettings(users={"bob": UserShare(runs=1)}))
    at_work(client)
    submitted(client, spec, "bob")
    sent(client)
    submitted(client, spec, "bob")
    submitted(client, spec, "ann")
    client.hset(keys.PASSES, mapping={"ann": 5000, "bob": 1})
    submitted(client, spec, "cyd")
    assert float(client.hget(keys.PASSES, "cyd") or 0) == 5000.0


def test_shares_are_what_the_weights_say_at_each_quarter(client: Redis, spec: RunSpec) -> None:
    """300 runs of three users, 1:1:2, on six workers; how long each takes is made up, and told by its beginning."""
    publish(client, QueueSettings(users={"cyd": UserShare(weight=2)}))
    chance = random.Random(7)  # noqa: S311  # No secret.
    todo = {"ann": 75, "bob": 75, "cyd": 150}
    users = {submitted(client, spec, user): user for user, runs in todo.items() for _ in range(runs)}
    clock, had, ending = 0.0, Counter[str](), dict[str, tuple[float, float, str]]()
    shares = list[Counter[str]]()
    for worker in range(6):
        at_work(client, f"w{worker}")
    for done in itertools.count(1):
        for attempt, worker in sent(client).items():
            seconds = chance.uniform(20, 200)
            ending[attempt] = (clock + seconds, seconds, worker)
        if not ending:
            break
        attempt = min(ending, key=lambda one: ending[one])
        clock, seconds, worker = ending.pop(attempt)
        run_id = attempt.partition("-")[0]
        journal = claimed(client, run_id, worker=worker)
        lasted(client, run_id, seconds)
        ended(journal)
        freed(client, worker)
        had[users[run_id]] += round(seconds)
        if done % 75 == 0:
            shares.append(had.copy())
    assert done == 301, "none lost, none twice"
    for quarter in shares:
        for user, weight in {"ann": 1, "bob": 1, "cyd": 2}.items():
            assert quarter[user] / quarter.total() == pytest.approx(weight / 4, rel=0.1), quarter
    assert all(float(had) >= 0 for had in client.hvals(keys.PASSES))


LIMITS = {
    "user_runs": (QueueSettings(user=UserShare(runs=1)), "ann"),
    "team_runs": (QueueSettings(user=UserShare(team="blue"), teams={"blue": Share(runs=1)}), "blue"),
    "repo_runs": (QueueSettings(repo_runs=1), "small"),
}


@pytest.mark.parametrize("why", LIMITS)
def test_what_is_limited_waits_and_says_for_what(client: Redis, spec: RunSpec, why: str) -> None:
    settings, about = LIMITS[why]
    publish(client, settings)
    at_work(client, "w1"), at_work(client, "w2")
    first, second = submitted(client, spec), submitted(client, spec)
    assert list(sent(client)) == [f"{first}-a1"]
    assert waiting(client, [first, second]) == {second: Waiting(1, why, about)}
    ended(claimed(client, first))
    assert list(sent(client)) == [f"{second}-a1"], "the other worker was free all the time"


REQUIRES: dict[str, tuple[Requires, dict[str, Any]]] = {
    "8192 MB of memory": (Requires(memory_mb=8192), {"memory_mb": 8192}),
    "4 cpus": (Requires(cpus=4), {"cpus": 4.0}),
    "2 gpus": (Requires(gpus=2), {"gpus": 2}),
    "label ssd": (Requires(labels=("ssd",)), {"labels": ("eu", "ssd")}),
    "a key for mimo": (Requires(keys=("mimo",)), {"models": ("glm", "mimo")}),
    "image x:latest": (Requires(image="x"), {"images": ("x:latest",)}),
    "the store of host laptop": (Requires(store="5a5a"), {"stores": ("5a5a",)}),
    "a checkpoint remote": (Requires(store="remote"), {"stores": ("remote",)}),
    "label ssd and image x:latest": (
        Requires(labels=("ssd",), image="x"),
        {"labels": ("ssd",), "images": ("x:latest",)},
    ),
}


@pytest.mark.parametrize("words", REQUIRES)
def test_only_a_worker_that_has_what_a_run_asks_for_gets_it(client: Redis, spec: RunSpec, words: str) -> None:
    requires, offer = REQUIRES[words]
    at_work(client)
    run_id, other = submitted(client, spec, "ann@laptop", requires=requires), submitted(client, spec, "bob")
    assert waiting(client, [run_id])[run_id].why == "nobody"
    assert waiting(client, [run_id])[run_id].about == words
    assert list(sent(client)) == [f"{other}-a1"], "who can go isn't held up"
    at_work(client, "special", **offer)
    assert sent(client) == {f"{run_id}-a1": "special"}


def test_what_is_special_is_kept_for_those_who_ask_for_it(client: Redis, spec: RunSpec) -> None:
    at_work(client, "a", gpus=1), at_work(client, "b", labels=("ssd",)), at_work(client, "c")
    run_id = submitted(client, spec)
    assert sent(client) == {f"{run_id}-a1": "c"}


@pytest.mark.parametrize("image", ["", "sha256:" + "a" * 64, "0123456789ab"])
def test_what_no_list_of_names_can_tell_is_required_of_nobody(client: Redis, spec: RunSpec, image: str) -> None:
    at_work(client, images=())
    built = submitted(client, spec, image="dreamdock/repo:1", build="Dockerfile")
    other = submitted(client, spec, image=image)
    assert [*sent(client), *(freed(client) and sent(client))] == [f"{built}-a1", f"{other}-a1"]


def test_an_older_worker_gets_nothing_that_it_cannot_read(client: Redis, spec: RunSpec) -> None:
    at_work(client, "old", format=e.FORMAT - 1)
    run_id = submitted(client, spec)
    assert sent(client) == {}
    assert waiting(client, [run_id]) == {run_id: Waiting(1, "nobody", "a newer version")}
    at_work(client, "new")
    assert sent(client) == {f"{run_id}-a1": "new"}


def test_a_newer_writer_makes_a_run_one_for_newer_workers(client: Redis, spec: RunSpec) -> None:
    run_id = submitted(client, spec)
    client.hset(keys.record(run_id), "format", e.FORMAT - 1)
    at_work(client, "old", format=e.FORMAT - 1)
    Writer(client, run_id, who="ann").append(e.Steered(text="by a newer version"))
    assert sent(client) == {}
    assert queue_state(client).lines[0].length == 1
    at_work(client, "new")
    assert sent(client) == {f"{run_id}-a1": "new"}


def test_places_are_those_in_which_they_go(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    publish(client, QueueSettings(users={"cyd": UserShare(weight=2)}))
    chance = random.Random(3)  # noqa: S311  # No secret.
    runs = {
        f"{user} {number}": submitted(client, spec, user, priority=chance.choice([LOW, NORMAL, HIGH]))
        for number, user in enumerate(chance.choices(["ann", "bob", "cyd"], k=30))
    }
    told = waiting(client, list(runs.values()))
    assert {wait.why for wait in told.values()} == {"busy"}
    places = [told[runs[name]].place for name in order(client, runs)]
    assert max(abs(place - number) for number, place in enumerate(places, start=1)) <= 3
    assert places[0] == 1


def test_what_an_attempt_takes_is_learnt_from_those_that_were_claimed(client: Redis, spec: RunSpec) -> None:
    worker = at_work(client)
    for seconds in (10.0, 30.0):
        run_id = submitted(client, spec)
        sent(client)
        journal = claimed(client, run_id, worker=worker)
        lasted(client, run_id, seconds)
        ended(journal)
        freed(client)
    run_id = submitted(client, spec)
    sent(client)
    Steering(client, "ann").cancel(run_id)
    assert float(client.hget(keys.ESTIMATE, "seconds") or 0) == pytest.approx(20, abs=1)
    assert client.exists(keys.HELD) == 0


def test_who_may_only_read_is_told_why_runs_wait(client: Redis, spec: RunSpec) -> None:
    run_id = submitted(client, spec)
    rules = ["on", "nopass", "%R~dd:*", "-@all", "+@read", "+@connection", "+eval_ro", "+evalsha_ro", "+time"]
    client.execute_command("ACL", "SETUSER", "viewer", "reset", *rules)
    path = client.connection_pool.connection_kwargs["path"]
    with connect(f"unix://viewer:x@{path}") as viewer:
        for _ in range(2):
            assert waiting(viewer, [run_id])[run_id].why == "no_workers"
            client.script_flush()
        assert workers(viewer) == []
        with pytest.raises(NoPermissionError):
            viewer.delete(keys.LINES)
        assert queue_state(viewer).lines[0].length == 1


def test_nobody_waits_for_no_workers_unsaid(client: Redis, spec: RunSpec) -> None:
    run_id = submitted(client, spec)
    assert waiting(client, [run_id, "0" * 12]) == {run_id: Waiting(1, "no_workers", "")}
    assert waiting(client, []) == {}
    assert workers(client) == []


def test_two_that_dispatch_at_once_send_each_run_once(client: Redis, spec: RunSpec) -> None:
    runs = {submitted(client, spec) for _ in range(60)}
    for number in range(60):
        at_work(client, f"w{number}")
    found, pool = list[str](), client.connection_pool.connection_kwargs["path"]

    def one() -> None:
        with connect(f"unix://{pool}") as own:
            for _ in range(20):
                found.extend(attempt for attempt, _ in dispatch(own))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"{run_id}-a1" for run_id in runs)
    assert all(client.llen(f"{keys.RQ_QUEUE}w{number}") == 1 for number in range(60))


def calls(client: Redis) -> int:
    stats: Any = client.info("commandstats")
    return sum(one["calls"] for one in stats.values())


def test_ten_thousand_that_wait_cost_no_more_than_the_heads_of_their_lines(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    kinds = [
        {"who": user, "priority": priority, "requires": Requires(labels=labels)}
        for user in ("ann", "bob", "cyd")
        for priority in Priority
        for labels in ((), ("ssd",), ("eu",))
    ]
    made = [submitted(client, spec, **kind) for kind in kinds]

    def cost() -> int:
        freed(client)
        before = calls(client)
        assert len(sent(client)) == 1
        return calls(client) - before

    few = cost()
    lines = [client.hget(keys.record(run_id), "line") or b"" for run_id in made]
    with client.pipeline() as pipe:
        for number in range(10_000):  # Copies of what a submission makes: making so many would take a minute.
            which, run_id = number % len(made), f"{number:012d}"
            pipe.copy(keys.record(made[which]), keys.record(run_id))
            pipe.zadd(keys.PENDING, {run_id: number + 2e12})
            pipe.zadd(f"{keys.LINE}{lines[which].decode()}", {run_id: number + 2e12})
        pipe.execute()
    assert client.zcard(keys.PENDING) == 10_000 + len(made) - 1
    many = cost()
    assert many <= few + 5
    assert many < 8 * len(kinds)


def test_a_run_that_is_damaged_is_put_aside_and_the_next_one_goes(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    harms = [("attempt", "garbage"), ("state", "garbage"), ("attempt", "0"), ("attempt", "1" * 30)]
    for field, value in harms:
        client.hset(keys.record(submitted(client, spec)), field, value)
    wrong = submitted(client, spec)
    client.delete(keys.record(wrong))
    client.set(keys.record(wrong), "of the wrong type")
    client.hset(keys.HELD, "garbage", "{")
    client.hset(keys.HELD, "empty", "{}")
    client.hset(keys.WORKERS, "garbage", "{")
    client.hset(keys.LINES, "garbage", "{")
    whole = submitted(client, spec)
    assert list(sent(client)) == [f"{whole}-a1"]
    assert waiting(client, [wrong]) == {}
    assert list(queue_state(client).held) == [whole]
    assert fold(whole, read(client, whole)).state is State.QUEUED
