from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.journal import index
from orchestrator.journal.handover import MOST_LOST, hand_over
from orchestrator.journal.lease import claim
from orchestrator.journal.stream import Writer
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.dialogue import Reply

pytestmark = pytest.mark.needs_redis


def attempt(client: Redis, run_id: str, number: int) -> Writer:
    fence = claim(client, run_id, number, lease_seconds=30)
    assert isinstance(fence, int), fence
    writer = Writer(client, run_id, who="w", fence=fence, lease_seconds=30)
    writer.append(e.Claimed(attempt=number, fence=fence, worker="w", host="h"))
    return writer


def test_the_next_attempt_is_pending_at_once_and_the_open_step_is_void(
    client: Redis, run_id: str, reply: Reply
) -> None:
    journal = attempt(client, run_id, 1)
    journal.append(e.Replied(step=1, reply=reply))
    assert hand_over(journal, "the channel is lost")
    record = index.record(client, run_id)
    assert (record.view.state, record.attempt, record.lease_until) == (State.QUEUED, 2, 0)
    assert index.pending(client) == [run_id]
    assert record.view.usage.input_tokens == 100, "money that was spent stays spent"
    lost = next(event.body for event in journal.events if isinstance(event.body, e.AttemptLost))
    assert (lost.void_step, lost.reason) == (1, "the channel is lost")


def test_a_run_that_keeps_losing_its_attempts_ends_as_error(client: Redis, run_id: str) -> None:
    for number in range(1, MOST_LOST):
        assert hand_over(attempt(client, run_id, number), "it died")
    assert not hand_over(attempt(client, run_id, MOST_LOST), "it died")
    view = index.record(client, run_id).view
    assert (view.state, view.outcome) == (State.DONE, Outcome.ERROR)
    assert "3 attempts in a row" in view.reason


def test_a_committed_step_or_a_shutdown_begins_the_count_anew(client: Redis, run_id: str, reply: Reply) -> None:
    for number in range(1, 2 * MOST_LOST, 2):
        journal = attempt(client, run_id, number)
        journal.append(e.Replied(step=number, reply=reply), e.Checkpointed(step=number, commit="c", tree="t"))
        assert hand_over(journal, "it died")
        assert hand_over(attempt(client, run_id, number + 1), "shut down", to_blame=False)


def test_a_run_that_was_to_be_cancelled_is_not_given_on(client: Redis, run_id: str) -> None:
    journal = attempt(client, run_id, 1)
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    assert not Writer(client, run_id, who="x").view.outcome
    journal.append(e.Prompted(text="x"))
    assert not hand_over(journal, "it died")
    assert index.record(client, run_id).view.outcome is Outcome.CANCELLED
