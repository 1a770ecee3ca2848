"""Redis hangs, dies and comes back: an attempt waits under its lease, and nothing is written twice or lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer

from orchestrator import api
from orchestrator import events as e
from orchestrator.errors import RedisAwayError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, connect, hurried, patiently, ping
from orchestrator.journal.lease import Lease, claim
from orchestrator.journal.live import Preview, Said
from orchestrator.journal.safety import dangers
from orchestrator.journal.stream import read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.runs import Outcome, RunSpec, new_run_id
from orchestrator.settings import Settings
from orchestrator.stop import Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

pytestmark = pytest.mark.needs_redis
SECONDS = 2.0


@pytest.fixture
def server() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    with RedisServer(folder) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
def own(server: RedisServer, spec: RunSpec) -> Iterator[tuple[Redis, str]]:
    """A client that waits for a second, and a run on that server."""
    with connect(server.url) as patient, hurried(patient, 1.0) as client:
        run_id = new_run_id()
        create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        yield client, run_id


def owned(client: Redis, run_id: str, stop: Stop) -> tuple[Writer, int]:
    fence = claim(client, run_id, 1, lease_seconds=SECONDS)
    assert isinstance(fence, int), fence
    return Writer(client, run_id, who="w", fence=fence, lease_seconds=SECONDS, stop=stop), fence


def refused(stop: Stop) -> None:
    with pytest.raises(Stopped):
        stop.check()


def soon(true: threading.Event) -> bool:
    return true.wait(10)


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_an_attempt_holds_while_redis_is_away_and_goes_on_under_the_same_fence(
    server: RedisServer, own: tuple[Redis, str], how: str
) -> None:
    client, run_id = own
    stop, paused, resumed = Stop(), threading.Event(), threading.Event()
    journal, fence = owned(client, run_id, stop)
    with Lease(client, run_id, fence, lease_seconds=SECONDS, stop=stop), stop.holding(paused.set, resumed.set):
        time.sleep(SECONDS)
        assert not paused.is_set()
        began = time.monotonic()
        server.hang() if how == "hangs" else server.kill()
        assert soon(paused)
        assert SECONDS * 0.2 < time.monotonic() - began <= SECONDS * 0.9, "before anybody else may own it"
        beginning = threading.Thread(target=stop.check)
        beginning.start()
        writing = threading.Thread(target=journal.append, args=(e.Prompted(text="said meanwhile"),))
        writing.start()
        time.sleep(SECONDS)  # Longer than the lease.
        assert beginning.is_alive(), "nothing more is begun"
        server.hang(hung=False) if how == "hangs" else server.start()
        assert soon(resumed)
        for thread in (beginning, writing):
            thread.join(10)
            assert not thread.is_alive()
        assert not stop.is_set
    assert [event.body.type for event in read(client, run_id)] == ["submitted", "dispatched", "prompted"]
    assert verify(client, run_id).ok


def test_a_newer_fence_ends_the_attempt_when_redis_is_back(server: RedisServer, own: tuple[Redis, str]) -> None:
    client, run_id = own
    stop, paused, ended = Stop(), threading.Event(), threading.Event()
    journal, fence = owned(client, run_id, stop)
    stop.on_set(ended.set)
    with Lease(client, run_id, fence, lease_seconds=SECONDS, stop=stop), stop.holding(paused.set, lambda: None):
        server.kill()
        assert soon(paused)
        waiting = threading.Thread(target=refused, args=(stop,))
        waiting.start()
        server.start()
        client.hincrby(keys.record(run_id), "fence", 1)
        assert soon(ended)
        waiting.join(5)
        assert not waiting.is_alive()
    assert stop.reason == "lease lost"
    assert journal.view.attempt == 1


@pytest.mark.parametrize("operation", ["none", "finish"])
def test_what_redis_took_although_its_answer_got_lost_is_not_written_again(
    server: RedisServer, own: tuple[Redis, str], operation: str
) -> None:
    client, run_id = own
    journal, _ = owned(client, run_id, Stop())
    name = journal.blob(b"a patch")
    body = e.Finished(outcome=Outcome.FAILED, patch=name) if operation == "finish" else e.Prompted(text="once")
    server.hang()  # The script waits in its socket, and runs when it's back; the answer goes nowhere.
    writing = threading.Thread(target=journal.append, args=(body,), kwargs={"operation": operation})
    writing.start()
    time.sleep(1.5)
    server.hang(hung=False)
    writing.join(10)
    assert not writing.is_alive()
    assert [event.body.type for event in read(client, run_id)] == ["submitted", "dispatched", body.type]
    assert journal.head == verify(client, run_id).head
    assert client.hget(keys.blobs(run_id), name) is not None
    assert verify(client, run_id).ok


def test_without_a_stop_an_append_says_that_redis_is_away(server: RedisServer, own: tuple[Redis, str]) -> None:
    client, run_id = own
    journal = Writer(client, run_id, who="ann")
    server.kill()
    with pytest.raises(RedisAwayError):
        journal.append(e.Steered(text="hello"))


def test_an_attempt_that_has_to_end_waits_for_no_redis(server: RedisServer, own: tuple[Redis, str]) -> None:
    client, run_id = own
    stop = Stop()
    journal, _ = owned(client, run_id, stop)
    server.kill()
    stop.set("the worker was shut down")
    with pytest.raises(RedisAwayError):
        journal.append(e.Prompted(text="x"))


def test_an_attempt_that_lost_its_lease_writes_nothing_not_even_a_blob(own: tuple[Redis, str]) -> None:
    client, run_id = own
    journal, fence = owned(client, run_id, Stop())
    client.hincrby(keys.record(run_id), "fence", 1)
    journal.blob(b"a patch")
    with pytest.raises(Exception, match="another attempt owns"):
        journal.append(e.Prompted(text="x"))
    assert client.hlen(keys.blobs(run_id)) == 0
    assert Scripts(client)("renew", [keys.record(run_id)], [fence, 1000]) == "FENCED"


def is_followed(client: Redis) -> None:
    deadline = time.monotonic() + 20
    while not any(other["cmd"] == "xread" for other in client.client_list()):
        assert time.monotonic() < deadline, "nobody follows the run"
        time.sleep(0.02)


def test_who_follows_a_run_waits_for_redis_and_goes_on_where_it_was(
    server: RedisServer, own: tuple[Redis, str], tmp_path: Path
) -> None:
    client, run_id = own
    journal, fence = owned(client, run_id, Stop())
    preview = Preview(client, run_id, (), fence=fence)
    preview.begin(1)
    preview.said("text", "Let me see.")
    preview.flush()
    door = api.connect(Settings(redis_url=server.url, state_dir=tmp_path / "state", runtime_dir=tmp_path / "run"))
    told, heard = list[str](), list[object]()
    follower = threading.Thread(target=lambda: heard.extend(door.listen(run_id, away=lambda: told.append("away"))))
    follower.start()
    is_followed(client)
    server.kill()
    time.sleep(1.2)
    server.start()
    journal.append(e.Finished(outcome=Outcome.FAILED), operation="finish")
    follower.join(20)
    assert not follower.is_alive()
    assert told == ["away"]
    kinds = ["said" if isinstance(item, Said) else item.body.type for item in heard if isinstance(item, Said | e.Event)]
    assert sorted(kinds) == ["dispatched", "finished", "said", "submitted"], "each once"
    door.close()


@pytest.mark.parametrize("command", [("logs", "-f"), ("wait",)])
def test_commands_that_follow_a_run_say_once_that_redis_is_away(
    server: RedisServer, own: tuple[Redis, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    client, run_id = own
    journal, _ = owned(client, run_id, Stop())
    settings = {"DREAMDOCK_REDIS_URL": server.url, "DREAMDOCK_STATE_DIR": str(tmp_path / "state")}
    argv = [sys.executable, "-m", "orchestrator.cli", *command, run_id]
    with subprocess.Popen(
        argv, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            is_followed(client)
            server.kill()
            time.sleep(1.2)
            server.start()
            journal.append(e.Finished(outcome=Outcome.FAILED), operation="finish")
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (0 if command[0] == "logs" else 1, "Redis is away; waiting for it\n")
    assert "failed" in out


def test_a_redis_that_stays_away_is_an_error_in_the_end(server: RedisServer) -> None:
    told = list[str]()
    with connect(server.url) as client:
        server.kill()
        with pytest.raises(RedisAwayError):
            patiently(lambda: next(read(client, "0" * 12), None), lambda: told.append("away"), seconds=0.6)
        assert told == ["away"]
        with pytest.raises(RedisAwayError):
            patiently(lambda: next(read(client, "0" * 12), None), None)
    assert not ping(server.url)


def test_times_are_those_of_redis_wherever_they_are_written(own: tuple[Redis, str]) -> None:
    client, run_id = own
    journal = Writer(client, run_id, who="ann")
    seconds, micros = client.time()
    assert abs(journal.now.timestamp() - (seconds + micros / 1e6)) < 0.2


def test_a_redis_that_would_lose_things_is_told_of(own: tuple[Redis, str]) -> None:
    client, _ = own
    assert dangers(client) == []
    client.config_set("appendonly", "no")
    client.config_set("maxmemory-policy", "allkeys-lru")
    persistence, eviction = dangers(client)
    assert "append-only file is off" in persistence
    assert "allkeys-lru" in eviction
    assert "CONFIG SET maxmemory-policy noeviction" in eviction
