"""Steps, diff, rewind, undo, redo and fork from the command line, with real files, shells and workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from fake_provider import FakeProvider, chat
from kit import MEND, SUBMIT

from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def done(stack: Stack, path: Path, repo: Path, *flags: str) -> str:
    run_id = stack.detached(path, repo, *flags)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    return run_id


def calls(stack: Stack, run_id: str) -> list[str]:
    """What each command printed, in order."""
    bodies = [event.body for event in stack.door.events(run_id)]
    return [body.result.content for body in bodies if body.type == "call_finished" and body.result.name == "bash"]


def test_a_finished_run_goes_back_and_on_with_files_shell_and_dialogue(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    path = script("echo one > one.txt; cd tests; export WHERE=first", "echo two > ../two.txt; pwd; ls ..", MEND, SUBMIT)
    run_id = done(stack, path, repo)
    went = stack("rewind", run_id, "1", "-m", "try once more")
    assert went.returncode == 0, went.stderr
    assert "step 5: rewind to 1" in went.stdout
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    view = stack.door.show(run_id).view
    assert (view.outcome, view.step, view.depth, view.attempt) == (Outcome.SUCCEEDED, 8, 4, 2)
    first, second = calls(stack, run_id)[1], calls(stack, run_id)[2]
    assert first == second, "the same working directory, and no two.txt before it was made again"
    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0, audit.stdout
    assert "rewind to step 1" in audit.stdout
    diff = stack("diff", run_id).stdout
    assert diff.count("+two") == diff.count("+one") == 1
    assert "taken up again" not in stack("logs", run_id).stderr
    assert stack("logs", run_id).stdout.count("outcome") == 2


def test_steps_and_diffs_between_them_are_told(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    path = script("echo one > one.txt", "echo two > two.txt; rm one.txt", MEND, SUBMIT)
    run_id = done(stack, path, repo)
    told = stack("steps", run_id).stdout
    assert "$ echo one > one.txt  [1 file]" in told
    assert told.splitlines()[-1].split()[:2] == ["●", "4"]
    assert "+one" in stack("diff", run_id, "1").stdout
    second = stack("diff", run_id, "2").stdout
    assert "-one" in second
    assert "+two" in second
    assert "one" not in stack("diff", run_id, "..2").stdout.replace("/dev/null", "")
    assert "ledger/split.py" in stack("diff", run_id, "2..").stdout
    assert stack("diff", run_id, "3..4").stdout == ""
    for wrong, code in (("9", 3), ("x", 2), ("1...3", 2), ("2..9", 3)):
        refused = stack("diff", run_id, wrong)
        assert (refused.returncode, refused.stderr[:6]) == (code, "error:"), wrong


def test_undo_and_redo_take_a_run_back_and_forth(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = done(stack, script("echo one > one.txt", MEND, SUBMIT), repo)
    assert "undo to 2" in stack("undo", run_id).stdout
    assert stack("wait", run_id).returncode == 0
    again = stack("redo", run_id)
    assert again.returncode == 2, "it went on: nothing is left to be redone"
    assert "came after the undo, as in an editor" in again.stderr
    moments = stack.json("steps", run_id)["steps"]
    assert [(moment["step"], moment["kind"], moment["to"]) for moment in moments] == [
        (0, "begin", None),
        (1, "step", None),
        (2, "step", None),
        (3, "step", None),
        (4, "undo", 2),
        (5, "step", None),
    ]


def test_a_running_run_goes_back_at_the_end_of_its_step(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script("echo one > one.txt", "sleep 3; echo two > two.txt", "cat one.txt two.txt", MEND, SUBMIT)
    run_id = stack.detached(path, repo)
    until(lambda: "sleep 3" in stack.door.show(run_id).view.doing)
    went = stack("rewind", run_id, "0")
    assert went.returncode == 0, went.stderr
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    kinds = [(moment["step"], moment["kind"]) for moment in stack.json("steps", run_id)["steps"]]
    assert kinds[3] == (3, "rewind"), "the step under way was finished first"
    assert stack.door.show(run_id).view.attempt == 1, "in the same container"


def test_a_run_that_ends_before_it_came_to_a_rewind_is_taken_up_again(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = stack.detached(script("echo one > one.txt", SUBMIT), repo, "--accept", "sleep 2")
    until(lambda: stack.door.show(run_id).view.state is State.FINISHING)
    went = stack("rewind", run_id, "0")
    assert went.returncode == 0, went.stderr
    assert "step 3: rewind to 0" in went.stdout
    assert stack("wait", run_id).returncode == 0
    kinds = [event.body.type for event in stack.door.events(run_id)]
    assert kinds.count("rewind_requested") == kinds.count("finished") == 2
    assert kinds.count("rewound") == 1


def test_a_fork_leaves_the_other_run_as_it_is(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = done(stack, script("echo one > one.txt", MEND, "echo three > three.txt", SUBMIT), repo)
    before = stack.json("show", run_id)
    forked = stack("fork", run_id, "2", "-m", "another way")
    assert forked.returncode == 0, forked.stderr
    fork = forked.stdout.strip()
    assert stack("wait", fork).returncode == 0, stack("logs", fork).stdout
    view = stack.door.show(fork).view
    assert (view.outcome, view.step, view.depth) == (Outcome.SUCCEEDED, 4, 2)
    logs = stack("logs", fork).stdout
    assert "forked        from step 2 of run " + run_id in logs
    assert "told the model: Note: from here on this is a run of its own" in logs
    assert "interrupted" not in logs
    diff = stack("diff", fork).stdout
    assert "+one" in diff
    assert "+three" in diff
    assert stack.json("show", run_id) == before


def test_the_model_is_asked_with_the_dialogue_of_the_step_that_it_went_back_to(stack: Stack, repo: Path) -> None:
    def calling(number: int, name: str, **arguments: str) -> Any:
        return chat(f"Step {number}.", calls=[(f"c{number}", name, json.dumps(arguments))])

    submit = calling(3, "submit", summary="done")
    with FakeProvider(
        calling(1, "bash", command="echo 1"), calling(2, "bash", command="echo 2"), submit, submit
    ) as fake:
        flags = (
            "--model",
            "openai-compatible/m",
            "--base-url",
            f"{fake.url}/v1",
            "--price",
            "0",
            "--accept",
            "true",
            "--judge",
            "off",
        )
        run = stack("run", "do it", "--repo", str(repo), "-d", *flags)
        run_id = run.stdout.strip()
        assert stack("wait", run_id).returncode == 0, run.stderr
        assert stack("rewind", run_id, "1", "-m", "Think again.").returncode == 0
        assert stack("wait", run_id).returncode == 0
        second, last = fake.asked[1].body["messages"], fake.asked[3].body["messages"]
    assert last[: len(second)] == second, "all that the model was asked with at that step, byte for byte"
    assert "Think again." in last[-1]["content"]
    assert "end of step 1" in last[-1]["content"]
    assert not any("Step 2." in str(message) for message in last)


@pytest.mark.parametrize(
    ("arguments", "code"), [(("7",), 3), (("x",), 2), (("-1",), 2), ((), 2), (("99999999999999999999",), 3)]
)
def test_a_step_that_never_was_is_refused(
    stack: Stack, repo: Path, script: Callable[..., Path], arguments: tuple[str, ...], code: int
) -> None:
    run_id = done(stack, script(SUBMIT), repo, "--accept", "true")
    for command in ("rewind", "fork"):
        refused = stack(command, run_id, *arguments)
        assert refused.returncode == code, refused.stderr
        assert refused.stderr.startswith("error:")
    assert stack.door.show(run_id).view.outcome is Outcome.SUCCEEDED, "and the run is as it was"
