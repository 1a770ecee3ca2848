"""The guards at work: a real sandbox, a real journal, and a script that goes in circles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from working import SUBMIT, attempt, base, bash, box, lose, opened, script, start, work

from orchestrator import events as e
from orchestrator.agent.context import Projection
from orchestrator.agent.ending import Kind
from orchestrator.runs import Outcome
from orchestrator.steering import More, Steering

if TYPE_CHECKING:
    from redis import Redis

    from orchestrator.journal.writer import Writer
    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]

LOOK = [bash("cat calc.py")]


def guarded(journal: Writer) -> list[tuple[int, str, str]]:
    return [(one.step, one.kind, one.level) for event in journal.events if isinstance(one := event.body, e.Guarded)]


def told(journal: Writer) -> list[str]:
    return [event.body.text for event in journal.events[5:] if isinstance(event.body, e.Prompted)]


def test_a_loop_is_told_to_the_model_twice_and_then_ends_the_work(start: Any, box: Sandbox) -> None:
    journal = start()
    ending = work(journal, box, script(*[LOOK] * 20, SUBMIT))
    assert (ending.kind, ending.reason) == (Kind.LOOPED, "the same call of bash gave the same result 7 times")
    assert guarded(journal) == [(3, "calls", "remind"), (5, "calls", "replan"), (7, "calls", "stop")]
    remind, replan = told(journal)
    assert "in circles since step 1: the same call of bash gave the same result 3 times" in remind
    assert "make a new plan" in replan
    assert journal.view.step == 7


def test_a_model_that_heeds_the_reminder_goes_on(start: Any, box: Sandbox) -> None:
    journal = start()
    other = [bash("ls")], [("edit", {"path": "calc.py", "old": " + 1\n", "new": "\n"})]
    ending = work(journal, box, script(*[LOOK] * 4, *other, SUBMIT))
    assert ending.kind is Kind.SUBMITTED
    assert guarded(journal) == [(3, "calls", "remind")]


def test_waiting_for_something_goes_on_for_as_long_as_it_takes(start: Any, box: Sandbox) -> None:
    journal = start()
    assert work(journal, box, script(*[[bash("sleep 0.01; cat empty")]] * 12, SUBMIT)).kind is Kind.SUBMITTED
    assert guarded(journal) == []


def test_who_submits_in_a_loop_has_submitted(start: Any, box: Sandbox) -> None:
    journal = start()
    text = json.dumps({"text": "again, " * 200, "calls": [{"name": "submit", "arguments": {"summary": "s"}}]})
    assert work(journal, box, text).kind is Kind.SUBMITTED
    assert guarded(journal) == []


def test_a_later_attempt_judges_alike(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    assert work(journal, box, script(*[LOOK] * 20)).kind is Kind.LOOPED
    events = [event.body for event in journal.events]
    stop = next(place for place, body in enumerate(events) if isinstance(body, e.Guarded) and body.level == "stop")
    for kept in (stop, stop + 1):  # It was lost before the judgement, or behind it.
        again = start()
        again.append(*events[4:kept])
        again = lose(client, again, 1)
        assert work(again, box, script(*[LOOK] * 20)).kind is Kind.LOOPED
        assert guarded(again) == guarded(journal)
        assert again.view.step == 7


def test_a_run_that_is_taken_up_again_has_its_loops_forgiven(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    assert work(journal, box, script(*[LOOK] * 20)).kind is Kind.LOOPED
    journal.append(e.Finished(outcome=Outcome.LIMIT, reason="in circles"), operation="finish")
    Steering(client, "ann").retry(journal.view.id, More())
    journal = attempt(client, journal.view.id, 2)
    assert work(journal, box, script(*[LOOK] * 8, SUBMIT)).kind is Kind.SUBMITTED
    assert journal.view.step == 9


def test_what_a_person_says_comes_before_the_end_of_a_loop(client: Redis, start: Any, box: Sandbox) -> None:
    journal = start()
    assert work(journal, box, script(*[LOOK] * 20)).kind is Kind.LOOPED
    Steering(client, "ann").steer(journal.view.id, "Mend it.")
    journal.refresh()
    assert work(journal, box, script(*[LOOK] * 9, SUBMIT)).kind is Kind.SUBMITTED


BUILD = """#!/bin/sh
number=$(cat count); echo $((number + 1)) > count
for name in $(printf 'a\\nb\\nc\\n' | sort -R); do
  echo "src/$name.c:$((number * 3)):5: error: unknown type name '${name}_t'"
  echo "   $number | failed_$number($RANDOM, assert)"
done
exit 2
"""


def test_errors_that_move_and_change_places_are_a_loop_for_a_later_attempt_too(start: Any, box: Sandbox) -> None:
    journal = start()
    box.write("make", BUILD.encode())
    box.write("count", b"1\n")
    edits = [("edit", {"path": "calc.py", "old": "\n", "new": f" # {n}\n", "replace_all": True}) for n in range(9)]
    work(journal, box, script(*([edit, bash("sh make")] for edit in edits), SUBMIT))
    assert guarded(journal) == [(5, "failures", "remind"), (6, "failures", "replan"), (7, "failures", "stop")]
    again = Projection().follow(journal.events)
    assert [act.wrong for one in again.done for act in one.acts if act.failed] == [
        tuple(f"src/{name}.c\n\nunknown type name '{name}_t'\nunknown type name '{name}_t'" for name in "abc")
    ] * 7
