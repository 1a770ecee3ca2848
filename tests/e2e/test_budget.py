"""A run that comes to the end of its money: told to land in time, once, and over as `limit`, with its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.budget_rows import LIMITS, with_sub_agents
from benchmarks.long_runs import MODEL, Ground, family, ground, task
from orchestrator import attempt
from orchestrator import events as e
from orchestrator.errors import UsageError
from orchestrator.journal import keys
from orchestrator.journal.connection import connect
from orchestrator.journal.fold import fold
from orchestrator.journal.stream import read
from orchestrator.journal.writer import create
from orchestrator.queue import publish
from orchestrator.runs import Outcome, RunSpec, State, new_run_id
from orchestrator.settings import RunLimits, Settings
from orchestrator.shares import QueueSettings, UserShare
from orchestrator.steering import More, Steering
from orchestrator.stop import Stop
from tests.fakes.agent_script import LEDGER, Script
from tests.fakes.fake_agent_model import Plan, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
SCRIPT = Script(steps=400, lines=20)
PRICE = [1.0, 0.1, 4.0]
"""US dollars per million tokens."""


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as place:
        yield place


def worked(place: Ground, limits: RunLimits) -> tuple[str, list[e.Event]]:
    """Carry a run of more steps than it can pay for; return its id and journal."""
    run_id = new_run_id()
    spec = RunSpec(task=task(SCRIPT), repo=place.base, model=MODEL, image="", limits=limits)
    with connect(place.redis_url) as client:
        create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        return run_id, worked_on(place, client, run_id, 1)


def worked_on(place: Ground, client: Redis, run_id: str, number: int) -> list[e.Event]:
    """Carry an attempt of a run, and return its journal."""
    plan = Plan(SCRIPT, window=65_536)
    with served(plan) as service:
        priced = family(service.url, plan.window)
        for model in priced["models"].values():
            model["price"] = PRICE
        settings = Settings(redis_url=place.redis_url, state_dir=place.state, families={"horizon": priced})
        attempt.carry(client, settings, run_id, number, Stop())
    return list(read(client, run_id))


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (RunLimits(money_usd=0.06, seconds=600), "money"),
        (RunLimits(tokens=200_000, seconds=600), "tokens"),
        (RunLimits(steps=10, seconds=600), "steps"),
    ],
)
def test_a_run_ends_at_its_limit_with_its_work_and_lands_before(place: Ground, limits: RunLimits, what: str) -> None:
    run_id, events = worked(place, limits)
    view = fold(run_id, events)
    assert view.outcome is Outcome.LIMIT
    assert view.reason.startswith("the limit of ")
    spent = e.spent(events)
    assert spent.money_usd <= limits.money_usd
    assert spent.tokens <= limits.tokens
    left = place.store.read_file(place.base.project, view.tree, LEDGER)
    assert len((left or b"").splitlines()) >= view.step - 1, "its work is kept"
    landings = [event.body for event in events if isinstance(event.body, e.Landing)]
    assert [landing.what for landing in landings] == [what]
    assert 0.5 * landings[0].limit <= landings[0].used
    assert landings[0].used + landings[0].ahead >= 0.8 * landings[0].limit
    at = next(place for place, event in enumerate(events) if isinstance(event.body, e.Landing))
    assert sum(isinstance(event.body, e.Checkpointed) for event in events[at:]) >= 2, "there was time to land"
    told = [event.body.text for event in events if isinstance(event.body, e.Prompted) and "used up" in event.body.text]
    assert len(told) == 1
    assert view.step > 5


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_eight_sub_agents_at_once_are_never_billed_more_than_the_limits(place: Ground, limits: RunLimits) -> None:
    biller, events = with_sub_agents(place, limits)
    assert isinstance(end := events[-1].body, e.Finished)
    assert end.outcome is Outcome.LIMIT
    paid = {event.body.child for event in events if isinstance(event.body, e.Within) and e.paid(event.body)}
    assert len(paid) == 8
    assert e.spent(events) == pytest.approx((biller.usd, biller.tokens))
    assert biller.usd <= limits.money_usd
    assert biller.tokens <= limits.tokens


def test_a_run_that_gets_more_goes_on_and_is_told_to_land_again(place: Ground) -> None:
    run_id, events = worked(place, RunLimits(steps=5, seconds=600))
    with connect(place.redis_url) as client:
        steering = Steering(client, "ann")
        with pytest.raises(UsageError, match="limit of steps"):
            steering.retry(run_id, More(tokens=10_000))
        view = steering.retry(run_id, More(steps=5, tokens=10**6))
        assert view.limits.tokens == e.spent(events).tokens + 10**6
        again = worked_on(place, client, run_id, 2)
    assert [event.body.what for event in again if isinstance(event.body, e.Landing)] == ["steps", "steps"]
    assert fold(run_id, again).depth == 10


def test_a_run_whose_user_has_too_little_left_for_a_reply_asks_nothing_and_waits(place: Ground) -> None:
    with connect(place.redis_url) as client:
        publish(client, QueueSettings(users={"ann": UserShare(usd_per_day=0.004)}))
        try:
            run_id, events = worked(place, RunLimits(seconds=600))
        finally:
            publish(client, QueueSettings())
        view = fold(run_id, events)
        assert (view.state, view.reason) == (
            State.QUEUED,
            "what is left of the budget of ann for today doesn't pay for a reply",
        )
        assert [event.body.attempt for event in events if isinstance(event.body, e.Dispatched)] == [1, 2]
        assert not any(isinstance(event.body, e.Replied) for event in events)
        assert client.hgetall(keys.RESERVED) == {}
