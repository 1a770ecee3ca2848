"""What a member does puts runs in line, and nothing on a worker's queue; who looks on needs none of RQ's keys."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator import api
from orchestrator import events as e
from orchestrator.journal import keys
from orchestrator.journal.writer import Writer
from orchestrator.runs import Outcome, RunSpec, State
from orchestrator.steering import More

if TYPE_CHECKING:
    from redis import Redis
    from redis_team import Team

pytestmark = pytest.mark.needs_redis


def in_line(admin: Redis, run_id: str) -> bool:
    """Whether a run waits for a keeper, and for nobody on RQ."""
    return admin.zscore(keys.PENDING, run_id) is not None and not list(admin.scan_iter("rq:*"))


def test_a_member_submits(member: api.Door, admin: Redis, spec: RunSpec) -> None:
    view = member.submit(spec)
    assert in_line(admin, view.id)
    assert next(iter(member.events(view.id))).who == "member"


def test_a_member_resumes_and_retries(member: api.Door, admin: Redis, queued: str) -> None:
    assert member.pause(queued).state is State.WAITING
    member.resume(queued)
    assert in_line(admin, queued)
    Writer(admin, queued, who="w").append(e.Finished(outcome=Outcome.FAILED), operation="finish")
    member.retry(queued, More(), message="once more")
    assert in_line(admin, queued)


def test_a_member_sees_his_runs(member: api.Door, queued: str) -> None:
    assert member.show(queued).view.id == queued
    assert [listed.view.id for listed in member.runs(include_done=True).runs] == [queued]


@pytest.mark.parametrize("role", ["member", "viewer"])
@pytest.mark.parametrize("command", [("ps",), ("ps", "-a"), ("show", "RUN"), ("workers",), ("queue",)])
def test_who_looks_on_is_told(team: Team, queued: str, role: str, command: tuple[str, ...]) -> None:
    words = [queued if word == "RUN" else word for word in command]
    argv = [sys.executable, "-m", "orchestrator.cli", *words]
    done = subprocess.run(argv, env=os.environ | team.environ(role), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [("pause",), ("resume",), ("drain",)])
def test_a_member_holds_the_queue_and_a_viewer_does_not(team: Team, admin: Redis, command: tuple[str, ...]) -> None:
    assert admin.ping()
    for role, code in (("member", 0), ("viewer", 6)):
        argv = [sys.executable, "-m", "orchestrator.cli", "queue", *command]
        done = subprocess.run(argv, env=os.environ | team.environ(role), capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
