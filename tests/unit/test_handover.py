from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.errors import HeadMovedError
from orchestrator.journal import index
from orchestrator.journal.handover import MOST_LOST, hand_over
from orchestrator.journal.lease import claim
from orchestrator.journal.writer import Writer
from orchestrator.runs import Outcome, State
from orchestrator.steering import Steering

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.dialogue import Reply

pytestmark = pytest.mark.needs_redis


def attempt(client: Redis, run_id: str, number: int, *, seconds: float = 30) -> Writer:
    fence = claim(client, run_id, number, lease_seconds=seconds)
    assert isinstance(fence, int), fence
    writer = Writer(client, run_id, who="w", fence=fence, lease_seconds=seconds)
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


def test_a_run_that_keeps_losing_its_attempts_is_parked_with_the_reason(client: Redis, run_id: str) -> None:
    for number in range(1, MOST_LOST):
        assert hand_over(attempt(client, run_id, number), "it died")
    assert not hand_over(attempt(client, run_id, MOST_LOST), "memory ran out")
    view = index.record(client, run_id).view
    assert (view.state, view.outcome, view.reason) == (State.WAITING, None, "parked")
    assert view.doing == "3 attempts in a row ended early, the last one: memory ran out"
    assert index.pending(client) == []
    assert claim(client, run_id, MOST_LOST, lease_seconds=5) == "PARKED"
    Steering(client, "ann").resume(run_id)
    assert hand_over(attempt(client, run_id, MOST_LOST + 1), "it died"), "it is counted anew"


def test_two_that_notice_a_dead_attempt_hand_it_over_once(client: Redis, run_id: str) -> None:
    attempt(client, run_id, 1, seconds=0.05)
    time.sleep(0.1)
    first, second = (Writer(client, run_id, who=f"keeper {number}") for number in (1, 2))
    assert hand_over(first, "it died")
    with pytest.raises(HeadMovedError):
        hand_over(second, "it died")
    assert index.record(client, run_id).attempt == 2


def test_a_committed_step_or_a_shutdown_begins_the_count_anew(client: Redis, run_id: str, reply: Reply) -> None:
    for number in range(1, 2 * MOST_LOST, 2):
        journal = attempt(client, run_id, number)
        journal.append(e.Replied(step=number, reply=reply), e.Checkpointed(step=number, commit="c", tree="t"))
        assert hand_over(journal, "it died")
        assert hand_over(attempt(client, run_id, number + 1), "shut down", to_blame=False)


def test_a_run_that_gives_its_worker_up_is_neither_blamed_nor_forgiven(client: Redis, run_id: str) -> None:
    for number in range(1, MOST_LOST):
        assert hand_over(attempt(client, run_id, number), "it died")
    journal = attempt(client, run_id, MOST_LOST)
    Writer(client, run_id, who="queue").append(e.PreemptRequested(why="priority", text="pre-empted"))
    assert hand_over(journal, "pre-empted", to_blame=False)
    assert not hand_over(attempt(client, run_id, MOST_LOST + 1), "it died"), "the deaths before it count as they did"


def test_a_run_that_was_to_be_cancelled_is_not_given_on(client: Redis, run_id: str) -> None:
    journal = attempt(client, run_id, 1)
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    assert not Writer(client, run_id, who="x").view.outcome
    journal.append(e.Prompted(text="x"))
    assert not hand_over(journal, "it died")
    assert index.record(client, run_id).view.outcome is Outcome.CANCELLED
