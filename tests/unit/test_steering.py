"""Pause, resume, steer, cancel and retry in the journal: who may, when, and what a crash right after leaves."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from seats import at_work, claimed, freed, sent

from orchestrator import events as e
from orchestrator.agent.context import Context, Projection
from orchestrator.dialogue import Reply, ToolCall, ToolResult, Turn
from orchestrator.errors import HeadMovedError, NotFoundError, UsageError
from orchestrator.journal import index, keys
from orchestrator.journal.fold import fold
from orchestrator.journal.handover import hand_over, park
from orchestrator.journal.lease import claim
from orchestrator.journal.stream import read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.keeper import Keeper
from orchestrator.runs import LONGEST_TASK, Outcome, RunSpec, RunView, State, Verdict, new_run_id
from orchestrator.settings import Settings
from orchestrator.steering import More, Steering

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
SUBMIT = ToolCall(id="s", name="submit", arguments={"summary": "done"})


@pytest.fixture
def ann(client: Redis) -> Steering:
    return Steering(client, "ann")


def carried(client: Redis, run_id: str, number: int = 1, *, seconds: float = 30.0) -> Writer:
    """An attempt at work, at the beginning of a step."""
    worker = freed(client, f"w-{run_id}")
    sent(client)
    return claimed(client, run_id, number, worker=worker, seconds=seconds)


def step(journal: Writer, number: int, call: ToolCall | None = None) -> None:
    call = call or ToolCall(id=f"c{number}", name="bash", arguments={"command": "true"})
    result = ToolResult(call_id=call.id, name=call.name, content="ok")
    journal.append(
        e.Replied(step=number, reply=Reply(calls=(call,), cost_usd=0.5)),
        e.CallStarted(step=number, call=call),
        e.CallFinished(step=number, result=result),
        e.Checkpointed(step=number, commit=f"c{number}", tree=f"t{number}"),
    )


def ended(journal: Writer, outcome: Outcome, *before: e.Body, reason: str = "") -> None:
    journal.append(*before, e.Finished(outcome=outcome, reason=reason), operation="finish")


def view(client: Redis, run_id: str) -> RunView:
    found = index.record(client, run_id).view
    assert found == fold(run_id, read(client, run_id)), "the record is the fold of the journal"
    assert verify(client, run_id).ok
    return found


def context(client: Redis, run_id: str) -> Context:
    return Projection().follow(list(read(client, run_id)))


def kinds(client: Redis, run_id: str) -> list[str]:
    return [event.body.type for event in read(client, run_id)]


def test_a_run_in_line_is_paused_at_once_and_no_worker_gets_it(client: Redis, run_id: str, ann: Steering) -> None:
    worker = at_work(client, f"w-{run_id}")
    assert sent(client) == {f"{run_id}-a1": worker}
    ann.pause(run_id)
    now = view(client, run_id)
    assert (now.state, now.reason, now.doing) == (State.WAITING, "paused", "paused by ann")
    assert claim(client, run_id, 1, lease_seconds=5) == "PARKED", "its entry is still on the queue"
    keeper = Keeper(client, Settings(lease_seconds=1))
    for _ in range(3):
        keeper._repair()
        time.sleep(0.6)
    assert index.pending(client) == []
    assert view(client, run_id).attempt == 1
    ann.resume(run_id)
    assert sent(client) == {}, "its worker hasn't got over the first entry yet"
    freed(client, worker)
    assert sent(client) == {f"{run_id}-a2": worker}
    assert claim(client, run_id, 1, lease_seconds=5) == "STALE"
    assert carried(client, run_id, 2).view.state is State.RUNNING


def test_a_run_under_way_is_parked_by_whoever_carries_it(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.pause(run_id)
    assert view(client, run_id).pausing == "ann"
    assert view(client, run_id).state is State.RUNNING
    step(journal, 1)
    park(journal)
    record = index.record(client, run_id)
    assert (record.view.state, record.view.pausing, record.lease_until) == (State.WAITING, "", 0)
    assert "attempt_lost" not in kinds(client, run_id), "nothing was undone"
    with pytest.raises(HeadMovedError):
        Writer(client, run_id, who="x").append(e.Dispatched(attempt=2), operation="requeue")


def test_a_step_that_is_given_up_for_a_pause_is_told(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.pause(run_id)
    ann.pause(run_id, now=True)
    journal.append(e.Replied(step=1, reply=Reply(calls=(SUBMIT,))))
    park(journal)
    lost = [event.body for event in read(client, run_id) if isinstance(event.body, e.AttemptLost)]
    assert [(body.void_step, body.to_blame) for body in lost] == [(1, False)]
    assert view(client, run_id).state is State.WAITING


def test_a_pause_that_was_only_heard_of_is_told_as_one(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    journal.append(e.Replied(step=1, reply=Reply(calls=(SUBMIT,))))
    ann.pause(run_id, now=True)
    park(journal)
    lost = [event.body for event in read(client, run_id) if isinstance(event.body, e.AttemptLost)]
    assert [(body.void_step, body.reason) for body in lost] == [(1, "paused")]
    assert view(client, run_id).state is State.WAITING


def test_a_pause_is_taken_back_before_it_comes(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.pause(run_id)
    ann.resume(run_id)
    journal.refresh()
    assert not journal.view.pausing
    ann.pause(run_id)
    journal.refresh()
    ann.resume(run_id)  # Just before the attempt parks it: it decided on what it knew.
    park(journal)
    now = view(client, run_id)
    assert (now.state, now.attempt) == (State.QUEUED, 2), "it isn't parked against the last word"


def test_a_pause_asked_for_right_before_a_crash_still_comes(client: Redis, run_id: str, ann: Steering) -> None:
    carried(client, run_id, seconds=0.05)
    ann.pause(run_id)
    time.sleep(0.1)
    Keeper(client, Settings(lease_seconds=1))._repair()
    assert view(client, run_id).state is State.WAITING
    assert kinds(client, run_id)[-2:] == ["attempt_lost", "parked"]


def test_a_pause_that_comes_while_a_dead_attempt_is_handed_over_counts(
    client: Redis, run_id: str, ann: Steering
) -> None:
    carried(client, run_id, seconds=0.05)
    time.sleep(0.1)
    keeper = Writer(client, run_id, who="keeper")
    ann.pause(run_id)
    assert not hand_over(keeper, "it died")
    assert view(client, run_id).state is State.WAITING


def test_a_journal_that_a_keeper_cannot_read_stops_no_other_run(client: Redis, run_id: str, spec: RunSpec) -> None:
    other = new_run_id()
    create(client, other, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    for each in (run_id, other):
        carried(client, each, seconds=0.05)
    newer = {"e": '{"seq":5,"at":"2026-01-01T00:00:00Z","who":"x","body":{"type":"sung"}}', "h": "0"}
    client.xadd(keys.stream(run_id), newer, id="5-0")  # type: ignore[arg-type]  # redis-py's own type is too narrow.
    time.sleep(0.1)
    Keeper(client, Settings(lease_seconds=1))._repair()
    assert view(client, other).attempt == 2
    assert index.tenures(client, [run_id])[0].attempt == 1, "it is as it was"


def test_the_time_of_a_pause_does_not_count(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.pause(run_id)
    journal.refresh()
    park(journal)
    time.sleep(0.3)
    ann.resume(run_id)
    now = carried(client, run_id, 2).view
    assert now.parked_s >= 0.3
    assert now.spent_s(datetime.now(UTC)) < 0.3
    assert now.spent_s(datetime.now(UTC) - timedelta(minutes=5)) == 0.0, "another host's clock may be behind"


def test_every_message_is_told_once_and_in_order(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.steer(run_id, "first")
    ann.steer(run_id, "second")
    known = context(client, run_id)
    assert known.messages == ("first", "second")
    ann.steer(run_id, "third")  # While the attempt is telling the two.
    journal.append(e.Prompted(text="first, second", heard=known.said_at))
    left = context(client, run_id)
    assert (left.messages, view(client, run_id).unheard) == (("third",), True)
    assert left.dialogue == (Turn(text="first, second"),)
    hand_over(journal, "killed")
    assert context(client, run_id).messages == ("third",), "and after a crash"
    carried(client, run_id, 2).append(e.Prompted(text="third", heard=left.said_at))
    assert (context(client, run_id).messages, view(client, run_id).unheard) == ((), False)
    said = [(event.who, event.body.text) for event in read(client, run_id) if isinstance(event.body, e.Steered)]
    assert said == [("ann", "first"), ("ann", "second"), ("ann", "third")]


def test_a_paused_run_is_told_when_it_goes_on_and_one_that_is_over_is_refused(
    client: Redis, run_id: str, ann: Steering
) -> None:
    ann.pause(run_id)
    ann.steer(run_id, "hello")
    ann.resume(run_id)
    assert context(client, run_id).messages == ("hello",)
    ended(carried(client, run_id, 2), Outcome.FAILED)
    with pytest.raises(UsageError, match="is over") as caught:
        ann.steer(run_id, "too late")
    assert "retry" in caught.value.hint
    assert context(client, run_id).messages == ("hello",), "what wasn't told waits for a retry"


@pytest.mark.parametrize("text", ["", "  \n", "x" * (LONGEST_TASK + 1)])
def test_a_message_that_says_nothing_or_never_ends_is_refused(run_id: str, ann: Steering, text: str) -> None:
    with pytest.raises(UsageError, match="the message is"):
        ann.steer(run_id, text)


def test_a_failed_run_goes_on_from_its_last_step_and_is_told_how_it_ended(
    client: Redis, run_id: str, ann: Steering
) -> None:
    journal = carried(client, run_id)
    step(journal, 1, SUBMIT)
    verdict = Verdict(
        command="make check", exit_code=2, timed_out=False, output="2 failed", duration_s=1, tree="t1", base_tests=False
    )
    judged = (e.FinishStarted(command="make check", origin="flag"), e.Judged(verdict=verdict))
    ended(journal, Outcome.FAILED, *judged, reason="the acceptance command fails")
    ann.retry(run_id, More(), message="look at the second test")
    now, then = view(client, run_id), context(client, run_id)
    assert (now.state, now.attempt, now.outcome, now.tree, now.verdicts) == (State.QUEUED, 2, None, "t1", ())
    assert index.newest(client, live=True, limit=5) == [run_id]
    assert then.retried == "failed: the acceptance command fails\n\n$ make check\n2 failed\n[exit code 2]"
    assert then.messages == ("look at the second test",)
    carried(client, run_id, 2).append(e.Prompted(text="told"))
    assert context(client, run_id).retried == ""
    assert context(client, run_id).summary is None, "it isn't submitted any more"


def test_limits_are_extended_from_what_was_used(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    step(journal, 1)
    ended(journal, Outcome.LIMIT)
    ann.retry(run_id, More(steps=10, money_usd=2.0, seconds=60))
    limits = view(client, run_id).limits
    assert (limits.steps, limits.money_usd, limits.seconds) == (11, 2.5, 60)
    assert view(client, run_id).spec.limits.steps == 200, "what was asked for stays as it was"
    ended(carried(client, run_id, 2), Outcome.CANCELLED)
    ann.retry(run_id, More())
    assert view(client, run_id).limits == limits


def test_a_retry_that_would_end_at_once_is_refused(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    for number in range(1, 11):
        step(journal, number)
    ended(journal, Outcome.LIMIT)
    with pytest.raises(UsageError, match="limit of money") as caught:
        ann.retry(run_id, More(steps=5))
    assert "--money" in caught.value.hint
    with pytest.raises(UsageError, match="can't get so much"):
        ann.retry(run_id, More(steps=10_000, money_usd=1))
    assert view(client, run_id).state is State.DONE
    ann.retry(run_id, More(money_usd=1))


def test_only_what_is_over_is_retried_and_what_succeeded_needs_a_reason(
    client: Redis, run_id: str, ann: Steering
) -> None:
    with pytest.raises(UsageError, match="isn't over"):
        ann.retry(run_id, More())
    with pytest.raises(UsageError, match="isn't paused"):
        ann.resume(run_id)
    ann.pause(run_id)
    with pytest.raises(UsageError, match="isn't over") as caught:
        ann.retry(run_id, More())
    assert "resume" in caught.value.hint
    ann.resume(run_id)
    ended(carried(client, run_id, 2), Outcome.SUCCEEDED)
    with pytest.raises(UsageError, match="succeeded"):
        ann.retry(run_id, More())
    for refused in (lambda: ann.pause(run_id), lambda: ann.cancel(run_id)):
        with pytest.raises(UsageError, match="is over"):
            refused()
    with pytest.raises(UsageError, match="isn't paused") as caught:
        ann.resume(run_id)
    assert caught.value.cause == "its outcome is succeeded (unproven)"
    assert caught.value.hint == f'dreamdock retry {run_id} -m "…"', "it works when it's pasted"
    ann.retry(run_id, More(), message="and the docs")
    assert view(client, run_id).state is State.QUEUED


def test_a_paused_run_is_cancelled_at_once(client: Redis, run_id: str, ann: Steering) -> None:
    ann.pause(run_id)
    assert ann.cancel(run_id).outcome is Outcome.CANCELLED
    assert view(client, run_id).parked_at is None
    assert index.newest(client, live=True, limit=5) == []


@pytest.mark.parametrize("ask", ["pause", "resume", "cancel"])
def test_a_run_that_does_not_exist_is_not_found(client: Redis, ann: Steering, ask: str) -> None:
    with pytest.raises(NotFoundError):
        getattr(ann, ask)("0" * 12)
    assert client.keys("*0000*") == []


def test_a_reopened_run_forgets_the_pause_that_came_too_late(client: Redis, run_id: str, ann: Steering) -> None:
    journal = carried(client, run_id)
    ann.pause(run_id)
    ended(journal, Outcome.FAILED)
    ann.retry(run_id, More())
    assert not view(client, run_id).pausing


def test_a_second_rewind_that_comes_while_the_first_is_done_is_not_lost(client: Redis, run_id: str) -> None:
    journal = carried(client, run_id)
    step(journal, 1)
    step(journal, 2)
    ann = Writer(client, run_id, who="ann")
    ann.append(e.RewindRequested(step=1))
    first = context(client, run_id)
    ann.append(e.RewindRequested(step=0))
    rewound: dict[str, Any] = {"why": "rewind", "commit": "c1", "tree": "t1", "depth": 1}
    journal.append(e.Rewound(step=3, to=1, asked=first.rewind_at, **rewound))
    left = context(client, run_id)
    assert left.rewind is not None
    assert left.rewind.step == 0
    journal.append(e.Rewound(step=4, to=0, asked=left.rewind_at, **rewound))
    assert context(client, run_id).rewind is None


def test_what_is_parked_stays_listed_and_has_no_lease(client: Redis, run_id: str, ann: Steering) -> None:
    ann.pause(run_id)
    assert index.newest(client, live=True, limit=5) == [run_id]
    assert client.hget(keys.record(run_id), "lease_until") == b"0"
    assert client.hget(keys.record(run_id), "state") == b"waiting"
