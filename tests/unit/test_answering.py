"""Answer, approve, deny and the deadline in the journal: what each leads to, who is first, what people do meanwhile."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from seats import at_work, claimed, freed, sent

from orchestrator import answering, api
from orchestrator import events as e
from orchestrator.agent import parking
from orchestrator.agent.context import Context, Projection
from orchestrator.answering import Answering
from orchestrator.approvals import Approvals
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.errors import HeadMovedError, UsageError
from orchestrator.journal import archive, deadlines, index, keys
from orchestrator.journal.fold import fold
from orchestrator.journal.lease import claim
from orchestrator.journal.stream import read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer
from orchestrator.keeper import Keeper
from orchestrator.runs import LONGEST_TASK, Outcome, RunView, State
from orchestrator.settings import Settings
from orchestrator.steering import Steering
from sandbox.spec import FileChange

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
LONG = Approvals(wait_seconds=3600, deletions=1, spending_usd=1.0)
OPTIONS = ["the blue one", "the red one"]


def at_step(client: Redis, run_id: str) -> Writer:
    """An attempt at the beginning of a step."""
    worker = freed(client, f"w-{run_id}")
    sent(client)
    return claimed(client, run_id, index.record(client, run_id).view.attempt, worker=worker)


def step(journal: Writer, *calls: ToolCall, gone: int = 0, usd: float = 0.0, refused: bool = False) -> int:
    """Commit a step with these calls, which deletes so many files."""
    number = journal.view.step + 1
    called = calls or (ToolCall(id=f"c{number}", name="bash", arguments={"command": "true"}),)
    journal.append(e.Replied(step=number, reply=Reply(calls=called, cost_usd=usd)))
    for call in called:
        result = ToolResult(call_id=call.id, name=call.name, content="ok", ok=not refused)
        journal.append(e.CallStarted(step=number, call=call), e.CallFinished(step=number, result=result))
    files = tuple(FileChange(path=f"f{n}", status="D", added=0, removed=0) for n in range(gone))
    journal.append(e.Checkpointed(step=number, commit=f"c{number}", tree=f"t{number}", files=files))
    return number


def ask(**arguments: Any) -> ToolCall:
    return ToolCall(id="q", name="ask", arguments={"question": "Which?", "default": "none of them", **arguments})


def asked(client: Redis, run_id: str, rules: Approvals = LONG, **arguments: Any) -> Writer:
    """A run that waits with a question."""
    journal = at_step(client, run_id)
    step(journal)
    step(journal, ask(**arguments))
    parking.park(journal, rules)
    return journal


def denied(client: Redis, run_id: str, rules: Approvals = LONG, **more: Any) -> Writer:
    """A run that waits for an approval."""
    journal = at_step(client, run_id)
    step(journal)
    step(journal, **({"gone": 3} | more))
    parking.park(journal, rules)
    return journal


def view(client: Redis, run_id: str) -> RunView:
    found = index.record(client, run_id).view
    assert found == fold(run_id, read(client, run_id)), "the record is the fold of the journal"
    assert verify(client, run_id).ok
    return found


def context(client: Redis, run_id: str) -> Context:
    return Projection().follow(list(read(client, run_id)))


def bodies(client: Redis, run_id: str, kind: type[Any]) -> list[Any]:
    return [event.body for event in read(client, run_id) if isinstance(event.body, kind)]


@pytest.fixture
def ann(client: Redis) -> Answering:
    return Answering(client, "ann")


def test_a_question_parks_the_run_frees_its_worker_and_has_a_deadline(client: Redis, run_id: str) -> None:
    asked(client, run_id, options=OPTIONS)
    now = view(client, run_id)
    assert (now.state, now.reason) == (State.WAITING, "question")
    question = now.question
    assert question is not None
    assert (question.id, question.step, question.text, list(question.options)) == ("q1", 2, "Which?", OPTIONS)
    assert question.default == "none of them"
    left = question.deadline.timestamp() * 1000 - index.now_ms(client)
    assert 3_590_000 < left <= 3_600_000
    assert client.zscore(keys.DEADLINES, run_id) == int(question.deadline.timestamp() * 1000)
    assert claim(client, run_id, 1, lease_seconds=5) == "PARKED"
    assert deadlines.due(client) == []


@pytest.mark.parametrize(
    ("said", "heard"), [("2", "the red one"), ("a green one", "a green one"), (" 1 ", "the blue one")]
)
def test_an_answer_puts_it_in_line_and_the_model_is_told(
    client: Redis, run_id: str, ann: Answering, said: str, heard: str
) -> None:
    asked(client, run_id, options=OPTIONS)
    assert ann.answer(run_id, said).state is State.QUEUED
    now = view(client, run_id)
    assert (now.question, now.reason) == (None, "answered by ann")
    assert client.zscore(keys.DEADLINES, run_id) is None
    told = context(client, run_id)
    assert len(told.messages) == 1
    assert "Which?" in told.messages[0]
    assert heard in told.messages[0]
    assert parking.due(told, LONG, now.created_at) is None
    assert at_step(client, run_id).view.state is State.RUNNING


@pytest.mark.parametrize("text", ["", "  ", "3", "0", "x" * (LONGEST_TASK + 1), "9" * 5000])
def test_an_answer_that_is_none_is_refused_with_what_to_type(
    client: Redis, run_id: str, ann: Answering, text: str
) -> None:
    asked(client, run_id, options=OPTIONS)
    with pytest.raises(UsageError) as caught:
        ann.answer(run_id, text)
    assert f"dreamdock answer {run_id} 1" in caught.value.hint or "too long" in caught.value.message
    assert view(client, run_id).question is not None


def test_numbers_answer_a_question_without_options(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    ann.answer(run_id, "42")
    assert bodies(client, run_id, e.Answered)[0].answer == "42"


def test_the_wrong_word_is_refused(client: Redis, run_id: str, ann: Answering) -> None:
    with pytest.raises(UsageError, match="waits for nobody"):
        ann.approve(run_id)
    asked(client, run_id)
    for word in (ann.approve, ann.deny):
        with pytest.raises(UsageError, match="waits for an answer") as caught:
            word(run_id)
        assert "dreamdock answer" in caught.value.hint
    ann.answer(run_id, "x")
    with pytest.raises(UsageError, match="waits for nobody") as caught:
        ann.answer(run_id, "y")
    assert "q1 had its answer from ann: x" in caught.value.cause


def test_an_approval_is_no_question_and_has_an_id(client: Redis, run_id: str, ann: Answering) -> None:
    denied(client, run_id)
    with pytest.raises(UsageError, match="waits for an approval") as caught:
        ann.answer(run_id, "yes")
    assert f"dreamdock approve {run_id} a1" in caught.value.hint
    with pytest.raises(UsageError, match="a7 isn't open"):
        ann.approve(run_id, "a7")
    assert ann.approve(run_id, "a1").state is State.QUEUED


def test_of_two_answers_one_counts(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    late = Writer(client, run_id, who="bob")
    ann.answer(run_id, "first")
    with pytest.raises(UsageError) as caught:
        answering._settled(late, lambda one: e.Answered(id=one.id, answer="second", by="person"), "bob")
    assert "from ann: first" in caught.value.cause
    assert [body.answer for body in bodies(client, run_id, e.Answered)] == ["first"]


def test_an_answer_is_not_one_to_the_next_question(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    late = Writer(client, run_id, who="bob")
    ann.answer(run_id, "first")
    asked(client, run_id, question="And then?")
    with pytest.raises(UsageError, match="nobody"):
        answering._settled(late, lambda one: e.Answered(id=one.id, answer="second", by="person"), "bob")
    assert view(client, run_id).question is not None


def test_what_is_approved_is_not_asked_again(client: Redis, run_id: str, ann: Answering) -> None:
    denied(client, run_id)
    assert view(client, run_id).reason == "approval"
    ann.approve(run_id)
    journal = at_step(client, run_id)
    assert parking.due(Projection().follow(journal.events), LONG, journal.now) is None
    step(journal, gone=2)
    assert parking.due(Projection().follow(journal.events), LONG, journal.now) is not None


def test_what_is_denied_is_undone_and_the_model_told_why(client: Redis, run_id: str, ann: Answering) -> None:
    denied(client, run_id)
    ann.deny(run_id, "keep them")
    request = bodies(client, run_id, e.RewindRequested)[0]
    assert (request.step, request.why) == (1, "denied")
    assert "it deletes 3 files" in request.message
    assert "keep them" in request.message
    assert view(client, run_id).rewinding == "denied: back to step 1"


def test_spending_is_approved_up_to_twice_as_much_and_denied_it_ends(
    client: Redis, run_id: str, ann: Answering
) -> None:
    denied(client, run_id, gone=0, usd=1.5)
    question = view(client, run_id).question
    assert question is not None
    assert (question.rules, question.allows_usd) == (("spending",), 3.0)
    ann.approve(run_id)
    journal = at_step(client, run_id)
    step(journal, usd=1.0)
    assert parking.due(Projection().follow(journal.events), LONG, journal.now) is None
    step(journal, usd=0.5)
    parking.park(journal, LONG)
    ann.deny(run_id, "enough")
    assert not bodies(client, run_id, e.RewindRequested), "its work stays"
    assert context(client, run_id).asking.ended == "spending more was denied by ann: enough"


def test_one_approval_names_all_reasons_and_a_denial_undoes_the_step_too(
    client: Redis, run_id: str, ann: Answering
) -> None:
    denied(client, run_id, usd=2.0)
    question = view(client, run_id).question
    assert question is not None
    assert question.rules == ("deletions", "spending")
    ann.deny(run_id)
    assert bodies(client, run_id, e.RewindRequested)[0].step == 1
    assert context(client, run_id).asking.ended


def test_at_the_deadline_the_default_is_the_answer_once(client: Redis, run_id: str) -> None:
    asked(client, run_id, Approvals(wait_seconds=1))
    keepers = [Keeper(client, Settings(lease_seconds=1)) for _ in range(2)]
    for keeper in keepers:
        keeper._expire()
    assert view(client, run_id).question is not None, "not before"
    time.sleep(1.05)
    for keeper in keepers:
        keeper._expire()
    assert [(body.answer, body.by) for body in bodies(client, run_id, e.Answered)] == [("none of them", "deadline")]
    now = view(client, run_id)
    assert (now.state, now.reason) == (State.QUEUED, "nobody answered in time")
    told = context(client, run_id)
    assert not told.messages, "no person said it"
    assert "none of them" in told.asking.unanswered
    assert deadlines.due(client) == []


def test_an_approval_is_denied_at_its_deadline(client: Redis, run_id: str) -> None:
    denied(client, run_id, Approvals(wait_seconds=1, deletions=1))
    time.sleep(1.05)
    assert answering.expire(client, run_id)
    assert not answering.expire(client, run_id)
    assert "Nobody approved it" in bodies(client, run_id, e.RewindRequested)[0].message


def test_whoever_answers_at_the_very_moment_is_first_or_told(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id, Approvals(wait_seconds=1))
    time.sleep(1.05)
    ann.answer(run_id, "just in time")
    Keeper(client, Settings(lease_seconds=1))._expire()
    assert [body.by for body in bodies(client, run_id, e.Answered)] == ["person"], (
        "late counts as long as nobody was first"
    )


def test_two_keepers_on_what_they_knew_cannot_do_it_twice(client: Redis, run_id: str) -> None:
    asked(client, run_id, Approvals(wait_seconds=1))
    time.sleep(1.05)
    slow = Writer(client, run_id, who="keeper")
    assert slow.view.question is not None
    assert answering.expire(client, run_id)
    answer = e.Answered(id="q1", answer="x", by="deadline")
    with pytest.raises(HeadMovedError):
        answering._append(slow, slow.view.question, answer, "late")


def test_a_deadline_that_is_missing_from_the_list_is_put_back_and_a_stale_one_goes(
    client: Redis, run_id: str, ann: Answering
) -> None:
    asked(client, run_id, Approvals(wait_seconds=1))
    client.delete(keys.DEADLINES)
    time.sleep(1.05)
    keeper = Keeper(client, Settings(lease_seconds=1))
    keeper._repair()
    keeper._expire()
    assert bodies(client, run_id, e.Answered)
    client.zadd(keys.DEADLINES, {run_id: 5})
    keeper._expire()
    assert client.zcard(keys.DEADLINES) == 0
    del ann


@pytest.mark.parametrize("garbage", ["zset", "string", "early"])
def test_what_somebody_writes_into_the_list_holds_up_nobody(client: Redis, run_id: str, garbage: str) -> None:
    if garbage == "string":
        client.set(keys.DEADLINES, "mine")
    asked(client, run_id, Approvals(wait_seconds=1))
    if garbage == "zset":
        client.zadd(keys.DEADLINES, {b"\xff\xfe": 0, "../../etc": 0, "0" * 12: 0})
    if garbage == "early":
        client.zadd(keys.DEADLINES, {run_id: 1})
    keeper = Keeper(client, Settings(lease_seconds=1))
    keeper._repair()
    keeper._expire()
    assert view(client, run_id).question is not None, "the record's own deadline counts"
    time.sleep(1.05)
    keeper._expire()
    assert bodies(client, run_id, e.Answered)
    assert client.zcard(keys.DEADLINES) == 0


def test_a_pause_comes_when_the_answer_is_there_and_is_taken_back_by_resume(
    client: Redis, run_id: str, ann: Answering
) -> None:
    asked(client, run_id)
    steering = Steering(client, "bob")
    waiting = steering.pause(run_id)
    assert (waiting.state, waiting.reason, waiting.pausing) == (State.WAITING, "question", "bob")
    began = waiting.parked_at
    ann.answer(run_id, "x")
    now = view(client, run_id)
    assert (now.state, now.reason, now.question, now.pausing) == (State.WAITING, "paused", None, "")
    assert now.parked_at == began, "its time stands still all along"
    assert client.zscore(keys.DEADLINES, run_id) is None
    steering.resume(run_id)
    assert "x" in context(client, run_id).messages[0]
    asked(client, run_id)
    steering.pause(run_id)
    assert not steering.resume(run_id).pausing
    assert view(client, run_id).question is not None
    assert ann.answer(run_id, "y").state is State.QUEUED


def test_a_run_that_waits_for_a_person_is_not_simply_resumed_or_retried(client: Redis, run_id: str) -> None:
    asked(client, run_id)
    with pytest.raises(UsageError, match="waits for an answer") as caught:
        Steering(client, "bob").resume(run_id)
    assert "dreamdock answer" in caught.value.hint
    assert view(client, run_id).question is not None


def test_a_message_is_heard_with_the_answer(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    Steering(client, "bob").steer(run_id, "by the way")
    assert view(client, run_id).question is not None
    ann.answer(run_id, "x")
    assert [("by the way" in text) for text in context(client, run_id).messages] == [True, False]


def test_a_cancel_ends_it_at_once(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    now = Steering(client, "bob").cancel(run_id)
    assert (now.outcome, now.question) == (Outcome.CANCELLED, None)
    assert client.zscore(keys.DEADLINES, run_id) is None
    assert client.hget(keys.record(run_id), "deadline") is None
    with pytest.raises(UsageError, match="waits for nobody") as caught:
        ann.answer(run_id, "x")
    assert "dreamdock show" in caught.value.hint
    view(client, run_id)
    client.zadd(keys.DEADLINES, {run_id: 5})
    assert archive.forget(client, run_id)
    assert client.zcard(keys.DEADLINES) == 0


def test_a_rewind_drops_the_question_and_the_run_goes_on_from_there(client: Redis, run_id: str) -> None:
    journal = asked(client, run_id)
    request = e.RewindRequested(step=1, message="differently")
    writer = Writer(client, run_id, who="bob")
    answering.dropped(writer, request, "rewind to step 1")
    now = view(client, run_id)
    assert (now.state, now.question, now.rewinding) == (State.QUEUED, None, "rewind to step 1")
    assert client.zscore(keys.DEADLINES, run_id) is None
    assert parking.due(context(client, run_id), LONG, journal.now) is None


def test_a_step_that_was_killed_before_it_was_parked_is_asked_about_once(client: Redis, run_id: str) -> None:
    journal = at_step(client, run_id)
    step(journal, ask())
    lost = e.AttemptLost(attempt=1, reason="killed")
    journal.append(lost, e.Dispatched(attempt=2, reason="killed"), operation="requeue")
    journal = at_step(client, run_id)
    parking.park(journal, LONG)
    assert len(bodies(client, run_id, e.Asked)) == 1
    assert view(client, run_id).reason == "question"


def test_where_nothing_is_due_any_more_the_run_is_handed_on(client: Redis, run_id: str) -> None:
    journal = at_step(client, run_id)
    step(journal, ask())
    Writer(client, run_id, who="bob").append(e.RewindRequested(step=0))
    parking.park(journal, LONG)
    assert view(client, run_id).state is State.QUEUED
    assert not bodies(client, run_id, e.Asked)


def test_a_question_that_was_refused_is_not_asked(client: Redis, run_id: str) -> None:
    journal = at_step(client, run_id)
    step(journal, ask(), refused=True)
    assert parking.due(Projection().follow(journal.events), LONG, journal.now) is None


def test_the_time_for_which_it_waits_does_not_count(client: Redis, run_id: str, ann: Answering) -> None:
    asked(client, run_id)
    before = view(client, run_id)
    time.sleep(0.3)
    ann.answer(run_id, "x")
    after = view(client, run_id)
    assert after.parked_s >= 0.3
    assert before.parked_at is not None
    assert after.spent_s(before.parked_at + timedelta(seconds=after.parked_s)) == pytest.approx(
        before.spent_s(before.parked_at), abs=0.1
    )


def test_three_approvals_that_nobody_gave_end_the_run(client: Redis, run_id: str, ann: Answering) -> None:
    del ann
    for number in range(1, 4):
        journal = at_step(client, run_id)
        at = step(journal, gone=3)
        parking.park(journal, Approvals(wait_seconds=1, deletions=1))
        asked_at = view(client, run_id).question
        assert asked_at is not None
        answer = e.Answered(id=asked_at.id, answer="denied", by="deadline")
        answering._append(Writer(client, run_id, who="keeper"), asked_at, answer, "late")
        journal = at_step(client, run_id)
        back = {"commit": "c", "tree": "t", "depth": 0}
        journal.append(e.Rewound(step=at + 1, to=0, why="denied", asked=journal.view.rewind_at, **back))
        assert bool(context(client, run_id).asking.ended) == (number == 3)
        if number < 3:
            lost = e.AttemptLost(attempt=journal.view.attempt, reason="x", to_blame=False)
            journal.append(lost, e.Dispatched(attempt=journal.view.attempt + 1, reason="x"), operation="requeue")
    Steering(client, "bob").steer(run_id, "go on")
    assert not context(client, run_id).asking.ended, "somebody is there"


def test_a_member_answers(member: api.Door, admin: Redis, queued: str) -> None:
    journal = claimed(admin, queued)
    step(journal, ask())
    parking.park(journal, LONG)
    assert member.answer(queued, "x").state is State.QUEUED
    assert [event.who for event in member.events(queued) if event.body.type == "answered"] == ["member"]
    assert at_work(admin)
