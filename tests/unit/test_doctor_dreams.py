"""What doctor tells of dreams: who takes them, and how the last ones went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.journal import keys
from orchestrator.journal.index import now_ms
from orchestrator.journal.presence import Beat, Presence
from orchestrator.schedule import DreamState, LastDream
from orchestrator.settings import DreamSettings, Settings
from orchestrator.stack.dream_checks import dreams

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
PROJECT = "0123456789ab"


def put(client: Redis, project: str, state: DreamState, why: str = "") -> None:
    now = now_ms(client)
    row = LastDream(job=f"dream-{project}-1", state=state, at=now, changed=now - 3_600_000, why=why)
    client.hset(keys.DREAMS, project, row.model_dump_json())


def test_the_last_dreams_are_told_and_one_that_failed_is_wrong(client: Redis, redis_server: str) -> None:
    settings = Settings(redis_url=redis_server)
    check = dreams(settings)
    assert (check.ok, check.found) == (True, "no worker for dreams is alive; no weekly one yet")
    put(client, PROJECT, DreamState.QUEUED)
    check = dreams(settings)
    assert (check.ok, check.remedy) == (False, "dreamdock up")
    with Beat(client, Presence(kind="dream", name="d", host="h", pid=7, version="0")):
        while not (check := dreams(settings)).ok:
            pass
        put(client, PROJECT, DreamState.DONE)
        assert dreams(settings).found == "h:7; the last weekly one was 1:00:00 ago"
        off = settings.model_copy(update={"dream": DreamSettings(days=0)})
        assert dreams(off).found.startswith("off (dream.days is 0); h:7")
        put(client, "b" * 12, DreamState.FAILED, "the library is damaged")
        check = dreams(settings)
    assert not check.ok
    assert check.found == "h:7; the last one of bbbbbbbbbbbb failed 1:00:00 ago: the library is damaged"
    assert check.remedy == "dreamdock dream --project bbbbbbbbbbbb"
