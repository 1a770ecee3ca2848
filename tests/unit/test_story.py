"""Diagnostics followed over the steps of a run."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.diagnostic import Diagnostic, Severity
from orchestrator.diagnostics.story import Moment, State, Story, Told, follow


def error(line: int = 3, message: str = "bad", **more: object) -> Diagnostic:
    return Diagnostic(file="a.c", line=line, message=message, **more)  # type: ignore[arg-type]  # Fields by name.


def told(step: int, *found: Diagnostic, command: str = "make") -> Told:
    return Told(step, command, found)


def states(story: Story) -> list[str]:
    return [f"{step} {state}" for step, state in story.moments]


def test_new_still_there_fixed_and_back_again() -> None:
    (story,) = follow([told(1, error()), told(2, error()), told(4), told(5), told(6, error())])
    assert states(story) == ["1 new", "2 still there", "4 fixed", "6 back again"]
    assert story.open


def test_a_line_that_moved_and_a_number_that_changed_are_the_same() -> None:
    (story,) = follow([told(1, error(3, "got 1, at 0x7f")), told(2, error(9, "got 2, at 0x80"))])
    assert states(story) == ["1 new", "2 still there"]
    assert story.diagnostic.line == 9


def test_two_alike_are_told_apart_by_their_nearest_lines() -> None:
    first, second = follow([told(1, error(10), error(50)), told(2, error(52))])
    assert (states(first), states(second)) == (["1 new", "2 fixed"], ["1 new", "2 still there"])


def test_another_command_says_nothing_of_it() -> None:
    (story,) = follow([told(1, error()), told(2, command="ls"), told(3, command="pytest")])
    assert story.moments == (Moment(1, State.NEW),)


def test_any_command_that_showed_it_can_show_that_it_is_fixed() -> None:
    (story,) = follow([told(1, error()), told(2, error(), command="make -k"), told(3)])
    assert states(story) == ["1 new", "2 still there", "3 fixed"]
    assert not story.open


def test_notes_have_no_story() -> None:
    assert follow([told(1, error(severity=Severity.NOTE))]) == ()


_FOUND = st.builds(error, st.integers(1, 30), st.sampled_from(["bad", "worse", "n 1", "n 2"]))
_RUNS = st.lists(st.tuples(st.sampled_from(["make", "test"]), st.lists(_FOUND, max_size=5)), max_size=12)


@given(_RUNS)
def test_each_story_begins_new_and_only_what_was_fixed_comes_back(runs: list[tuple[str, list[Diagnostic]]]) -> None:
    stories = follow(Told(step, command, found) for step, (command, found) in enumerate(runs, 1))
    for story in stories:
        order = [state for _, state in story.moments]
        assert order[0] is State.NEW
        assert State.NEW not in order[1:]
        for before, after in itertools.pairwise(order):
            assert (after is State.BACK) == (before is State.FIXED)
    if runs:
        last = {(one.file, one.line) for one in runs[-1][1]}
        assert last <= {(story.diagnostic.file, story.diagnostic.line) for story in stories if story.open}
