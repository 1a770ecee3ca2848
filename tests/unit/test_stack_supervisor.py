from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UnavailableError
from orchestrator.journal.connection import connect, redis_url
from orchestrator.settings import DreamSettings, Settings
from orchestrator.stack.child import LONGEST_DELAY_SECONDS, STEADY_SECONDS, Backoff
from orchestrator.stack.identity import Identity
from orchestrator.stack.status import Status
from orchestrator.stack.supervisor import programs
from orchestrator.stack.up import ensure_up, is_up, take_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The real supervisor and the real Redis, with a keeper and a worker that only say that they are alive.
SUPERVISOR = """
import os, sys
from orchestrator import settings as room
from orchestrator.stack.child import Program
from orchestrator.stack.supervisor import Supervisor, programs
settings = room.load()
owner = (os.getuid(), os.getgid())
redis = programs(settings, owner)[:1]
wait = (
    "import os, platform, signal, sys, threading\\n"
    "from orchestrator.journal.connection import connect, redis_url\\n"
    "from orchestrator.journal.presence import Beat, Presence\\n"
    "from orchestrator.settings import load\\n"
    "ended = threading.Event()\\n"
    "signal.signal(15, lambda *_: ended.set())\\n"
    "me = Presence(kind=sys.argv[1], name=str(os.getpid()), host=platform.node(), pid=os.getpid(), version='0')\\n"
    "with connect(redis_url(load())) as client, Beat(client, me):\\n"
    "    ended.wait()\\n"
)
kinds = {"keeper": "keeper", "worker-1": "worker"}
others = tuple(Program(name=name, argv=(sys.executable, "-c", wait, kind)) for name, kind in kinds.items())
Supervisor(redis + others, state_dir=settings.state_dir, runtime_dir=settings.runtime_dir, owner=owner).run()
"""
COMMAND = (sys.executable, "-c", SUPERVISOR)


class Lines:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        self.lines.append(text)
        yield lambda _: None

    def ask(self, question: str) -> bool:
        self.lines.append(question)
        return True


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    values = Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run", workers=1)
    yield values
    take_down(values)


def status_of(settings: Settings) -> Status:
    status = Status.read(settings.runtime_dir)
    assert status is not None
    return status


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.02)


def test_the_wait_between_starts_doubles_up_to_a_cap_and_is_forgotten_by_a_steady_child() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.0) for _ in range(12)]
    assert waits[:3] == [0.1, 0.2, 0.4]
    assert waits[-1] == LONGEST_DELAY_SECONDS
    assert backoff.after(STEADY_SECONDS) == 0.1


def test_an_identity_is_not_fooled_by_a_pid_that_was_given_away() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        identity = Identity.of(child.pid)
        assert identity is not None
        assert identity.is_alive()
        impostor = Identity(pid=child.pid, started=identity.started - 1, boot=identity.boot)
        assert not impostor.is_alive()
        impostor.kill(signal.SIGKILL)
        assert identity.is_alive()
        identity.kill(signal.SIGKILL)
        assert identity.wait_gone(5.0), "a zombie counts as gone"
    finally:
        child.kill()
        child.wait()


