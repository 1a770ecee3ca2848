"""A run that comes to the end of its money: told to land in time, once, and over as `limit`, with its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.long_runs import MODEL, Ground, family, ground, task
from orchestrator import attempt
from orchestrator import events as e
from orchestrator.journal.connection import connect
from orchestrator.journal.fold import fold
from orchestrator.journal.stream import read
from orchestrator.journal.writer import create
from orchestrator.runs import Outcome, RunSpec, new_run_id
from orchestrator.settings import RunLimits, Settings
from orchestrator.stop import Stop
from tests.fakes.agent_script import LEDGER, Script
from tests.fakes.fake_agent_model import Plan, served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
PRICE = [1.0, 0.1, 4.0]
"""US dollars per million tokens."""


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as place:
        yield place


def worked(place: Ground, limits: RunLimits) -> tuple[str, list[e.Event]]:
    """Carry a run of more steps than it can pay for; return its id and journal."""
    script = Script(steps=400, lines=20)
    plan = Plan(script, window=65_536)
    with served(plan) as service, connect(place.redis_url) as client:
        priced = family(service.url, plan.window)
        for model in priced["models"].values():
            model["price"] = PRICE
        settings = Settings(redis_url=place.redis_url, state_dir=place.state, families={"horizon": priced})
        run_id = new_run_id()
        spec = RunSpec(task=task(script), repo=place.base, model=MODEL, image="", limits=limits)
        create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        attempt.carry(client, settings, run_id, 1, Stop())
        return run_id, list(read(client, run_id))


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
