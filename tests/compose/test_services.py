"""The services of compose.yaml, as a team would run them: real containers, real signals, real runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from orchestrator.journal import presence
from orchestrator.journal.connection import connect, ping, redis_url
from orchestrator.queue import DREAM_QUEUE, ENTRY_POINT, call
from orchestrator.runs import Outcome
from orchestrator.schedule import DreamState, Schedule, last_dreams
from orchestrator.stack.service_image import RECIPE_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Services

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
KINDS = ("worker", "keeper", "dream")


def steps_of(services: Services, run_id: str) -> list[int]:
    return [event.body.step for event in services.door.events(run_id) if event.body.type == "checkpointed"]


def living(services: Services, kind: str) -> list[presence.Presence]:
    with connect(redis_url(services.settings)) as client:
        return presence.alive(client, kind)


def kill(container: Any) -> None:
    """Kill a container's main process, and wait until the engine has started it again."""
    before, deadline = container.attrs["RestartCount"], time.monotonic() + 40
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    while not (container.attrs["RestartCount"] > before and container.attrs["State"]["Running"]):
        assert time.monotonic() < deadline, "it wasn't started again within 40 s"
        time.sleep(0.05)
        container.reload()


def test_run_uses_the_services_and_starts_nothing_of_its_own(
    services: Services, repo: Path, script: Callable[..., Path]
) -> None:
    path = script("rm README.md; mkdir new; echo one > new/file", MEND, SUBMIT)
    done = services("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "started" not in done.stderr
    assert not (services.settings.runtime_dir / "supervisor.json").exists()
    diff = services("diff", "@", cwd=repo).stdout
    assert "deleted file" in diff
    assert "+one" in diff
    assert services("apply", "@", cwd=repo).returncode == 0


def test_a_worker_stopped_in_the_middle_of_a_step_releases_its_run(
    services: Services, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = services.detached(script("echo one > one.txt", "sleep 4; echo two >> two.txt", MEND, SUBMIT), repo)
    until(lambda: "sleep 4" in services.door.show(run_id).view.doing)
    services.compose("stop", "worker")
    lost = [event.body for event in services.door.events(run_id) if event.body.type == "attempt_lost"]
    assert [body.to_blame for body in lost] == [False]
    assert lost[0].reason == "the worker was shut down"
    assert services.containers(run_id) == []
    services.compose("start", "worker")
    assert services("wait", run_id).returncode == 0
    assert steps_of(services, run_id) == [1, 2, 3, 4]
    assert services.door.diff(run_id).decode().count("+two") == 1
    assert services.door.audit(run_id).check.ok


@pytest.mark.parametrize("service", KINDS)
def test_a_killed_service_is_started_again(services: Services, until: Any, service: str) -> None:
    kill(services.containers_of(service)[0])
    until(lambda: len(living(services, service)) == 1)


def test_a_worker_killed_in_the_middle_of_a_step_is_replaced_and_leaves_nothing(
    services: Services, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = services.detached(script("echo one > one.txt", "sleep 3; echo two >> two.txt", MEND, SUBMIT), repo)
    until(lambda: "sleep 3" in services.door.show(run_id).view.doing)
    rooms = services.settings.state_dir / "workspaces" / "open"
    killed = set(rooms.iterdir())  # The run's, and what the worker had started ahead.
    kill(services.containers_of("worker")[0])
    assert services("wait", run_id).returncode == 0
    assert services.door.show(run_id).view.attempt == 2
    assert steps_of(services, run_id) == [1, 2, 3, 4]
    until(lambda: services.containers(run_id) == [] and not killed & set(rooms.iterdir()))


def test_a_redis_that_restarts_loses_nothing(
    services: Services, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = services.detached(script(*[f"echo {n} >> log.txt; sleep 0.3" for n in range(12)], MEND, SUBMIT), repo)
    until(lambda: services.door.show(run_id).view.step >= 2)
    services.compose("restart", "redis")
    until(lambda: ping(redis_url(services.settings)))
    kill(services.containers_of("redis")[0])
    until(lambda: ping(redis_url(services.settings)))
    assert services("wait", run_id).returncode == 0
    assert steps_of(services, run_id) == list(range(1, 15))
    assert services.door.audit(run_id).check.ok


def test_redis_runs_as_the_owner_of_the_state_and_listens_to_nobody_else(services: Services) -> None:
    container = services.containers_of("redis")[0]
    processes = container.top(ps_args="-eo pid,uid,args")["Processes"]
    assert [uid for _, uid, command in processes if "valkey-server" in command] == ["65534"]
    socket = services.settings.state_dir / "run" / "redis.sock"
    assert (socket.stat().st_uid, socket.stat().st_mode & 0o777) == (65534, 0o600)
    assert container.attrs["HostConfig"]["NetworkMode"] == "none"


def test_a_second_redis_on_the_same_state_is_refused(services: Services, tmp_path: Path) -> None:
    environ = services.environ | {"DREAMDOCK_RUNTIME_DIR": str(tmp_path / "run")}
    again = [sys.executable, "-m", "orchestrator.stack.redis_server"]
    done = subprocess.run(again, env=environ, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 5
    assert "error: another Redis runs on this folder" in done.stderr


def test_a_dream_worker_runs_nothing_and_is_not_counted(
    services: Services, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = services.detached(script(MEND, SUBMIT), repo)
    assert services("wait", run_id).returncode == 0
    entries = {f"{run_id}-a1": call(ENTRY_POINT, f"{run_id}-a1"), "evil": call("os.getcwd", "evil")}
    with connect(redis_url(services.settings)) as client:
        for job_id, data in entries.items():
            client.hset(f"rq:job:{job_id}", mapping={"data": data, "status": "queued", "origin": DREAM_QUEUE})
            client.rpush(f"rq:queue:{DREAM_QUEUE}", job_id)
        for job_id in entries:
            until(lambda job_id=job_id: client.zscore(f"rq:failed:{DREAM_QUEUE}", job_id) is not None)
    assert services.door.show(run_id).view.outcome is Outcome.SUCCEEDED
    assert {one.kind for one in services.door.workers()} == {"worker"}
    assert len(living(services, "dream")) == 1


def test_a_dream_is_carried_by_its_service(
    services: Services, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = services.detached(script(MEND, SUBMIT), repo)
    assert services("wait", run_id).returncode == 0
    project = services.door.show(run_id).view.spec.repo.project
    schedule = Schedule(1e-6)  # Days: a period is over at once.
    with connect(redis_url(services.settings)) as client:
        until(lambda: schedule.tick(client) or project in last_dreams(client))
        until(lambda: last_dreams(client)[project].state not in {DreamState.QUEUED, DreamState.RUNNING})
        last = last_dreams(client)[project]
    assert last.state is DreamState.DONE, last.why
    assert "added" in last.why
    told = services("memory", "list", "--json", cwd=repo)
    assert told.returncode == 0, told.stderr


def test_workers_can_be_scaled(services: Services, until: Any) -> None:
    services.compose("up", "-d", "--scale", "worker=3")
    until(lambda: len({one.name for one in services.door.workers()}) == 3)
    services.compose("up", "-d", "--scale", "worker=1")
    until(lambda: len(services.door.workers()) == 1)


def test_every_service_is_healthy_and_none_has_more_than_it_needs(services: Services, until: Any) -> None:
    for name in ("redis", *KINDS):
        container = services.containers_of(name)[0]
        until(lambda container=container: container.reload() or container.health == "healthy")
        host = container.attrs["HostConfig"]
        assert not host["Privileged"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges:true" in host["SecurityOpt"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        mounts = name != "redis"
        assert ("SYS_ADMIN" in host["CapAdd"]) == mounts
        assert ("/var/run/docker.sock" in {mount["Source"] for mount in container.attrs["Mounts"]}) == mounts
        assert container.image.labels[RECIPE_LABEL]


def test_a_key_reaches_the_worker_by_name_and_nothing_that_the_services_keep(services: Services) -> None:
    key = services.environ["MIMO_API_KEY"]
    assert "mimo" in services.door.workers()[0].models
    assert key not in services.compose("logs")
    found = subprocess.run(["grep", "-rlF", key, services.settings.state_dir], capture_output=True, check=False)
    assert found.stdout == b""
