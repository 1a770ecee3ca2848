"""Pause, resume, steer and retry from the command line, with real workers, containers and kills."""

from __future__ import annotations

import json
import os
import signal
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


def committed(stack: Stack, run_id: str) -> list[int]:
    return [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]


def test_a_paused_run_frees_its_worker_and_goes_on_where_it_was(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script(
        "echo one > one.txt; cd tests; export KEPT=yes", "sleep 3", "pwd; echo $KEPT > kept.txt", MEND, SUBMIT
    )
    run_id = stack.detached(path, repo)
    until(lambda: "sleep 3" in stack.door.show(run_id).view.doing)
    paused = stack("pause", run_id)
    assert paused.returncode == 0, paused.stderr
    assert "waiting (paused)" in paused.stdout
    assert committed(stack, run_id) == [1, 2], "the step under way was finished"
    until(lambda: not stack.containers(run_id))
    listed = stack("ps").stdout
    assert "waiting (paused)" in listed
    assert "paused by" in listed
    other = stack.detached(script(MEND, SUBMIT), repo)
    assert stack("wait", other).returncode == 0, "the only worker is free"
    assert stack.door.show(run_id).view.state is State.WAITING
    assert stack("resume", run_id).returncode == 0
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert committed(stack, run_id) == [1, 2, 3, 4, 5]
    diff = stack("diff", run_id).stdout
    assert "+yes" in diff, "the shell's variables and directory are back"
    audit = stack("audit", run_id, "--verify")
    assert audit.returncode == 0
    assert "paused by" in audit.stdout


def test_a_pause_at_once_undoes_the_step(stack: Stack, repo: Path, script: Callable[..., Path], until: Any) -> None:
    run_id = stack.detached(script("echo one > one.txt", "echo two >> one.txt; sleep 30", SUBMIT), repo, "--accept", "")
    until(lambda: "sleep 30" in stack.door.show(run_id).view.doing)
    assert stack("pause", run_id, "--now").returncode == 0
    view = stack.door.show(run_id).view
    assert (view.state, view.step) == (State.WAITING, 1)
    assert "two" not in stack("diff", run_id).stdout
    assert stack("pause", run_id).returncode == 0, "it is paused already"
    assert stack("cancel", run_id).returncode == 0
    assert stack.door.show(run_id).view.outcome is Outcome.CANCELLED


@pytest.mark.parametrize("ask", ["pause", "steer"])
def test_what_was_asked_right_before_the_worker_was_killed_is_not_lost(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any, ask: str
) -> None:
    run_id = stack.detached(script("echo one > one.txt", "sleep 4", MEND, SUBMIT), repo)
    until(lambda: "sleep 4" in stack.door.show(run_id).view.doing)
    claims = [event.body for event in stack.door.events(run_id) if event.body.type == "claimed"]
    asked = stack.door.pause(run_id) if ask == "pause" else stack.door.steer(run_id, "mind the gap")
    os.kill(int(claims[-1].worker.rpartition(":")[2]), signal.SIGKILL)
    assert asked.state is State.RUNNING
    if ask == "pause":
        until(lambda: stack.door.show(run_id).view.state is State.WAITING)
        assert stack("resume", run_id).returncode == 0
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert committed(stack, run_id) == [1, 2, 3, 4]
    told = [event.body.text for event in stack.door.events(run_id) if event.body.type == "prompted"]
    assert sum("mind the gap" in text for text in told) == (ask == "steer")


def test_the_model_is_told_once_and_a_finished_run_is_retried_with_a_message(stack: Stack, repo: Path) -> None:
    def calling(number: int, name: str, **arguments: str) -> Any:
        return chat(f"Step {number}.", calls=[(f"c{number}", name, json.dumps(arguments))])

    submits = [calling(number, "submit", summary="done") for number in (3, 4)]
    with FakeProvider(calling(1, "bash", command="sleep 3"), calling(2, "bash", command="true"), *submits) as fake:
        flags = ("--model", "openai-compatible/m", "--base-url", f"{fake.url}/v1", "--price", "0", "--accept", "false")
        once = stack.environ | {"DREAMDOCK_LIMITS__SUBMITS": "1"}
        run_id = stack("run", "do it", "--repo", str(repo), "-d", *flags, env=once).stdout.strip()
        steered = stack("steer", run_id, "Mind the gap.")
        assert steered.returncode == 0, steered.stderr
        assert stack("wait", run_id).returncode == 1, "the acceptance command fails"
        refused = stack("steer", run_id, "too late")
        assert refused.returncode == 2
        assert "retry" in refused.stderr
        retried = stack("retry", run_id, "-m", "Then don't.")
        assert retried.returncode == 0, retried.stderr
        assert stack("wait", run_id).returncode == 1
        last = fake.asked[3].body["messages"]
    assert str(last).count("Mind the gap.") == 1
    assert "the acceptance command fails" in last[-1]["content"]
    assert "$ false" in last[-1]["content"]
    assert "Then don't." in last[-1]["content"]
    assert stack.door.show(run_id).view.attempt == 2


def test_a_message_that_comes_while_the_work_is_proven_is_answered_before_the_run_ends(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = stack.detached(script("echo one > one.txt", SUBMIT, SUBMIT), repo, "--accept", "sleep 2")
    until(lambda: stack.door.show(run_id).view.state is State.FINISHING)
    assert stack("steer", run_id, "and the docs").returncode == 0
    assert stack("wait", run_id).returncode == 0
    kinds = [event.body.type for event in stack.door.events(run_id)]
    assert (kinds.count("finish_started"), kinds.count("finished"), kinds.count("claimed")) == (2, 1, 1)
    assert len(stack.door.show(run_id).view.verdicts) == 1


def test_a_run_at_its_limit_goes_on_with_more(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = stack.detached(script("echo one > one.txt", "echo two > two.txt", MEND, SUBMIT), repo, "--steps", "2")
    assert stack("wait", run_id).returncode == 7
    refused = stack("retry", run_id)
    assert refused.returncode == 2
    assert "--steps N" in refused.stderr
    assert stack("retry", run_id, "--steps", "5").returncode == 0
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert committed(stack, run_id) == [1, 2, 3, 4]
    assert stack.json("show", run_id)["run"]["steps_limit"] == 7


def test_a_run_that_keeps_killing_its_worker_is_parked_and_followers_are_told(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    run_id = stack.detached(script("sleep 60", MEND, SUBMIT), repo)
    seen: set[str] = set()
    while stack.door.show(run_id).view.state is not State.WAITING:
        claims = [event.body.worker for event in stack.door.events(run_id) if event.body.type == "claimed"]
        if claims and claims[-1] not in seen:
            seen.add(claims[-1])
            os.kill(int(claims[-1].rpartition(":")[2]), signal.SIGKILL)
    waited = stack("wait", run_id)
    assert waited.returncode == 8
    assert "waiting (parked)" in waited.stdout
    assert "3 attempts in a row" in stack("show", run_id).stdout
    assert "3 attempts in a row" in stack("logs", "-f", run_id).stdout
    assert len(seen) == 3
    assert stack("cancel", run_id).returncode == 0


@pytest.mark.parametrize("command", [("pause",), ("resume",), ("retry",), ("steer", "x")])
def test_a_run_that_does_not_exist_is_not_found(stack: Stack, command: tuple[str, ...]) -> None:
    done = stack(command[0], "nosuchrun", *command[1:])
    assert done.returncode == 3
    assert done.stderr.startswith("error: there is no run nosuchrun")
