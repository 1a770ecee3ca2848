"""Who dreams of a project, across hosts: one at a time, lost with Redis, given back by its owner alone."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis_server import RedisServer

from orchestrator.errors import UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, connect
from orchestrator.journal.dreams import held, note, seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

PROJECT = "0123456789ab"


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_at_a_time(client: Redis) -> None:
    with held(client, PROJECT) as mine:
        assert mine.owns()
        with pytest.raises(UnavailableError, match="somebody else") as refused, held(client, PROJECT):
            pass
        assert refused.value.exit_code == 5
        assert "process" in refused.value.cause
        with held(client, "ba9876543210") as other:
            assert other.owns()
    with held(client, PROJECT) as again:
        assert again.owns()


def test_it_is_renewed_for_as_long_as_it_is_held(client: Redis) -> None:
    with held(client, PROJECT, 1.0) as mine:
        time.sleep(1.5)
        assert mine.owns()
        with pytest.raises(UnavailableError), held(client, PROJECT):
            pass


def test_what_another_took_is_lost_and_is_not_given_back(client: Redis) -> None:
    with held(client, PROJECT, 1.0) as mine:
        client.hdel(keys.DREAMING, PROJECT)  # As a fail-over to a replica that never heard of it.
        with held(client, PROJECT) as theirs:
            time.sleep(0.6)
            assert not mine.owns()
            mine.end()
            assert client.hexists(keys.DREAMING, PROJECT)
            assert theirs.owns()


def test_the_lock_of_one_that_was_killed_goes_with_its_lease(client: Redis) -> None:
    assert Scripts(client)("dream_hold", [], [PROJECT, "token", "a host", 200, "0"]) == "OK"  # And nobody renews it.
    with pytest.raises(UnavailableError), held(client, PROJECT):
        pass
    time.sleep(0.3)
    with held(client, PROJECT) as mine:
        assert mine.owns()


def test_while_redis_hangs_it_is_not_ours_and_is_again_where_nobody_took_it() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    with RedisServer(folder) as server, connect(server.url) as client, held(client, PROJECT, 1.0) as mine:
        server.hang()
        time.sleep(1.0)
        assert not mine.owns(), "somebody else may have it from now on"
        server.hang(hung=False)
        wait_until(mine.owns)
        server.hang()
        time.sleep(1.1)
        server.hang(hung=False)
        client.hdel(keys.DREAMING, PROJECT)
        time.sleep(0.6)
        assert not mine.owns()
    shutil.rmtree(folder)


def test_garbage_in_its_place_is_nobody(client: Redis) -> None:
    client.hset(keys.DREAMING, PROJECT, '{"until": "soon", "token": []}')
    with held(client, PROJECT) as mine:
        assert mine.owns()


def test_until_when_runs_were_looked_at_only_goes_forward(client: Redis) -> None:
    assert seen(client, PROJECT) == 0
    note(client, PROJECT, 1_764_000_000_123)
    note(client, PROJECT, 1_700_000_000_000)
    assert seen(client, PROJECT) == 1_764_000_000_123
    client.hset(keys.DREAMT, PROJECT, "garbage")
    assert seen(client, PROJECT) == 0
    note(client, PROJECT, 5)
    assert seen(client, PROJECT) == 5
