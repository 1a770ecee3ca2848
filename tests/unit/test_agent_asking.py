"""An agent that asks, and one whose steps need an approval: real sandboxes, attempt after attempt over one journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from working import SUBMIT, attempt, base, bash, box, lose, opened, results, script, start, work

from orchestrator import answering
from orchestrator import events as e
from orchestrator.agent import parking
from orchestrator.agent.context import Projection
from orchestrator.agent.loop import Agent, Ending, Kind
from orchestrator.answering import Answering
from orchestrator.approvals import Approvals
from orchestrator.dialogue import Reply, Request, ToolCall, Turn
from orchestrator.journal.writer import Writer, create
from orchestrator.models.port import SILENT, Listener
from orchestrator.runs import State, new_run_id
from orchestrator.stop import ASKED, Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from working import Opened

    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]
LOCKED = Approvals(paths=("*.lock",))


def ask(question: str = "Which one?", default: str = "the first", **more: Any) -> tuple[str, dict[str, Any]]:
    return ("ask", {"question": question, "default": default, **more})


def parks(journal: Writer, opened: Opened, text: str) -> None:
    """Work until the agent has something to ask, and park the run as its attempt does."""
    with opened(journal.view.tree if journal.view.step else None) as box, pytest.raises(Stopped, match=ASKED):
        work(journal, box, text)
    parking.park(journal, journal.view.spec.approvals)
    assert journal.view.state is State.WAITING


def again(client: Redis, journal: Writer) -> Writer:
    journal = Writer(client, journal.view.id, who="x")
    return attempt(client, journal.view.id, journal.view.attempt)


def told(journal: Writer) -> list[str]:
    return [event.body.text for event in journal.events if isinstance(event.body, e.Prompted)][1:]


def test_a_question_waits_at_the_end_of_its_step_and_the_answer_is_told_once(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start()
    text = script([ask(options=["a", "b"]), bash("echo one > one.txt")], [bash("true")], SUBMIT)
    parks(journal, opened, text)
    assert journal.view.step == 1, "the calls behind it ran, and the step is committed"
    assert [result.ok for result in results(journal)] == [True, True]
    Answering(client, "ann").answer(journal.view.id, "2")
    journal = again(client, journal)
    with opened(journal.view.tree) as box:
        assert work(journal, box, text).kind is Kind.SUBMITTED
        assert b"one" in box.run("cat one.txt").output
    assert sum("Which one?" in one and "\nb" in one for one in told(journal)) == 1
    assert len([1 for event in journal.events if isinstance(event.body, e.Asked)]) == 1
    assert "b" in str(Projection().follow(journal.events).memory.model_dump()), "what people say stays in view"


def test_nobody_answers_and_it_goes_on_as_it_said(client: Redis, start: Callable[..., Writer], opened: Opened) -> None:
    journal = start()
    text = script([ask()], SUBMIT)
    parks(journal, opened, text)
    asked = journal.view.question
    assert asked is not None
    answer = e.Answered(id=asked.id, answer=asked.default, by="deadline")
    answering._append(Writer(client, journal.view.id, who="keeper"), asked, answer, "late")
    journal = again(client, journal)
    with opened(journal.view.tree) as box:
        assert work(journal, box, text).kind is Kind.SUBMITTED
    assert ["Go on as you said you would: the first" in one for one in told(journal)] == [True]


def test_one_question_in_a_reply_and_as_many_in_a_run_as_may_be(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start(approvals=Approvals(questions=1))
    text = script([ask("one"), ask("two")], [ask("three", default="the third")], SUBMIT)
    parks(journal, opened, text)
    first, second = results(journal)
    assert (first.ok, second.ok) == (True, False)
    assert "one question in a reply" in second.content
    assert journal.view.question is not None
    assert journal.view.question.text == "one"
    Answering(client, "ann").answer(journal.view.id, "x")
    journal = again(client, journal)
    with opened(journal.view.tree) as box:
        assert work(journal, box, text).kind is Kind.SUBMITTED
    refused = results(journal)[2]
    assert not refused.ok
    assert "1 of 1 questions are asked; decide yourself" in refused.content
    assert "the third" in refused.content


def test_nobody_is_asked_where_the_settings_say_so(start: Callable[..., Writer], box: Sandbox) -> None:
    journal = start(approvals=Approvals(questions=0))
    assert work(journal, box, script([ask()], SUBMIT)).kind is Kind.SUBMITTED
    assert "nobody takes questions here" in results(journal)[0].content


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"question": "x" * 100_000, "default": "d"}, "question: Value error, it has 100000 characters of 4000"),
        ({"question": "q", "default": "d", "options": ["o"] * 1000}, "options: "),
        ({"question": "q", "default": "d", "options": ["o" * 5000]}, "options.0: "),
        ({"question": "q"}, "default: Field required"),
        ({"question": "", "default": ""}, "question: "),
        ({"question": "q", "default": "d", "deadline": 0}, "deadline: Extra"),
    ],
)
def test_what_is_too_much_or_too_little_is_told(
    start: Callable[..., Writer], box: Sandbox, arguments: dict[str, Any], says: str
) -> None:
    journal = start()
    assert work(journal, box, script([("ask", arguments)], SUBMIT)).kind is Kind.SUBMITTED
    content = results(journal)[0].content
    assert f"wrong arguments for ask: {says}" in content
    assert len(content) < 2000


def test_a_worker_killed_before_the_run_was_parked_asks_once_and_nothing_is_said_before(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start()
    text = script([ask()], SUBMIT)
    with opened() as box, pytest.raises(Stopped, match=ASKED):
        work(journal, box, text)
    journal = lose(client, journal, 1)
    parks(journal, opened, text)
    assert told(journal) == []
    assert journal.view.question is not None


def test_what_came_without_an_approval_is_asked_for_before_it_is_proven(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start(approvals=LOCKED)
    text = script([bash("true")], [bash("echo x > poetry.lock"), *SUBMIT])
    parks(journal, opened, text)
    assert journal.view.question is not None
    assert journal.view.question.text == "it changes poetry.lock (*.lock)"
    Answering(client, "ann").approve(journal.view.id)
    journal = again(client, journal)
    with opened(journal.view.tree) as box:
        assert work(journal, box, text).kind is Kind.SUBMITTED
        assert box.run("cat poetry.lock").exit_code == 0
    assert journal.view.step == 2, "the model isn't asked again"


def test_what_is_denied_is_gone_and_the_model_goes_on_without_it(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start(approvals=LOCKED)
    text = script([bash("echo kept > kept.txt")], [bash("echo x > poetry.lock"), *SUBMIT])
    parks(journal, opened, text)
    Answering(client, "ann").deny(journal.view.id, "pin nothing")
    journal = again(client, journal)
    with opened(journal.view.tree) as box:
        assert work(journal, box, script([], SUBMIT, SUBMIT)).kind is Kind.SUBMITTED
        assert b"kept" in box.run("cat kept.txt").output
        assert box.run("cat poetry.lock").exit_code == 1
    last = [event.body.message for event in journal.events if isinstance(event.body, e.Rewound)]
    assert len(last) == 1
    assert "needed a person's approval and didn't get it" in last[0]
    assert "poetry.lock" in last[0]
    assert "pin nothing" in last[0]


def test_a_stricter_worker_counts_for_the_step_that_is_there(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start()
    with opened() as box:
        assert work(journal, box, script([bash("echo x > a.lock"), *SUBMIT])).kind is Kind.SUBMITTED
    found = parking.due(Projection().follow(journal.events), LOCKED, journal.now)
    assert found is not None
    assert found.kind == "approval"
    del client


class Dear:
    """A model each of whose replies costs the same."""

    name = "dear"
    prompt_limit = reply_limit = 0

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        del prompt_tokens, reply_tokens
        return 0.6

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
        del request, listener, how
        stop.check()
        call = ToolCall(id="c", name="bash", arguments={"command": "date >> dates.txt"})
        return Reply(model=self.name, calls=(call,), cost_usd=0.6)

    def close(self) -> None:
        """Nothing is open."""


def test_a_run_that_may_not_spend_more_ends_with_its_work(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start(approvals=Approvals(spending_usd=1.0))

    def spends() -> Ending:
        with opened(journal.view.tree if journal.view.step else None) as box:
            return Agent(Dear(), box, journal, journal.view.spec, Stop()).run()

    for steps, word in ((2, "approve"), (4, "deny")):
        with pytest.raises(Stopped, match=ASKED):
            spends()
        parking.park(journal, journal.view.spec.approvals)
        assert journal.view.step == steps, "1.20 reach 1.00, and 2.40 the twice 1.20 that were approved"
        ann = Answering(client, "ann")
        ann.approve(journal.view.id) if word == "approve" else ann.deny(journal.view.id, "enough")
        journal = again(client, journal)
    ending = spends()
    assert (ending.kind, ending.reason) == (Kind.DENIED, "spending more was denied by ann: enough")
    assert journal.view.step == 4, "its work stays"


def test_a_fork_from_an_open_question_asks_it_itself(
    client: Redis, start: Callable[..., Writer], opened: Opened
) -> None:
    journal = start()
    text = script([ask("Which one?")], SUBMIT)
    parks(journal, opened, text)
    context, view = Projection().follow(journal.events), journal.view
    told_so_far = {"system": context.system, "dialogue": context.dialogue, "steps": context.sight.steps}
    forked = e.Forked(run=view.id, step=1, head="h", commit=view.checkpoint, tree=view.tree, **told_so_far)
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=view.spec), forked, e.Dispatched(attempt=1)])
    fork = attempt(client, run_id, 1)
    parks(fork, opened, text)
    assert fork.view.question is not None
    assert (fork.view.question.text, fork.view.question.step) == ("Which one?", 1)
    said = Writer(client, run_id, who="x")
    assert isinstance(Projection().follow(said.events).dialogue[-1], Turn)
