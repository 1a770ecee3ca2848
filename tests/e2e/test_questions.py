"""Questions and approvals from the command line, with real workers, a real keeper and containers."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from benchmarks.stack import COMMAND
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
ASK = ("ask", {"question": "Round up,\nor down?", "options": ["up", "down"], "default": "down, as the tests do"})


def submitted(stack: Stack, repo: Path, path: Path, **approvals: Any) -> str:
    """Submit a run under these rules, and return its id."""
    told = {f"DREAMDOCK_APPROVALS__{key.upper()}": json.dumps(value) for key, value in approvals.items()}
    flags = ("--repo", str(repo), "--model", f"scripted/{path}", "-d")
    done = stack("run", "mend it", *flags, env=stack.environ | told)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def waits(stack: Stack, run_id: str, until: Any, *, reason: str) -> None:
    until(lambda: stack.door.show(run_id).view.state is State.WAITING)
    assert stack.door.show(run_id).view.reason == reason


def test_a_run_asks_is_told_everywhere_and_goes_on_with_the_answer(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = submitted(stack, repo, script("echo one > one.txt; cd tests", ASK, "pwd > ../where.txt", MEND, SUBMIT))
    argv = [COMMAND, "logs", "-f", run_id]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=stack.environ) as following:
        waits(stack, run_id, until, reason="question")
        until(lambda: not stack.containers(run_id))
        assert "waiting (question)" in stack("ps").stdout
        shown = stack("show", run_id).stdout
        for told in ("Round up,", "or down?", "1  up", "2  down", "then: down, as the tests do"):
            assert told in shown
        assert f"dreamdock answer {run_id} 1" in shown
        question = stack.json("show", run_id)["run"]["question"]
        assert (question["id"], question["options"]) == ("q1", ["up", "down"])
        assert [run["question"]["id"] for run in stack.json("ps")["runs"] if run["id"] == run_id] == ["q1"]
        other = stack.detached(script(MEND, SUBMIT), repo)
        assert stack("wait", other).returncode == 0, "the only worker is free"
        refused = stack("resume", run_id)
        assert refused.returncode == 2
        assert f"dreamdock answer {run_id} 1" in refused.stderr
        assert stack("answer", run_id, "9").returncode == 2
        assert stack("approve", run_id).returncode == 2
        assert stack.json("answer", run_id, "2")["run"]["state"] == "queued"
        assert stack("answer", run_id, "1").returncode == 2
        assert following.wait(timeout=60) == 0
        assert following.stdout is not None
        story = following.stdout.read()
    assert f"dreamdock answer {run_id} 1" in story
    assert "down" in story
    assert stack("wait", run_id).returncode == 0, story
    assert "+/workspace/tests" in stack("diff", run_id).stdout, "the shell is where it was"
    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0
    assert "q1: down, by" in audit.stdout


def test_nobody_is_there_and_the_run_does_not_hang(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = submitted(stack, repo, script(ASK, MEND, SUBMIT), wait_seconds=1)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert "nobody in time" in stack("logs", run_id).stdout


def test_a_step_is_denied_undone_and_then_approved(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script("echo x > poetry.lock", MEND, SUBMIT)
    run_id = submitted(stack, repo, path, paths=["*.lock"])
    waits(stack, run_id, until, reason="approval")
    assert "it changes poetry.lock (*.lock)" in stack("show", run_id).stdout
    assert "poetry.lock" in stack("diff", run_id, "1").stdout
    assert stack("deny", run_id, "not now").returncode == 0
    waits(stack, run_id, until, reason="approval")  # A script does the same again: it goes by the number of replies.
    steps = stack("steps", run_id).stdout
    assert "denied to 0" in steps
    approved = stack("approve", run_id, "a2")
    assert approved.returncode == 0, approved.stderr
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert "poetry.lock" in stack("diff", run_id).stdout


def test_a_rewind_drops_the_question_and_a_cancel_ends_it(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = submitted(stack, repo, script("true", ASK, MEND, SUBMIT))
    waits(stack, run_id, until, reason="question")
    assert stack("rewind", run_id, "1").returncode == 0
    waits(stack, run_id, until, reason="question")
    assert stack.json("show", run_id)["run"]["question"]["id"] == "q2"
    assert stack("cancel", run_id).returncode == 0
    assert stack.door.show(run_id).view.outcome is Outcome.CANCELLED
