from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import index, keys

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis


def test_what_is_no_run_stops_no_listing(client: Redis, run_id: str) -> None:
    for place in (keys.RUNS, keys.LIVE, keys.PENDING):
        client.zadd(place, {b"\xff\xfe": 1, "dd:run:x:events": 2, "aaaaaaaaaaaa": 3})
    client.set(keys.record("aaaaaaaaaaaa"), "a record of the wrong type")
    assert run_id in index.pending(client)
    assert index.matching(client, run_id[:4]) == [run_id]
    for live in (True, False):
        found = index.newest(client, live=live, limit=10)
        assert set(found) == {run_id, "aaaaaaaaaaaa"}
        assert [record.view.id for record in index.records(client, found)] == [run_id]
        assert [tenure.run_id for tenure in index.tenures(client, found)] == [run_id]


@pytest.mark.parametrize("field", ["attempt", "fence", "lease_until"])
def test_a_record_with_garbage_in_it_is_left_out_and_said_to_be_damaged(client: Redis, run_id: str, field: str) -> None:
    client.hset(keys.record(run_id), field, "\x1b[31mgarbage")
    assert index.records(client, [run_id]) == []
    assert index.tenures(client, [run_id]) == []
    with pytest.raises(JournalError, match="is damaged"):
        index.record(client, run_id)


def test_a_view_of_another_name_is_folded_anew(client: Redis, run_id: str) -> None:
    view = client.hget(keys.record(run_id), "view")
    assert isinstance(view, bytes)
    client.hset(keys.record(run_id), "view", view.replace(run_id.encode(), b"\\u001b[31mEVIL"))
    assert index.record(client, run_id).view.id == run_id