def test_one_worker_is_for_dreams_unless_they_are_turned_off(settings: Settings) -> None:
    theirs = settings.model_copy(update={"redis_url": "redis://nowhere"})
    started = {program.name: program.argv[1:] for program in programs(theirs, (0, 0))}
    assert started == {"keeper": ("keeper",), "worker-1": ("worker",), "dream": ("worker", "--queue", "dream")}
    off = theirs.model_copy(update={"dream": DreamSettings(days=0)})
    assert [program.name for program in programs(off, (0, 0))] == ["keeper", "worker-1"]


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_up_twice_starts_once_and_down_leaves_nothing(settings: Settings) -> None:
    told = Lines()
    assert ensure_up(settings, told, supervisor=COMMAND)
    assert told.lines == ["started Redis, the keeper, 1 worker and the dream worker; dreamdock down stops them"]
    first = status_of(settings)
    assert set(first.children) == {"redis", "keeper", "worker-1"}
    began = time.monotonic()
    assert not ensure_up(settings, told, supervisor=COMMAND)
    assert time.monotonic() - began < 0.2
    assert status_of(settings) == first
    assert len(told.lines) == 1

    assert take_down(settings)
    assert not any(process.is_alive() for process in (first.supervisor, *first.children.values()))
    assert {path.name for path in settings.runtime_dir.iterdir()} == {"stack.lock", "supervisor.lock"}
    assert not take_down(settings)
    ended = (settings.state_dir / "logs" / "supervisor.log").read_text()
    assert ended.rstrip().endswith("stopped")
    worker, redis = ((settings.state_dir / "logs" / f"{name}.log").stat().st_mtime_ns for name in ("worker-1", "redis"))
    assert worker < redis, "Redis is stopped last"


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_many_ups_at_once_start_one_stack(settings: Settings) -> None:
    told = Lines()
    threads = [
        threading.Thread(target=ensure_up, args=(settings, told), kwargs={"supervisor": COMMAND}) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told.lines) == 1
    running = subprocess.run(["pgrep", "-f", str(settings.runtime_dir)], capture_output=True, text=True, check=True)
    assert len(running.stdout.split()) == 1, "one Redis on this directory"


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_killed_redis_comes_back_with_its_data_and_data_survives_down(settings: Settings) -> None:
    ensure_up(settings, Lines(), supervisor=COMMAND)
    with connect(redis_url(settings)) as client:
        for number in range(500):
            client.rpush("kept", number)
    before = status_of(settings).children["redis"]
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: is_up(settings) and status_of(settings).children.get("redis") not in {None, before})
    with connect(redis_url(settings)) as client:
        assert client.llen("kept") == 500
        client.rpush("kept", "last")
    take_down(settings)
    ensure_up(settings, Lines(), supervisor=COMMAND)
    with connect(redis_url(settings)) as client:
        assert client.llen("kept") == 501


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_a_killed_worker_is_started_again(settings: Settings) -> None:
    ensure_up(settings, Lines(), supervisor=COMMAND)
    before = status_of(settings).children["worker-1"]
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: status_of(settings).children.get("worker-1") not in {None, before})
    assert status_of(settings).children["redis"].is_alive()
    assert "exit code -9" in (settings.state_dir / "logs" / "worker-1.log").read_text()


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_a_killed_supervisor_takes_its_children_along_and_up_starts_anew(settings: Settings) -> None:
    ensure_up(settings, Lines(), supervisor=COMMAND)
    with connect(redis_url(settings)) as client:
        client.set("kept", 1)
    first = status_of(settings)
    os.kill(first.supervisor.pid, signal.SIGKILL)
    assert all(process.wait_gone(5.0) for process in (first.supervisor, *first.children.values()))
    assert not is_up(settings)
    assert ensure_up(settings, Lines(), supervisor=COMMAND)
    with connect(redis_url(settings)) as client:
        assert client.get("kept") == b"1"


@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_a_stale_status_file_is_neither_believed_nor_its_pid_killed(settings: Settings) -> None:
    settings.runtime_dir.mkdir(parents=True)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        identity = Identity.of(bystander.pid)
        assert identity is not None
        old = Identity(pid=identity.pid, started=identity.started - 100, boot=identity.boot)
        Status(supervisor=old, children={}, ready=True).write(settings.runtime_dir)
        assert not is_up(settings)
        assert not take_down(settings)
        assert identity.is_alive()
        Status.path(settings.runtime_dir).write_text("{ half a fi")
        assert not take_down(settings)
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_a_supervisor_that_cannot_start_is_reported_with_its_reason(settings: Settings) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('no such setting')")
    with pytest.raises(UnavailableError) as caught:
        ensure_up(settings, Lines(), supervisor=failing)
    assert caught.value.cause == "no such setting"
    assert str(settings.state_dir / "logs") in caught.value.hint


@pytest.mark.needs_engine
@pytest.mark.needs_redis
@pytest.mark.needs_root
def test_workers_that_cannot_start_are_reported_and_half_a_stack_is_not_left(settings: Settings) -> None:
    more = settings.model_copy(update={"workers": 2})
    broken = COMMAND[2].replace('"worker-1": "worker"', '"worker-1": "worker", "worker-2": "worker"')
    broken = broken.replace("me = ", "sys.argv[1] == 'worker' and sys.exit('cause: no such module'); me = ")
    with pytest.raises(UnavailableError, match=r"worker-[12].* can't start") as caught:
        ensure_up(more, Lines(), supervisor=(*COMMAND[:2], broken))
    assert caught.value.cause == "no such module"
    assert Status.read(settings.runtime_dir) is None
    assert [path.name for path in settings.runtime_dir.glob("*.sock")] == []


def test_a_configured_redis_that_is_down_is_an_error_and_nothing_is_started(tmp_path: Path) -> None:
    settings = Settings(redis_url=f"unix://{tmp_path}/none.sock", state_dir=tmp_path / "s", runtime_dir=tmp_path / "r")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.stack"],
        env={
            **os.environ,
            "DREAMDOCK_REDIS_URL": str(settings.redis_url),
            "DREAMDOCK_STATE_DIR": str(settings.state_dir),
            "DREAMDOCK_RUNTIME_DIR": str(settings.runtime_dir),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert json.loads(done.stdout)["message"] == "the configured Redis doesn't answer"
    assert Status.read(settings.runtime_dir) is None
