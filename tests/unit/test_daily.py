"""What users and teams have left today: put aside before a reply is asked for, and not left behind by who is killed."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from seats import at_work, claimed, freed, sent, submitted

from orchestrator import events as e
from orchestrator.dialogue import Reply
from orchestrator.errors import FencedError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts
from orchestrator.journal.daily import Daily
from orchestrator.journal.handover import hand_over
from orchestrator.journal.writer import Writer
from orchestrator.queue import publish
from orchestrator.runs import RunSpec, State
from orchestrator.shares import QueueSettings, Share, UserShare
from orchestrator.standing import Waiting, queue_state, waiting
from orchestrator.stop import PREEMPTED, Stopped

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
ANN = QueueSettings(users={"ann": UserShare(usd_per_day=1.0)})


def reserved(client: Redis) -> dict[str, dict[str, float]]:
    """What is put aside, by run and name."""
    found: dict[bytes, bytes] = client.hgetall(keys.RESERVED)
    return {
        run.decode(): {name: float(usd) for name, usd in json.loads(text)["held"].items()}
        for run, text in found.items()
    }


def under_way(client: Redis, spec: RunSpec, who: str = "ann@h") -> Writer:
    """Queue a run, and have a worker of its own carry it."""
    name = at_work(client, f"w{len(client.hgetall(keys.BUSY))}")
    run_id = submitted(client, spec, who)
    assert sent(client) == {f"{run_id}-a1": name}
    return claimed(client, run_id, worker=name)


def test_what_is_put_aside_counts_as_spent_until_its_reply_is_in_the_journal(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    first, second = under_way(client, spec), under_way(client, spec)
    one, other = Daily(first), Daily(second)
    name, granted = one.hold(0.6, 0.1)
    assert granted == 0.6
    assert other.hold(0.6, 0.1)[1] == pytest.approx(0.4), "what is left, where that is enough"
    with pytest.raises(Stopped) as stopped:
        Daily(second).hold(0.6, 0.1)
    assert stopped.value.reason == PREEMPTED
    assert [type(event.body) for event in second.events][-1] is e.PreemptRequested
    one.free(name)
    assert reserved(client)[first.view.id] == {"r1": 0.6}, "until what it cost is counted"
    first.append(e.Replied(step=1, reply=Reply(cost_usd=0.25)))
    assert first.view.id not in reserved(client)
    assert queue_state(client).spent == {"user:ann": 0.25}
    assert one.hold(0.6, 0.1)[1] == pytest.approx(0.35)


def test_a_run_that_is_refused_waits_until_there_is_enough(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    first, second = under_way(client, spec), under_way(client, spec)
    first_day = Daily(first)
    name, _ = first_day.hold(0.95, 0.1)
    with pytest.raises(Stopped):
        Daily(second).hold(0.6, 0.1)
    assert second.view.preempting == "what is left of the budget of ann for today doesn't pay for a reply"
    assert hand_over(second, second.view.preempting, to_blame=False)
    freed(client, "w1")
    assert sent(client) == {}, "it would be refused again"
    run_id = second.view.id
    assert waiting(client, [run_id]) == {run_id: Waiting(1, "budget", "ann")}
    first_day.free(name)
    first.append(e.Replied(step=1, reply=Reply(cost_usd=0.05)))
    assert sent(client) == {f"{run_id}-a2": "w1"}
    assert client.hget(keys.record(run_id), "needs") is None


def test_a_team_has_one_budget(client: Redis, spec: RunSpec) -> None:
    publish(client, QueueSettings(user=UserShare(team="blue"), teams={"blue": Share(usd_per_day=1.0)}))
    Daily(under_way(client, spec, "ann@h")).hold(0.7, 0.1)
    assert Daily(under_way(client, spec, "bob@h")).hold(0.7, 0.1)[1] == pytest.approx(0.3)


def test_whoever_is_killed_leaves_nothing_behind(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    killed = under_way(client, spec)
    Daily(killed).hold(0.6, 0.1)
    assert reserved(client)
    client.hset(keys.record(killed.view.id), "lease_until", 0)  # It was kill -9: nobody renews.
    assert hand_over(Writer(client, killed.view.id, who="keeper"), "its lease ran out")
    assert reserved(client) == {}
    with pytest.raises(FencedError):
        Daily(killed).hold(0.6, 0.1)
    assert reserved(client) == {}, "nor does it when it comes back"


def test_a_run_that_ends_or_is_parked_leaves_nothing_behind(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    for operation, body in (
        ("finish", e.Finished(outcome="limit")),
        ("park", e.Parked(why="paused", text="paused by ann")),
    ):
        journal = under_way(client, spec)
        Daily(journal).hold(0.2, 0.1)
        journal.append(body, operation=operation)
        assert reserved(client) == {}


def test_what_nobody_limits_is_asked_for_once_a_minute(client: Redis, spec: RunSpec) -> None:
    journal = under_way(client, spec)
    daily = Daily(journal)
    assert daily.hold(5.0, 1.0) == ("", 5.0)
    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert daily.hold(5.0, 1.0) == ("", 5.0)
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls
    assert reserved(client) == {}


def test_eight_at_once_never_have_more_than_there_is(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    journals = [under_way(client, spec) for _ in range(2)]
    granted: list[float] = []

    def hold(daily: Daily) -> None:
        try:
            granted.append(daily.hold(0.3, 0.05)[1])
        except Stopped:
            granted.append(0.0)

    days = [Daily(journal) for journal in journals]
    threads = [threading.Thread(target=hold, args=(days[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 8
    assert sum(sum(held.values()) for held in reserved(client).values()) <= 1.0 + 1e-9


def test_garbage_among_what_is_put_aside_stops_nobody(client: Redis, spec: RunSpec) -> None:
    publish(client, ANN)
    journal = under_way(client, spec)
    for number, text in enumerate(("", "x", "[]", '{"user": 1}', '{"user": "ann", "held": {"r": "nan", "s": -5}}')):
        client.hset(keys.RESERVED, f"garbage{number}", text)
    assert Daily(journal).hold(0.6, 0.1)[1] == 0.6
    client.hset(keys.RESERVED, journal.view.id, '{"user": [], "held": 3}')
    Daily(journal).hold(0.1, 0.1)
    assert Scripts(client)("dispatch", [], ["rq:queues", "rq:job:"])
    assert journal.view.state is State.RUNNING
