"""The guards: loops are named, then stopped; waiting, retrying and reading on never are."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import located_cases
from benchmarks.guard_cases import BEFORE, HONEST, LOOPS, Call, Case, Step, bash, edit, honest, read
from benchmarks.guard_rows import play
from orchestrator import events as e
from orchestrator.agent.guards.acts import WINDOW, trail
from orchestrator.agent.guards.judge import judge
from orchestrator.agent.guards.same import lines, located, normal, telling
from orchestrator.diagnostic import MOST_KEPT, Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.dialogue import Reply, Turn


def dialogue(steps: Sequence[Step]) -> list[Turn | Reply]:
    return [said for number, step in enumerate(steps, start=1) for said in step.said(number)]


def judged(steps: Sequence[Step], told: Sequence[e.Guarded] = (), *, first: int = 0) -> e.Guarded | None:
    return judge(trail(dialogue(steps), range(1, len(steps) + 1), first=first), told)


@pytest.mark.parametrize("case", [*LOOPS, *located_cases.LOOPS], ids=lambda case: case.name)
def test_a_loop_is_named_then_a_new_plan_is_asked_for_then_it_is_stopped(case: Case) -> None:
    played = play(case)
    assert played.stopped
    assert played.steps - case.after <= 6
    last = played.judged[-1]
    levels = [one.level for one in played.judged if one.kind == last.kind]
    assert levels == ["remind", "replan", "stop"]
    assert {one.since for one in played.judged if one.kind == last.kind} == {last.since}
    assert last.since > BEFORE
    assert last.reason
    assert "\n" not in last.reason


@pytest.mark.parametrize("case", [*HONEST, *located_cases.HONEST], ids=lambda case: case.name)
def test_honest_work_is_never_stopped(case: Case) -> None:
    played = play(case)
    assert not played.stopped
    assert all(one.level == "remind" for one in played.judged)


@pytest.mark.parametrize("case", [*located_cases.LOOPS, *located_cases.HONEST], ids=lambda case: case.name)
def test_what_only_the_diagnostics_tell_is_misjudged_without_them(case: Case) -> None:
    assert play(case, blind=True).stopped is not bool(case.after)


def test_an_error_is_the_same_wherever_it_moves_and_another_one_is_not() -> None:
    one = Diagnostic(file="a.c", line=3, message="no member at line 3", code="x")
    assert located([one]) == located([one.model_copy(update={"line": 9, "message": "no member at line 9"})])
    assert located([one]) != located([one, one.model_copy(update={"line": 9})])
    for change in ({"file": "b.c"}, {"message": "no field at line 3"}, {"code": "y"}):
        assert located([one]) != located([one.model_copy(update=change)])
    fewer = [one.model_copy(update={"message": f"{count} too many"}) for count in (3, 2)]
    assert located(fewer[:1]) != located(fewer[1:])
    assert located([one.model_copy(update={"severity": Severity.WARNING})]) == ()
    assert located([one] * MOST_KEPT) == ()


def test_there_are_as_many_kinds_of_loops_as_were_promised() -> None:
    assert len(LOOPS) >= 12
    assert len(HONEST) >= 12
    assert {play(case).judged[-1].kind for case in LOOPS} >= {"calls", "failures", "refused", "wandering", "garbled"}


def test_whoever_leaves_a_loop_begins_anew() -> None:
    looped = [read("a.py", "    1\tx = 1")] * 3
    reminded = judged(looped)
    assert reminded is not None
    assert judged([*looped, looped[0]], [reminded]) is None  # It has had no time to heed it.
    again = judged([*looped, *looped[:2]], [reminded])
    assert again is not None
    assert (reminded.level, again.level, again.since) == ("remind", "replan", 1)
    left = [*looped, read("b.py", "    1\ty = 1"), *looped]
    anew = judged(left, [reminded])
    assert anew is not None
    assert (anew.level, anew.since) == ("remind", 5)


def test_what_was_stopped_is_not_judged_again() -> None:
    looped = [read("a.py", "    1\tx = 1")] * 9
    stop = e.Guarded(step=7, kind="calls", level="stop", reason="r", since=1)
    assert judged(looped, [stop]) is None


def test_what_the_model_no_longer_sees_may_be_read_again() -> None:
    files = [bash(f"cat src/{name}", f"int {name};") for name in "abcdefgh"]
    grep = [bash(f"head -{number} src/a src/b", "int a;\nint b;") for number in range(8)]
    assert judged([*files, *grep]) is not None
    again = [bash(f"head -9 src/{name}", f"int {name};") for name in "abcdefgh"]
    assert judged([*files, *again], first=9) is None


def test_waiting_in_a_round_of_calls_is_no_loop() -> None:
    looped = [bash("sleep 5", ""), bash("cat state", "building")] * 10
    assert judged(looped) is None


def test_looking_things_up_is_reading_and_the_same_again_is_a_loop() -> None:
    def look_up(words: str, came: str) -> Step:
        return Step((Call("recall", {"query": words}, came),))

    asked = [look_up(f"word {number}", f"[e{number}] fact: known {number}") for number in range(3)]
    assert all(act.looks for one in trail(dialogue(asked), range(1, 4)) for act in one.acts)
    assert judged(asked) is None
    assert judged([look_up("redis", "[e1] fact: as above")] * 4) is not None


def test_one_reply_that_asks_the_same_thing_thrice_is_no_loop() -> None:
    call = Call("read", {"path": "a.py"}, "    1\tx")
    assert judged([Step((call, call, call))]) is None


def test_a_failure_that_a_pipe_hides_is_one() -> None:
    steps = [bash("touch a && make 2>&1 | tail -3", "1 error generated.\nmake: *** [a.o] Error 1")]
    rounds = itertools.chain.from_iterable([edit("a.c", str(n), "x"), *steps] for n in range(6))
    found = judged([edit("a.c", "0", "y"), *rounds])
    assert found is not None
    assert found.kind == "failures"


@pytest.mark.parametrize(
    ("came", "failed"),
    [
        ("ok\n[exit code 0]", False),
        (
            "ok\n[exit code 0; working directory /workspace/a]\n[the whole output is in /workspace/.dreamdock/1]",
            False,
        ),
        ("no\n[exit code 2]\n[the shell was started anew]", True),
        ("[exit code 0]\n[exit code 1]", True),
        ("\n[timed out after 3 s; its processes were ended]", True),
        ("[ended by signal 9]", True),
    ],
)
def test_how_a_command_ended_is_read_from_what_the_model_was_shown(came: str, failed: bool) -> None:
    said = dialogue([Step((Call("bash", {"command": "make"}, came),))])
    assert trail(said, [1])[0].acts[0].failed is failed


def test_only_the_last_steps_are_looked_at() -> None:
    steps = list(itertools.islice(honest(), 3 * WINDOW))
    assert [one.step for one in trail(dialogue(steps), range(1, 3 * WINDOW + 1))] == list(
        range(2 * WINDOW + 1, 3 * WINDOW + 1)
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 passed in 0.12s", "3 passed in 1.04s"),
        ("started, pid 812", "started, pid 9001"),
        ("<object at 0x7f01>", "<object at 0x55aa>"),
        ("2026-11-03T04:05:06Z up", "2026-11-04 14:15:16 up"),
        ("wrote /tmp/tmpabc/x", "wrote /tmp/tmpdef/x"),
        ("HEAD is at 0fe12ab", "HEAD is at 77ac01b"),
        ("[1] 812", "[1] 9001"),
        ("listening on 127.0.0.1:4001", "listening on 127.0.0.1:58111"),
    ],
)
def test_what_differs_each_time_says_the_same(one: str, other: str) -> None:
    assert normal(one) == normal(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("3 passed", "4 passed"), ("12000000 of 90000000 bytes", "13000000 of 90000000 bytes"), ("[ 41%]", "[ 42%]")],
)
def test_figures_that_tell_something_are_kept(one: str, other: str) -> None:
    assert normal(one) != normal(other)


def test_the_lines_that_tell_are_those_of_the_failure_wherever_it_stands() -> None:
    assert telling("ok\na.c:3:7: error: no such type\nmore") == telling("fine\na.c:9:1: error: no such type\nother")
    assert telling("a\nb") == ("a", "b")
    assert lines("    3\tdef f():\n-----\n[exit code 0]") == lines("a.py:7:def f():")


WORDS = st.text(alphabet="abcdefghij ", min_size=3, max_size=20).filter(str.strip)


def new_steps(number: int, word: str, kind: int) -> Iterator[Step]:
    """Yield steps of one kind, each of which has something new in it: the number."""
    name = f"{word.strip()}{number}"
    match kind:
        case 0:
            yield read(f"{name}.py", f"    1\tdef {name}(): ...")
        case 1:
            yield bash(f"grep -rn {word!r} .", f"src/x.py:{number}:{name} = {number}")
        case 2:
            yield edit("same.py", f"old {number}", f"new {name}")
        case 3:
            yield bash("python3 -m pytest -q", f"FAILED t.py::test_{name} - assert {number} == 3\n1 failed", 1)
        case 4:
            yield bash("make", f"compiled {name}.c")
        case 5:
            yield bash("sleep 1; cat log", "waiting")
        case _:
            yield Step((Call("note", {"kind": "fact", "text": name}, f"noted as f{number}"),), text=word)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WORDS, st.integers(0, 6)), min_size=1, max_size=60))
def test_runs_that_bring_something_new_in_each_step_are_never_judged(plan: list[tuple[str, int]]) -> None:
    steps = [step for number, (word, kind) in enumerate(plan) for step in new_steps(number, word, kind)]
    said = dialogue(steps)
    for number in range(1, len(steps) + 1):
        assert judge(trail(said[: 2 * number], range(1, number + 1)), []) is None
