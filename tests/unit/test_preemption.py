"""Who gives up a worker: to a run of high priority, on a host that drains, over budget. And a queue that stands."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from seats import at_work, claimed, ended, freed, lasted, sent, submitted, waited

from orchestrator import events as e
from orchestrator.dialogue import Reply
from orchestrator.errors import NotFoundError, UsageError
from orchestrator.journal import index, keys
from orchestrator.journal.handover import hand_over
from orchestrator.journal.stream import read
from orchestrator.journal.writer import Writer
from orchestrator.queue import drain, pause_queue, publish, resume_queue
from orchestrator.runs import Outcome, Priority, Requires, RunSpec, State
from orchestrator.shares import QueueSettings, Share, UserShare
from orchestrator.standing import Waiting, queue_state, waiting

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
LOW, NORMAL, HIGH = Priority.LOW, Priority.NORMAL, Priority.HIGH


def ask_of(client: Redis, run_id: str) -> list[e.PreemptRequested]:
    return [event.body for event in read(client, run_id) if isinstance(event.body, e.PreemptRequested)]


def test_a_budget_ends_with_the_day_and_what_runs_is_asked_to_stop(client: Redis, spec: RunSpec) -> None:
    publish(client, QueueSettings(users={"ann": UserShare(usd_per_day=1.0, team="blue")}))
    worker = at_work(client)
    first, second = submitted(client, spec), submitted(client, spec)
    sent(client)
    journal = claimed(client, first)
    for step in (1, 2):
        journal.append(e.Replied(step=step, reply=Reply(cost_usd=0.6)), e.Checkpointed(step=step, commit="c", tree="t"))
    assert queue_state(client).spent == {"user:ann": 1.2, "team:blue": 1.2}
    for _ in range(3):
        assert sent(client) == {}
    assert [(asked.why, asked.text) for asked in ask_of(client, first)] == [
        ("budget", "the budget of ann for today is used up")
    ]
    journal.refresh()
    assert hand_over(journal, journal.view.preempting, to_blame=False)
    freed(client, worker)
    assert sent(client) == {}
    waits = waiting(client, [first, second])
    assert waits == {first: Waiting(1, "budget", "ann"), second: Waiting(2, "budget", "ann")}, "its place is kept"
    assert index.record(client, first).view.reason == "the budget of ann for today is used up"
    today = datetime.fromtimestamp(index.now_ms(client) / 1000, UTC)
    assert 0 < client.ttl(f"{keys.SPENT}{today:%Y-%m-%d}") <= 3 * 86_400  # type: ignore[operator]  # redis-py's own type is both clients'.
    client.rename(f"{keys.SPENT}{today:%Y-%m-%d}", f"{keys.SPENT}{today - timedelta(days=1):%Y-%m-%d}")
    assert sent(client) == {f"{first}-a2": worker}, "the next day it goes on"


def test_the_budget_of_a_team_is_everybodys(client: Redis, spec: RunSpec) -> None:
    publish(client, QueueSettings(user=UserShare(team="blue"), teams={"blue": Share(usd_per_day=1.0)}))
    at_work(client, "w1"), at_work(client, "w2")
    first = submitted(client, spec, "bob")
    sent(client)
    claimed(client, first).append(e.Replied(step=1, reply=Reply(cost_usd=2.0)))
    other = submitted(client, spec)
    assert sent(client) == {}
    assert waiting(client, [other]) == {other: Waiting(1, "budget", "blue")}
    assert ask_of(client, first)[0].text == "the budget of blue for today is used up"


def test_a_paused_queue_sends_nothing_and_lets_go_on_what_runs(client: Redis, spec: RunSpec) -> None:
    at_work(client, "w1"), at_work(client, "w2")
    first = submitted(client, spec)
    sent(client)
    pause_queue(client, "ann")
    second = submitted(client, spec)
    assert sent(client) == {}
    assert ask_of(client, first) == []
    assert waiting(client, [second]) == {second: Waiting(1, "paused", "ann")}
    assert queue_state(client).paused_by == "ann"
    resume_queue(client)
    assert list(sent(client)) == [f"{second}-a1"]


def test_a_host_that_drains_hands_over_and_others_take_it(client: Redis, spec: RunSpec) -> None:
    at_work(client, "a", host="a")
    run_id = submitted(client, spec)
    sent(client)
    journal = claimed(client, run_id, worker="a")
    drain(client, "ann", "a")
    other = submitted(client, spec)
    for _ in range(2):
        assert sent(client) == {}
    assert [asked.why for asked in ask_of(client, run_id)] == ["drain"], "it is asked once"
    assert waiting(client, [other]) == {other: Waiting(1, "draining", "a")}
    journal.refresh()
    hand_over(journal, journal.view.preempting, to_blame=False)
    freed(client, "a", host="a")
    assert sent(client) == {}
    at_work(client, "b", host="b")
    assert sent(client) == {f"{run_id}-a2": "b"}, "what was begun stands in front"
    assert queue_state(client).draining == {"a": "ann"}
    resume_queue(client, "a")
    assert sent(client) == {f"{other}-a1": "a"}
    drain(client, "bob")
    assert [asked.why for asked in ask_of(client, other)] == []
    sent(client)
    assert [asked.why for asked in ask_of(client, other)] == ["drain"]
    resume_queue(client)
    assert queue_state(client).draining == {}


def test_a_host_is_drained_by_its_name_or_its_id(client: Redis) -> None:
    at_work(client, "a", host="twin", host_id="11111111"), at_work(client, "b", host="twin", host_id="22222222")
    with pytest.raises(UsageError) as caught:
        drain(client, "ann", "twin")
    assert "11111111, 22222222" in caught.value.cause
    drain(client, "ann", "22222222")
    with pytest.raises(NotFoundError):
        drain(client, "ann", "nowhere")
    with pytest.raises(NotFoundError):
        resume_queue(client, "nowhere")
    assert queue_state(client).draining == {"22222222": "ann"}


def test_a_run_of_high_priority_has_the_latest_of_the_lowest_give_its_worker_up(client: Redis, spec: RunSpec) -> None:
    given = {"normal": NORMAL, "low": LOW, "lowest": LOW, "other high": HIGH}
    runs = dict[str, str]()
    for name, priority in given.items():
        runs[name] = submitted(client, spec, priority=priority)
        at_work(client, f"at {name}")
        sent(client)
        lasted(client, runs[name], 1 if name == "lowest" else 10)
    journals = {name: claimed(client, run_id, worker=f"at {name}") for name, run_id in runs.items()}
    high = submitted(client, spec, "bob", priority=HIGH)
    for _ in range(3):
        assert sent(client) == {}
    asked = {name: ask_of(client, run_id) for name, run_id in runs.items()}
    assert {name: len(asks) for name, asks in asked.items()} == {"normal": 0, "low": 0, "lowest": 1, "other high": 0}
    assert queue_state(client).held[runs["lowest"]].asked == "priority"
    journal = journals["lowest"]
    journal.refresh()
    assert hand_over(journal, journal.view.preempting, to_blame=False)
    view = index.record(client, runs["lowest"]).view
    assert (view.state, view.reason) == (State.QUEUED, "pre-empted by a run of high priority")
    freed(client, "at lowest")
    assert sent(client) == {f"{high}-a1": "at lowest"}
    assert sent(client) == {}
    assert waiting(client, [runs["lowest"]]) == {runs["lowest"]: Waiting(1, "busy", "")}


def test_only_a_run_whose_worker_would_do_is_pre_empted(client: Redis, spec: RunSpec) -> None:
    at_work(client, "plain"), at_work(client, "gpu", gpus=1)
    plain = submitted(client, spec, priority=LOW)
    sent(client)
    with_gpu = submitted(client, spec)
    sent(client)
    submitted(client, spec, priority=HIGH, requires=Requires(gpus=1))
    submitted(client, spec, priority=HIGH, requires=Requires(gpus=4))
    sent(client)
    assert (len(ask_of(client, plain)), len(ask_of(client, with_gpu))) == (0, 1)


def test_age_throws_nobody_out(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec, priority=LOW)
    sent(client)
    waited(client, submitted(client, spec, priority=LOW), 1e5)
    sent(client)
    assert ask_of(client, run_id) == []


def test_a_victim_that_ends_or_pauses_before_it_heeds_is_fine_and_one_more_is_asked(
    client: Redis, spec: RunSpec
) -> None:
    at_work(client, "w1"), at_work(client, "w2")
    runs = [submitted(client, spec, priority=LOW) for _ in range(2)]
    sent(client)
    high = [submitted(client, spec, priority=HIGH), submitted(client, spec, priority=HIGH)]
    sent(client)
    asked = [run_id for run_id in runs if ask_of(client, run_id)]
    assert len(asked) == 1, "both stand in one line: its head counts"
    worker = queue_state(client).held[asked[0]].worker
    ended(claimed(client, asked[0], worker=worker))
    freed(client, worker)
    assert sent(client) == {f"{high[0]}-a1": worker}
    assert len(ask_of(client, asked[0])) == 1
    assert {run_id for run_id in high if index.record(client, run_id).view.preempting} == set()


def test_who_was_killed_before_he_could_ask_is_made_up_for(client: Redis, spec: RunSpec) -> None:
    at_work(client)
    run_id = submitted(client, spec, priority=LOW)
    sent(client)
    submitted(client, spec, priority=HIGH)
    held = json.loads(client.hget(keys.HELD, run_id) or b"{}")
    long_ago = {"asked": "priority", "about": "", "asked_at": index.now_ms(client) - 20_000}
    client.hset(keys.HELD, run_id, json.dumps(held | long_ago))
    for _ in range(3):
        sent(client)
    assert len(ask_of(client, run_id)) == 1


def test_a_worker_that_was_given_up_is_not_asked_for_again_nor_another_one(client: Redis, spec: RunSpec) -> None:
    at_work(client, "w1"), at_work(client, "w2")
    low = [submitted(client, spec, priority=LOW) for _ in range(2)]
    sent(client)
    high = submitted(client, spec, priority=HIGH)
    sent(client)
    [victim] = [run_id for run_id in low if ask_of(client, run_id)]
    worker = queue_state(client).held[victim].worker
    journal = claimed(client, victim, worker=worker)
    hand_over(journal, "pre-empted", to_blame=False)
    for _ in range(3):
        assert sent(client) == {}, "its worker clears up"
    assert [len(ask_of(client, run_id)) for run_id in low] == [int(run_id == victim) for run_id in low]
    freed(client, worker)
    assert sent(client) == {f"{high}-a1": worker}


def test_age_takes_no_worker_that_was_given_up_for_another(client: Redis, spec: RunSpec) -> None:
    worker = at_work(client)
    low = submitted(client, spec, priority=LOW)
    sent(client)
    for user in ("bob", "cyd", "dan"):
        waited(client, submitted(client, spec, user), 1e5)
    high = submitted(client, spec, priority=HIGH)
    sent(client)
    journal = claimed(client, low, worker=worker)
    hand_over(journal, "pre-empted", to_blame=False)
    freed(client, worker)
    assert sent(client) == {f"{high}-a1": worker}
    assert client.hlen(keys.PROMISED) == 0


def test_a_worker_that_was_given_up_for_one_that_is_gone_is_anybodys(client: Redis, spec: RunSpec) -> None:
    worker = at_work(client)
    low = submitted(client, spec, priority=LOW)
    sent(client)
    high, other = submitted(client, spec, priority=HIGH), submitted(client, spec, "bob")
    sent(client)
    Writer(client, high, who="ann").append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")
    hand_over(claimed(client, low, worker=worker), "pre-empted", to_blame=False)
    freed(client, worker)
    assert sent(client) == {f"{other}-a1": worker}
    assert client.hlen(keys.PROMISED) == 0
