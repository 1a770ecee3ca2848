"""A worker of the queue of dreams as a process: it dreams, dies in the middle, and is told to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dreaming import DECISION, Project
from git_servers import silent

from orchestrator.journal import keys
from orchestrator.queue import call
from orchestrator.schedule import DreamState, LastDream, Schedule, last_dreams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

pytestmark = pytest.mark.needs_redis
OFTEN = 1e-6
"""Days: a period is over at once."""


@pytest.fixture
def project(client: Redis, redis_server: str, tmp_path: Path) -> Project:
    found = Project(client, tmp_path, url=redis_server)
    found.run(DECISION)
    time.sleep(0.1)
    return found


@contextmanager
def worker(project: Project, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    known = {"DREAMDOCK_STATE_DIR": str(project.state), "DREAMDOCK_REDIS_URL": str(project.settings.redis_url)}
    argv = [sys.executable, "-m", "orchestrator.cli", "worker", "--queue", "dream"]
    with (project.state / "dream.log").open("ab") as log:
        process = subprocess.Popen(argv, env=os.environ | known | environ, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def until(project: Project) -> Callable[[Callable[[LastDream], bool]], LastDream]:
    """Wait until the project's last dream is so."""

    def until(so: Callable[[LastDream], bool]) -> LastDream:
        deadline = time.monotonic() + 30
        while not so(last := last_dreams(project.client)[project.id]):
            assert time.monotonic() < deadline, (last, (project.state / "dream.log").read_text())
            time.sleep(0.05)
        return last

    return until


def test_what_a_keeper_enqueues_is_dreamt_of(
    project: Project, until: Callable[[Callable[[LastDream], bool]], LastDream]
) -> None:
    Schedule(OFTEN).tick(project.client)
    with worker(project) as process:
        assert until(lambda last: last.state not in {"queued", "running"}).why == "1 added"
        assert DECISION in project.entries
        status = Path(f"/proc/{process.pid}/status").read_text()
        own_kb = int(re.search(r"RssAnon:\s+(\d+)", status)[1])  # type: ignore[index]  # It's there.
        assert own_kb < 75_000, "what only a dream needs isn't loaded by its worker"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert project.client.hlen(keys.DREAMING) == 0
    time.sleep(0.1)
    Schedule(OFTEN).tick(project.client)
    assert project.client.llen(keys.RQ_DREAMS) == 0, "everything was looked at"


def test_a_worker_killed_in_the_middle_leaves_the_library_and_the_dream_comes_again(
    project: Project, until: Callable[[Callable[[LastDream], bool]], LastDream]
) -> None:
    schedule = Schedule(OFTEN, patience_seconds=0.1)
    schedule.tick(project.client)
    with silent() as nowhere, worker(project, DREAMDOCK_LIBRARY__REMOTE=nowhere) as process:
        until(lambda last: last.state is DreamState.RUNNING and bool(project.client.hlen(keys.DREAMING)))
        time.sleep(0.3)  # It waits for the library's remote.
        process.kill()
        process.wait()
    assert project.entries == {}
    schedule.tick(project.client)
    time.sleep(0.2)
    schedule.tick(project.client)
    assert project.client.llen(keys.RQ_DREAMS) == 0, "its lease hasn't run out yet"
    project.client.hdel(keys.DREAMING, project.id)  # Now it has.
    schedule.tick(project.client)
    time.sleep(0.2)
    schedule.tick(project.client)
    with worker(project):
        last = until(lambda last: last.state is DreamState.DONE)
    assert (last.tries, last.why) == (2, "1 added")
    assert DECISION in project.entries


def test_entries_that_are_no_dreams_end_nothing(
    project: Project, until: Callable[[Callable[[LastDream], bool]], LastDream]
) -> None:
    project.client.hset("rq:job:evil", mapping={"data": call("os.getcwd", "evil"), "status": "queued"})
    project.client.rpush(keys.RQ_DREAMS, "../x", "evil", b"\xff", "dream-000000000000-1")
    Schedule(OFTEN).tick(project.client)
    with worker(project) as process:
        assert until(lambda last: last.state is DreamState.DONE).why == "1 added"
        assert process.poll() is None
