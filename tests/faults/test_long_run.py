"""A run of a thousand steps in a small window, whose worker is killed again and again: nothing of it may show."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from disturbed import parent

from benchmarks import long_runs
from benchmarks.long_runs import LEDGER, MODEL, Course, served, speaking
from benchmarks.stack import own_stack
from orchestrator.journal.connection import connect, redis_url
from orchestrator.requests import RunRequest
from orchestrator.runs import Outcome, State

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
COURSE: Final = Course("killed", steps=1000, lines=15, window=32_768, knowing=True)
KILLED_EVERY: Final = 100
LONGEST_S: Final = 240.0


@pytest.mark.timeout(2 * LONGEST_S)
def test_kill_9_of_the_worker_or_its_work_horse_every_hundred_steps(tmp_path: Path, seed: int) -> None:
    random = Random(f"long run {seed}")  # noqa: S311  # The same moments each time.
    repo = long_runs.repository(tmp_path)
    with served(COURSE.plan) as service:
        families = {MODEL.partition("/")[0]: long_runs.family(service.url, COURSE.window)}
        environ = {"DREAMDOCK_LEASE_SECONDS": "1", "DREAMDOCK_FAMILIES": json.dumps(families)}
        with own_stack(environ) as stack, connect(redis_url(stack.settings)) as client:
            limits = {"steps": float(COURSE.steps + 50)}
            asked = RunRequest(
                task=long_runs.task(COURSE.script), repo=str(repo), model=MODEL, limits=limits, judge="off"
            )
            run_id = stack.door.submit(stack.door.resolve(asked)).id
            with speaking(client, run_id, COURSE.script):
                kills = _killed_on_its_way(stack, run_id, random)
            view = stack.door.show(run_id).view
            steps = [event.body.step for event in stack.door.events(run_id) if event.body.type == "checkpointed"]
            verified = stack.door.audit(run_id).check
    record = service.last
    assert (view.outcome, view.attempt) == (Outcome.SUCCEEDED, 1 + kills), view.reason
    assert kills == COURSE.steps // KILLED_EVERY - 1
    assert steps == list(range(1, COURSE.steps + 2)), "each step was committed once"
    assert view.tree == _undisturbed(repo)
    assert verified.ok
    assert record.lost == ()
    assert len(record.asks) == len(COURSE.script.asks)
    assert [fact.text for _, fact in record.missing if fact.kind != "printed"] == []
    assert record.searched == len(record.missing)
    assert record.not_found == ()


def _killed_on_its_way(stack: Stack, run_id: str, random: Random) -> int:
    """Kill the work-horse, or the worker above it, after every hundred steps, until the run is over; return the kills.

    The moment is within the next few steps: a model that answers at once leaves hardly any time between two.
    """
    kills = 0
    deadline = time.monotonic() + LONGEST_S
    while (view := stack.door.show(run_id).view).state is not State.DONE:
        assert view.state is not State.WAITING, view.reason
        assert time.monotonic() < deadline, f"{view.label} at step {view.step}, attempt {view.attempt}"
        if view.step >= (kills + 1) * KILLED_EVERY and view.step < COURSE.steps and view.attempt == kills + 1:
            time.sleep(random.uniform(0, 0.1))
            claims = [event.body for event in stack.door.events(run_id) if event.body.type == "claimed"]
            horse = int(claims[-1].worker.rpartition(":")[2])
            os.kill(parent(horse) if kills % 3 == 2 else horse, signal.SIGKILL)
            kills += 1
        time.sleep(0.05)
    return kills


def _undisturbed(repo: Path) -> str:
    """Return the tree that all steps lead to, each done once and in its order."""
    (repo / LEDGER).write_text(COURSE.script.ledger())
    subprocess.run(["git", "-C", str(repo), "add", "-A"], check=True)
    written = subprocess.run(["git", "-C", str(repo), "write-tree"], check=True, capture_output=True, text=True)
    return written.stdout.strip()
