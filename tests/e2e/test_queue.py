"""The queue with real workers: whoever gives his worker up loses nothing."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from orchestrator.journal.connection import connect, redis_url
from orchestrator.queue import drain, resume_queue
from orchestrator.requests import RunRequest
from orchestrator.runs import Outcome, Priority, State
from orchestrator.standing import queue_state, workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
STEPS = 8
PREEMPTED_SECONDS = 5.0


def slow(stack: Stack, repo: Path, script: Callable[..., Path], priority: Priority) -> str:
    """Submit a run whose steps take a moment."""
    calls = [f"echo {number} >> log.txt; sleep 0.4" for number in range(STEPS - 2)]
    return submit(stack, repo, script(*calls, MEND, SUBMIT), priority)


def submit(stack: Stack, repo: Path, path: Path, priority: Priority) -> str:
    spec = stack.door.resolve(RunRequest(task="mend it", repo=str(repo), model=f"scripted/{path}", accept=""))
    return stack.door.submit(spec.model_copy(update={"priority": priority})).id


def whole(stack: Stack, run_id: str) -> None:
    """Look whether a run succeeded with each step once and in order."""
    view = stack.door.show(run_id).view
    assert (view.outcome, view.step) == (Outcome.SUCCEEDED, STEPS)
    steps = [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]
    assert steps == list(range(1, STEPS + 1))
    log = [line for line in stack.door.diff(run_id).decode().splitlines() if line[1:].isdigit()]
    assert log == [f"+{number}" for number in range(STEPS - 2)]
    assert stack.door.audit(run_id).check.ok


def lost(stack: Stack, run_id: str) -> list[tuple[str, bool]]:
    bodies = [event.body for event in stack.door.events(run_id)]
    return [(body.reason, body.to_blame) for body in bodies if body.type == "attempt_lost"]


def test_a_run_of_high_priority_comes_at_the_next_checkpoint_and_the_other_goes_on_after_it(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    low = slow(stack, repo, script, Priority.LOW)
    until(lambda: stack.door.show(low).view.step >= 2)
    high = submit(stack, repo, script(MEND, SUBMIT), Priority.HIGH)
    until(lambda: stack.door.show(high).view.outcome is Outcome.SUCCEEDED)
    at = {event.body.type: event.at for event in reversed(list(stack.door.events(high)))}
    assert (at["call_started"] - at["submitted"]).total_seconds() <= PREEMPTED_SECONDS
    until(lambda: stack.door.show(low).view.state is State.DONE)
    whole(stack, low)
    assert lost(stack, low) == [("pre-empted by a run of high priority", False)]
    assert lost(stack, high) == []


def test_a_host_is_drained_without_losing_a_step(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = slow(stack, repo, script, Priority.NORMAL)
    until(lambda: stack.door.show(run_id).view.step >= 2)
    with connect(redis_url(stack.settings)) as client:
        drain(client, "ann", platform.node())
        until(lambda: stack.door.show(run_id).view.attempt == 2)
        until(lambda: all(not worker.attempt for worker in workers(client)))
        waits = stack.door.show(run_id).waiting
        assert waits is not None
        assert (waits.why, waits.about) == ("draining", platform.node())
        resume_queue(client, platform.node())
        until(lambda: stack.door.show(run_id).view.state is State.DONE)
        until(lambda: not queue_state(client).held)
    whole(stack, run_id)
    assert lost(stack, run_id) == [("its host is to drain", False)]
