"""What dies is carried on, what is foreign is refused: real kills, real queue entries."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from orchestrator.journal import keys
from orchestrator.journal.connection import connect, ping, redis_url
from orchestrator.runs import Outcome
from orchestrator.stack.crash import kill_worker
from orchestrator.stack.status import Status
from orchestrator.standing import workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def owner_pid(stack: Stack, run_id: str) -> int:
    claims = [event.body for event in stack.door.events(run_id) if event.body.type == "claimed"]
    return int(claims[-1].worker.rpartition(":")[2])


def test_a_killed_work_horse_is_resumed_where_it_was(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script("echo one > one.txt; export KEPT=no", MEND, "sleep 5; echo again >> again.txt", SUBMIT)
    run_id = stack.detached(path, repo)
    until(lambda: "sleep 5" in stack.door.show(run_id).view.doing)
    os.kill(owner_pid(stack, run_id), signal.SIGKILL)
    assert stack("wait", run_id).returncode == 0
    view = stack.door.show(run_id).view
    assert (view.outcome, view.attempt, view.step) == (Outcome.SUCCEEDED, 2, 4)
    steps = [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]
    assert steps == [1, 2, 3, 4], "every step once and in order"
    diff = stack.door.diff(run_id).decode()
    assert "+one" in diff
    assert diff.count("+again") == 1, "the step that was undone left nothing behind"
    replies = [event.body.step for event in stack.door.events(run_id) if event.body.type == "replied"]
    assert replies == [1, 2, 3, 4], "a reply that was journalled is reused, not asked for again"
    assert stack.door.audit(run_id).check.ok
    assert stack.containers(run_id) == []


def test_a_worker_that_is_stopped_releases_its_run(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = stack.detached(script("echo one > one.txt", "sleep 20", MEND, SUBMIT), repo)
    until(lambda: "sleep 20" in stack.door.show(run_id).view.doing)
    os.kill(stack.door.workers()[0].pid, signal.SIGTERM)
    lost = until(lambda: [e.body for e in stack.door.events(run_id) if e.body.type == "attempt_lost"])
    assert not lost[0].to_blame
    stack("cancel", run_id)
    until(lambda: stack.door.show(run_id).view.outcome is Outcome.CANCELLED)


def test_a_container_removed_by_hand_is_replaced(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    from sandbox import engine  # noqa: PLC0415  # Only this test reaches around the door.

    run_id = stack.detached(script("echo one > one.txt", "sleep 4", MEND, SUBMIT), repo)
    until(lambda: "sleep 4" in stack.door.show(run_id).view.doing)
    for container in stack.containers(run_id):
        engine.client().containers.get(container).remove(force=True)
    assert stack("wait", run_id).returncode == 0
    assert stack.door.show(run_id).view.attempt == 2


@pytest.mark.parametrize("job_id", ["evil", "abcdefghjkmn-a1", "../x", "a b"])
def test_a_queue_entry_that_names_another_function_runs_nothing(
    stack: Stack, repo: Path, script: Callable[..., Path], tmp_path: Path, until: Any, job_id: str
) -> None:
    proof = tmp_path / "executed"
    entry = {
        "data": json.dumps(["os.system", None, [f"touch {proof}"], {}]),
        "status": "queued",
        "origin": "runs",
        "created_at": "yesterday",
        "timeout": "soon",
        "success_callback_name": "os.getcwd",
        "failure_callback_name": "os.getcwd",
        "webhooks": json.dumps([{"url": "http://127.0.0.1:9/"}]),
    }
    with connect(redis_url(stack.settings)) as client:
        client.hset(f"rq:job:{job_id}", mapping=entry)
        queue = f"{keys.RQ_QUEUE}{workers(client)[0].presence.name}"
        client.sadd("rq:queues", queue)
        client.rpush(queue, job_id)
        until(lambda: client.lpos(queue, job_id) is None)
    run_id = stack.detached(script(MEND, SUBMIT), repo)
    assert stack("wait", run_id).returncode == 0, "the worker goes on"
    assert not proof.exists()


def test_a_redis_that_dies_and_comes_back_loses_no_step(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = stack.detached(script(*[f"echo {n} >> log.txt; sleep 0.3" for n in range(12)], MEND, SUBMIT), repo)
    until(lambda: stack.door.show(run_id).view.step >= 2)
    for _ in range(3):
        found = Status.read(stack.settings.runtime_dir)
        assert found is not None
        os.kill(found.children["redis"].pid, signal.SIGKILL)
        until(lambda: ping(redis_url(stack.settings)))
        time.sleep(0.7)
    assert stack("wait", run_id).returncode == 0
    steps = [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]
    assert steps == list(range(1, 15))
    assert stack.door.show(run_id).view.attempt == 1, "the attempt waited, and went on under its own fence"
    diff = stack.door.diff(run_id).decode()
    assert [line for line in diff.splitlines() if line[1:].isdigit()] == [f"+{n}" for n in range(12)]
    assert stack.door.audit(run_id).check.ok


def test_a_redis_that_hangs_for_longer_than_a_lease_ends_no_attempt(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    from sandbox import engine  # noqa: PLC0415  # As above.

    run_id = stack.detached(script("echo one > one.txt", "sleep 4; echo two > two.txt", MEND, SUBMIT), repo)
    until(lambda: "sleep 4" in stack.door.show(run_id).view.doing)
    [container] = stack.containers(run_id)
    found = Status.read(stack.settings.runtime_dir)
    assert found is not None
    os.kill(found.children["redis"].pid, signal.SIGSTOP)
    states = []
    for _ in range(9):
        time.sleep(1)
        states.append(engine.client().containers.get(container).status)
    os.kill(found.children["redis"].pid, signal.SIGCONT)
    assert stack("wait", run_id).returncode == 0
    assert states[-1] == "paused", "nothing runs that somebody else may be running, too"
    view = stack.door.show(run_id).view
    assert (view.outcome, view.attempt, view.step) == (Outcome.SUCCEEDED, 1, 4), "it went on under its own fence"
    assert stack.door.audit(run_id).check.ok


def test_the_demo_kills_its_own_worker_and_goes_on(stack: Stack) -> None:
    done = stack("demo", env={**stack.environ, "DREAMDOCK_MODEL": "scripted/the-demos-own"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "demo: kill -9 of worker-1, pid " in done.stderr
    run_id = stack.json("ps", "-a")["runs"][2]["id"]  # Two runs that show its memory come behind.
    lost = [event.body for event in stack.door.events(run_id) if event.body.type == "attempt_lost"]
    assert [(body.attempt, body.to_blame) for body in lost] == [(2, True)]
    assert f"step {lost[0].void_step} was undone" in done.stdout
    assert stack.door.show(run_id).view.outcome is Outcome.SUCCEEDED
    assert kill_worker(stack.settings, 1) == "", "nobody else's process"


def test_a_damaged_status_file_neither_doubles_nor_hides_the_stack(stack: Stack, until: Any) -> None:
    path = Status.path(stack.settings.runtime_dir)
    before = Status.read(stack.settings.runtime_dir)
    path.write_text("{")
    assert stack("up").returncode == 0
    assert Status.read(stack.settings.runtime_dir) == before
    path.unlink()
    until(lambda: Status.read(stack.settings.runtime_dir) == before)


def test_an_unreadable_record_is_folded_anew_and_stops_nobody(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    damaged = stack.detached(script(MEND, SUBMIT), repo)
    assert stack("wait", damaged).returncode == 0
    with connect(redis_url(stack.settings)) as client:
        client.hset(keys.record(damaged), "view", "{garb")
    assert stack.json("show", damaged)["run"]["outcome"] == "succeeded"
    assert damaged in stack("ps", "-a").stdout


def test_workers_leave_no_traceback_in_their_logs(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    logs = stack.settings.state_dir / "logs"
    before = sum(path.read_text().count("Traceback") for path in logs.glob("worker-*.log"))
    assert stack("wait", stack.detached(script(MEND, SUBMIT), repo)).returncode == 0
    time.sleep(1.5)
    assert sum(path.read_text().count("Traceback") for path in logs.glob("worker-*.log")) == before


def test_a_worker_that_stood_still_for_longer_than_its_lease_does_nothing_more(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    path = script("echo one > one.txt", "for i in $(seq 8); do sleep 1; echo $i >> ticks.txt; done", MEND, SUBMIT)
    run_id = stack.detached(path, repo)
    until(lambda: "ticks" in stack.door.show(run_id).view.doing)
    stopped, [old] = owner_pid(stack, run_id), stack.containers(run_id)
    os.kill(stopped, signal.SIGSTOP)
    try:
        until(lambda: stack.door.show(run_id).view.attempt == 2)
        until(lambda: old not in stack.containers(run_id))
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert stack("wait", run_id).returncode == 0
    assert [e.body.step for e in stack.door.events(run_id) if e.body.type == "checkpointed"] == [1, 2, 3, 4]
    ticks = [line for line in stack.door.diff(run_id).decode().splitlines() if line[1:].isdigit()]
    assert ticks == [f"+{number}" for number in range(1, 9)]
    assert stack.door.audit(run_id).check.ok
