"""Two that believe they own the same run, and a run that for a moment nobody owns."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from disturbed import LEASE_S

from benchmarks.stack import COMMAND
from orchestrator.journal import keys
from orchestrator.journal.connection import connect, redis_url
from orchestrator.runs import State
from orchestrator.standing import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from disturbed import Disturbed

    Opened = Callable[..., AbstractContextManager[Disturbed]]

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_a_worker_that_is_stopped_for_longer_than_its_lease(disturbed: Opened) -> None:
    with disturbed(DREAMDOCK_WORKERS="2", DREAMDOCK_WARM="0") as run:
        horse = run.horse()
        stopped = [run.worker(), horse]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        run.until(lambda: run.horse() != horse)
        time.sleep(run.random.uniform(0, 1))
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        run.until(lambda: not os.path.exists(f"/proc/{horse}"))  # noqa: PTH110  # No file of ours.
    assert run.final.attempt == 2, "the first wrote nothing more"


def test_two_keepers_that_find_the_same_dead_worker(disturbed: Opened) -> None:
    with disturbed(begun=False) as run, keeper(run) as second:
        time.sleep(LEASE_S + 1)  # Until then it judges nobody.
        run.begin()
        run.reach_a_step()
        keepers = [run.child("keeper"), second.pid]
        for pid in keepers:
            os.kill(pid, signal.SIGSTOP)
        os.kill(run.worker(), signal.SIGKILL)
        time.sleep(LEASE_S + 1)
        for pid in keepers:
            os.kill(pid, signal.SIGCONT)
    assert run.final.attempt == 2, "one of them handed it over"


@contextmanager
def keeper(run: Disturbed) -> Iterator[subprocess.Popen[bytes]]:
    """Have another keeper while the block runs."""
    with subprocess.Popen([COMMAND, "keeper"], env=run.stack.environ, stderr=subprocess.DEVNULL) as process:
        yield process
        run.until(run.is_over)
        process.terminate()


def test_a_worker_that_dies_between_popping_a_job_and_claiming_its_run(disturbed: Opened, seed: int) -> None:
    with disturbed(begun=False) as run, connect(redis_url(run.stack.settings)) as client:
        worker = run.child("worker-1")
        run.until(lambda: any(one["cmd"] == "blmove" for one in client.client_list()))
        os.kill(worker, signal.SIGSTOP)  # Redis hands it the job all the same.
        run.begin()
        queue = f"{keys.RQ_QUEUE}{workers(client)[0].presence.name}"
        run.until(lambda: client.exists(keys.HELD) and not client.exists(queue))
        if seed % 2 == 0:
            os.kill(worker, signal.SIGCONT)
            time.sleep(run.random.uniform(0, 0.1))
        else:
            assert run.view.state is State.QUEUED
        os.kill(worker, signal.SIGKILL)
    assert run.final.attempt <= 2, "what was never claimed is put back as it was"
