"""Who dreams of a project, across hosts: one at a time, lost with Redis, given back by its owner alone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UnavailableError
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts
from orchestrator.journal.dreams import held, note, seen

if TYPE_CHECKING:
    from redis import Redis

PROJECT = "0123456789ab"


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
