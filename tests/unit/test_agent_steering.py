"""What people say and ask for while an agent works, with a real sandbox and a real journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from working import SUBMIT, attempt, base, bash, box, lose, opened, script, start, work

from orchestrator import events as e
from orchestrator.agent.ending import Kind
from orchestrator.agent.loop import Agent
from orchestrator.dialogue import Reply, Request, ToolCall, Turn
from orchestrator.journal.handover import hand_over
from orchestrator.journal.writer import Writer
from orchestrator.models.port import SILENT, Listener
from orchestrator.runs import Outcome
from orchestrator.settings import RunLimits
from orchestrator.steering import More, Steering
from orchestrator.stop import PREEMPTED, Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from working import Opened

    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]


class Watched:
    """A model that keeps what it is asked, does something meanwhile, and calls what the test says; then it submits."""

    name = "watched"
    prompt_limit = reply_limit = 0

    def __init__(self, *calls: str, meanwhile: Callable[[int], Any] = lambda _: None) -> None:
        self.asked: list[Request] = []
        self._calls = calls
        self._meanwhile = meanwhile

    def most_usd(self, prompt_tokens: int, reply_tokens: int) -> float:
        del prompt_tokens, reply_tokens
        return 0.0

    def ask(self, request: Request, stop: Stop, listener: Listener = SILENT, **how: Any) -> Reply:
        stop.check()
        del listener, how
        self.asked.append(request)
        number = len(self.asked)
        self._meanwhile(number)
        if number <= len(self._calls):
            arguments = {"command": self._calls[number - 1]}
            return Reply(calls=(ToolCall(id=f"c{number}", name="bash", arguments=arguments),))
        return Reply(calls=(ToolCall(id=f"c{number}", name="submit", arguments={"summary": "done"}),))

    def said(self) -> list[str]:
        """What each request ended with."""
        lasts = [request.dialogue[-1] for request in self.asked]
        return [last.text for last in lasts if isinstance(last, Turn)]

    def close(self) -> None:
        """Nothing is open."""


def test_a_message_is_seen_at_the_next_step_and_the_requests_still_extend_each_other(
    client: Redis, start: Any, box: Sandbox
) -> None:
    journal = start()
    ann = Steering(client, "ann")
    said = {1: ("keep it short", "no comments"), 2: ("and a test",)}
    model = Watched("true", "true", meanwhile=lambda n: [ann.steer(journal.view.id, text) for text in said.get(n, ())])
    assert Agent(model, box, journal, journal.view.spec, Stop()).run().kind is Kind.SUBMITTED
    first, second, third = model.said()
    assert not any(text in first for texts in said.values() for text in texts)
    assert second.index("keep it short") < second.index("no comments")
    assert "keep it short" not in third
    assert third.count("and a test") == 1
    for before, after in zip(model.asked, model.asked[1:], strict=False):
        assert after.dialogue[: len(before.dialogue)] == before.dialogue


def test_a_message_to_an_agent_that_just_submitted_is_answered_first(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    ann = Steering(client, "ann")
    model = Watched(meanwhile=lambda n: ann.steer(journal.view.id, "one more thing") if n == 1 else None)
    assert Agent(model, box, journal, journal.view.spec, Stop()).run().kind is Kind.SUBMITTED
    assert len(model.asked) == 2
    assert "one more thing" in model.said()[1]


def test_a_pause_comes_at_the_end_of_the_step_and_the_next_attempt_goes_on(
    client: Redis, start: Any, opened: Opened
) -> None:
    journal = start()
    ann = Steering(client, "ann")
    text = script([bash("echo one > one.txt; cd /tmp")], [bash("pwd; ls /workspace/one.txt")], SUBMIT)
    model = Watched("echo one > one.txt", meanwhile=lambda _: ann.pause(journal.view.id))
    with opened() as box, pytest.raises(Stopped, match="paused"):
        Agent(model, box, journal, journal.view.spec, Stop()).run()
    assert journal.view.step == 1, "the step was finished first"
    journal = lose(client, journal, 1, to_blame=False)
    with opened(journal.view.tree) as box, pytest.raises(Stopped, match="paused"):
        work(journal, box, text)
    assert journal.view.step == 1, "nothing is begun while a pause is asked for"
    ann.resume(journal.view.id)
    with opened(journal.view.tree) as box:
        assert work(journal, box, text).kind is Kind.SUBMITTED
        assert b"one" in box.run("cat one.txt").output


def test_a_run_that_is_pre_empted_gives_its_worker_up_at_the_end_of_the_step(
    client: Redis, start: Any, opened: Opened
) -> None:
    journal = start()
    asked = e.PreemptRequested(why="priority", text="pre-empted by a run of high priority")
    queue = Writer(client, journal.view.id, who="queue")
    model = Watched("echo one > one.txt", meanwhile=lambda _: queue.append(asked))
    with opened() as box, pytest.raises(Stopped, match=PREEMPTED):
        Agent(model, box, journal, journal.view.spec, Stop()).run()
    assert journal.view.step == 1, "the step was finished first"
    assert hand_over(journal, journal.view.preempting, to_blame=False)
    assert (journal.view.reason, journal.view.preempting) == (asked.text, "")
    journal = attempt(client, journal.view.id, 2)
    with opened(journal.view.tree) as box:
        assert work(journal, box, script(SUBMIT)).kind is Kind.SUBMITTED
        assert b"one" in box.run("cat one.txt").output


def test_a_run_that_is_done_is_proven_whoever_wants_its_worker(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    queue = Writer(client, journal.view.id, who="queue")
    model = Watched(meanwhile=lambda _: queue.append(e.PreemptRequested(why="drain")))
    assert Agent(model, box, journal, journal.view.spec, Stop()).run().kind is Kind.SUBMITTED


def test_a_retried_run_hears_how_it_had_ended_and_goes_on(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start(limits=RunLimits(steps=2))
    assert Agent(Watched("true", "true"), box, journal, journal.view.spec, Stop()).run().kind is Kind.STEPS
    reason = "the limit of 2 steps is reached"
    journal.append(e.Finished(outcome=Outcome.LIMIT, reason=reason), operation="finish")
    Steering(client, "ann").retry(journal.view.id, More(steps=3), message="be quick")
    journal = attempt(client, journal.view.id, 2)
    model = Watched("true")
    assert Agent(model, box, journal, journal.view.spec, Stop()).run().kind is Kind.SUBMITTED
    assert reason in model.said()[0]
    assert "be quick" in model.said()[0]
    assert journal.view.step == 4


def test_one_that_gave_up_is_reminded_anew_after_a_person_spoke(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    assert work(journal, box, '{"text": "I think."}\n' * 9).kind is Kind.GAVE_UP
    journal.append(e.Finished(outcome=Outcome.FAILED, reason="gave up"), operation="finish")
    Steering(client, "ann").retry(journal.view.id, More())
    journal = attempt(client, journal.view.id, 2)
    assert work(journal, box, '{"text": "I think."}\n' * 9).kind is Kind.GAVE_UP
    assert journal.view.step == 2 * 3
