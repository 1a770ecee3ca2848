"""Runs on sandboxes that were started ahead, with real kills."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from orchestrator.runs import Outcome
from sandbox import engine
from sandbox.container import POOL_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def pooled(stack: Stack, state: str = "running") -> set[str]:
    """Return the containers of this stack's pools, claimed or not."""
    labels = [POOL_LABEL, f"dreamdock.stack={stack.settings.stack_id}"]
    with closing(engine.client()) as client:
        found = client.api.containers(all=True, filters={"label": labels})
    return {item["Id"] for item in found if item["State"] == state}


def used(stack: Stack, run_id: str) -> list[str]:
    return [event.body.container for event in stack.door.events(run_id) if event.body.type == "sandbox_ready"]


def test_a_run_takes_the_sandbox_that_was_started_ahead(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    ahead = until(lambda: pooled(stack))
    run_id = stack.detached(script("sleep 3", MEND, SUBMIT), repo)
    until(lambda: "sleep 3" in stack.door.show(run_id).view.doing)
    (container,) = used(stack, run_id)
    assert container in ahead
    assert stack.containers(run_id) == [container]
    assert until(lambda: pooled(stack) - {container}), "the next one is there already"
    assert stack("wait", run_id).returncode == 0
    assert stack.door.show(run_id).view.outcome is Outcome.SUCCEEDED
    assert stack.containers(run_id) == []


def test_cancelling_removes_it_and_leaves_the_next_one(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    ahead = until(lambda: pooled(stack))
    run_id = stack.detached(script("sleep 60", SUBMIT), repo)
    until(lambda: "sleep 60" in stack.door.show(run_id).view.doing)
    (container,) = stack.containers(run_id)
    assert container in ahead
    stack("cancel", run_id)
    until(lambda: stack.door.show(run_id).view.outcome is Outcome.CANCELLED)
    until(lambda: container not in pooled(stack) | pooled(stack, "exited"))
    assert stack.containers(run_id) == []
    until(lambda: pooled(stack))


def test_a_killed_worker_leaves_neither_its_run_nor_its_pool_behind(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    until(lambda: pooled(stack))
    run_id = stack.detached(script("echo one > one.txt", "sleep 4", MEND, SUBMIT), repo)
    until(lambda: "sleep 4" in stack.door.show(run_id).view.doing)
    until(lambda: len(pooled(stack)) == 2)
    before = pooled(stack)
    os.kill(stack.door.workers()[0].pid, signal.SIGKILL)
    assert stack("wait", run_id).returncode == 0
    view = stack.door.show(run_id).view
    assert (view.outcome, view.attempt) == (Outcome.SUCCEEDED, 2)
    until(lambda: not before & (pooled(stack) | pooled(stack, "exited")))
    until(lambda: pooled(stack))


def test_a_killed_pool_costs_a_cold_start_and_the_keeper_removes_what_it_had(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    ahead = until(lambda: pooled(stack))
    for pid in pools(stack.door.workers()[0].pid):
        os.kill(pid, signal.SIGKILL)
    run_id = stack.detached(script("sleep 1", MEND, SUBMIT), repo)
    assert stack("wait", run_id).returncode == 0
    assert not set(used(stack, run_id)) & ahead
    until(lambda: not ahead & (pooled(stack) | pooled(stack, "exited")))
    until(lambda: pooled(stack))


def pools(worker: int) -> list[int]:
    """Return the processes behind a worker's pool."""
    with open(f"/proc/{worker}/task/{worker}/children") as children:  # noqa: PTH123  # No path of ours.
        found = [int(pid) for pid in children.read().split()]
    names = {}
    for pid in found:
        with open(f"/proc/{pid}/cmdline", "rb") as line:  # noqa: PTH123  # As above.
            names[pid] = line.read()
    return [pid for pid, name in names.items() if b"sandbox.warming" in name]
