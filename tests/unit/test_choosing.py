"""Which candidate is taken, and what test runners say at their end."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from orchestrator import events as e
from orchestrator.agent.candidates import kept
from orchestrator.agent.choosing import LOST, by_agreement, by_results, hard, same_as
from orchestrator.agent.context import Context
from orchestrator.agent.tally import Tally, tally
from orchestrator.agent.together import failure, gather
from orchestrator.dialogue import Reply, Request, ToolCall
from orchestrator.errors import ModelError
from orchestrator.models import open_script
from orchestrator.stop import Stop


def tried(number: int, **more: Any) -> e.Tried:
    return e.Tried(candidate=number, **{"exit_code": 1} | more)


def asks(command: str) -> Reply:
    return Reply(text="looks good", calls=(ToolCall(id=command, name="bash", arguments={"command": command}),))


def guarded(step: int, level: e.Level = "remind") -> e.Guarded:
    return e.Guarded(step=step, kind="calls", level=level, reason="r", since=1)


@pytest.mark.parametrize(
    ("context", "is_hard"),
    [
        (Context(step=4), False),
        (Context(step=4, guarded=(guarded(4),)), True),
        (Context(step=4, guarded=(guarded(4, "replan"),)), True),
        (Context(step=4, guarded=(guarded(4, "stop"),)), False),
        (Context(step=5, guarded=(guarded(4),)), False),
        (Context(step=4, guarded=(guarded(4),), proposed=5), False),
        (Context(step=4, guarded=(guarded(4),), proposed=4), True),
        (Context(step=4, sent_back=4), True),
        (Context(step=5, sent_back=4), False),
        (Context(), False),
    ],
)
def test_a_hard_step(context: Context, *, is_hard: bool) -> None:
    assert hard(context) == is_hard


FAILS = e.Ran(call_id="a", exit_code=1)


@pytest.mark.parametrize(
    ("candidates", "chosen", "why"),
    [
        ([tried(1, errors=1), tried(2, exit_code=0)], 2, "its check passes"),
        ([tried(1, exit_code=0, ran=(FAILS,)), tried(2, exit_code=0)], 2, "fewer of its calls fail"),
        ([tried(1, exit_code=0), tried(2, exit_code=0)], 1, "its check passes: the first one"),
        ([tried(1, errors=3), tried(2, errors=2), tried(3)], 2, "fewer errors"),
        ([tried(1), tried(2, timed_out=True, exit_code=None, errors=1)], 1, "its check came to an end"),
        ([tried(1, tests_failed=3, tests_passed=1), tried(2, tests_failed=1, tests_passed=3)], 2, "fewer tests fail"),
        # A test file that can't be read has one error, and no test runs.
        ([tried(1, errors=1, tests_failed=0, tests_passed=0), tried(2, errors=4, tests_failed=4)], 2, "it ran tests"),
        ([tried(1), tried(2)], 1, "none is better than another: the first one"),
        ([tried(1, failure="lost"), tried(3)], 3, "no other one was tried to its end"),
        ([tried(1, failure="lost", exit_code=0)], 0, LOST.why),
    ],
)
def test_results_decide(candidates: list[e.Tried], chosen: int, why: str) -> None:
    choice = by_results(candidates)
    assert choice.candidate == chosen
    assert why.removeprefix("it ") in choice.why


def test_without_a_check_the_largest_group_wins() -> None:
    assert by_agreement([asks("a"), asks("b"), None, asks("b")]).candidate == 2
    assert by_agreement([asks("a"), asks("b"), asks("b"), asks("a")]).candidate == 1
    assert by_agreement([None, asks("b"), asks("c")]).candidate == 2
    assert by_agreement([None, None]) == LOST
    assert same_as([asks("a"), None, asks("a"), asks("b"), asks("a")]) == (0, 0, 1, 0, 1)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("===== 2 failed, 3 passed, 1 error in 0.12s =====", Tally(3, 3)),
        ("1 failed, 2 passed in 0.03s", Tally(1, 2)),
        ("===== 1 error in 0.05s =====", Tally(1, 0)),
        ("Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=1)", Tally(2, 3)),
        ("Ran 2 tests in 0.001s\n\nOK", Tally(0, 2)),
        ("Tests:       1 failed, 4 passed, 5 total", Tally(1, 4)),
        ("  3 passing (10ms)\n  2 failing", Tally(2, 3)),
        ("test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured", Tally(1, 3)),
        ("--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.00s)\nFAIL", Tally(1, 1)),
        ("ok 1 - a\nnot ok 2 - b\n1..2", Tally(1, 1)),
        ("it said: 3 failed in a row", Tally()),
        ("", Tally()),
    ],
)
def test_what_runners_say(output: str, told: Tally) -> None:
    assert tally(output) == told


def test_who_hangs_is_given_up_and_who_fails_at_once_sets_no_pace() -> None:
    ended = [Event() for _ in range(4)]
    given_up: list[int] = []

    def give_up(place: int) -> None:
        given_up.append(place)
        ended[place].set()

    def fail() -> None:
        raise ModelError("it said nonsense")

    with ThreadPoolExecutor() as threads:
        works = [fail, lambda: time.sleep(0.2), lambda: ended[2].wait(30), lambda: time.sleep(0.3)]
        futures = [threads.submit(work) for work in works]
        began = time.monotonic()
        gather(futures, give_up, patience_s=0.1)
    assert given_up == [2]
    assert time.monotonic() - began < 5
    assert [failure(one) for one in futures] == ["it said nonsense", "", "", ""]


def test_a_script_gives_its_candidates_in_order() -> None:
    calls = {"name": "bash", "arguments": {"command": "ls"}}
    line = {"text": "alone", "calls": [calls], "candidates": [{"text": "one"}, {"text": "two", "calls": [calls]}]}
    model = open_script("scripted", json.dumps(line))
    request = Request(system="", tools=(), dialogue=())
    asked = [model.ask(request.model_copy(update={"candidate": number}), Stop()) for number in range(4)]
    assert [reply.text for reply in asked] == ["alone", "one", "two", "one"]
    plain = open_script("scripted", json.dumps({"text": "alone"}))
    assert plain.ask(request.model_copy(update={"candidate": 2}), Stop()).text == "alone"


def test_what_the_journal_keeps_of_a_loser_is_bounded() -> None:
    reply = asks("x" * 10_000_000).model_copy(update={"raw": "r", "reasoning": "s", "cost_usd": 1.0})
    short = kept(reply)
    assert len(short.model_dump_json()) < 300_000
    assert (short.raw, short.reasoning, short.cost_usd) == ("", "", 1.0)
