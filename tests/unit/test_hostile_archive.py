"""Events and archives by whoever may write to Redis: bounded, checked, and refused in words."""

from __future__ import annotations

import hashlib
import lzma
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from journals import Carried, carried, rechained, rewrite, stored

from orchestrator.errors import JournalError, LimitError
from orchestrator.events import Submitted
from orchestrator.journal import archive, keys, packing
from orchestrator.journal.packing import MOST_EVENT_BYTES, MOST_RUN_BYTES
from orchestrator.journal.stream import blob, chain, entries, genesis, read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, seal
from orchestrator.steering import More, Steering

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec

pytestmark = pytest.mark.needs_redis
MB = 1 << 20
FILTERS = packing._FILTERS


@pytest.fixture
def run(client: Redis, run_id: str, tmp_path: Path) -> Carried:
    return carried(client, run_id, tmp_path, steps=3)


def made(body: bytes) -> bytes:
    """Return a piece of this body, with the check that anybody can compute."""
    return b"DDJ2" + hashlib.sha256(body).digest()[:8] + body


def body(first: int, count: int, signed: int, blobs: int, text: bytes) -> bytes:
    head = struct.pack(">4I", first, count, signed, blobs)
    packed = lzma.compress(text, format=lzma.FORMAT_RAW, filters=FILTERS)
    return head + bytes(2 * min(count, 1000)) + bytes(64 * min(signed, 1000)) + packed


def test_an_event_that_unpacks_to_too_much_is_named_and_takes_no_memory(client: Redis, run: Carried) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(MB)) for _ in range(400)) + packer.flush()
    held = stored(client, run.run)
    client.xadd(keys.stream(run.run), {"z": bomb, "h": b"?" * 32}, id=f"{len(held) + 1}-0")
    tracemalloc.start()
    with pytest.raises(JournalError) as caught:
        list(read(client, run.run))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"event {len(held) + 1} " in caught.value.cause
    assert peak < 3 * MOST_EVENT_BYTES
    assert not verify(client, run.run).ok


def test_a_journal_that_unpacks_to_too_much_in_all_is_refused_on_the_way(client: Redis, run: Carried) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    large = packer.compress(bytes(MOST_EVENT_BYTES)) + packer.flush()
    start = len(stored(client, run.run)) + 1
    for number in range(start, start + MOST_RUN_BYTES // MOST_EVENT_BYTES + 2):
        client.xadd(keys.stream(run.run), {"z": large, "h": b"?" * 32}, id=f"{number}-0")
    with pytest.raises(JournalError, match="isn't as it was written") as caught:
        sum(1 for _ in entries(client, run.run))
    assert "unpacks to more than a run can have" in caught.value.cause


def test_nothing_is_written_that_no_reader_would_take(client: Redis, run_id: str, spec: RunSpec) -> None:
    writer = Writer(client, run_id, who="ann")
    huge = spec.model_copy(update={"script": "x" * (MOST_EVENT_BYTES + 1)})
    with pytest.raises(LimitError) as caught:
        seal(1, Submitted(spec=huge), at=writer.now, who="ann")
    assert "submitted" in caught.value.cause


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b"DDJ2",
        made(b""),
        made(b"\xff" * 16),
        made(body(1, 0, 0, 0, b"")),
        made(body(2, 1, 0, 0, b"{}\n")),
        made(body(1, 1, 0, 0, b"{}")),
        made(body(1, 1, 0, 0, b"")),
        made(body(1, 2, 0, 0, b"{}\n")),
        made(body(1, 1, 1, 0, b"{}\n")),
        made(body(1, 1, 0, 1, b"\xff\xff\xff\xff{}\n")),
        made(body(1, 2**32 - 1, 0, 0, b"{}\n")),
        made(body(1, 1, 2**32 - 1, 0, b"{}\n")),
        made(body(1, 1, 0, 2**32 - 1, b"{}\n")),
        made(body(1, 1, 0, 0, b"{}\n") + b"more"),
        made(body(1, 1, 0, 0, b"{}\n")[:-4]),
        made(struct.pack(">4I", 1, 1, 0, 0) + bytes(2) + b"no lzma at all"),
    ],
)
def test_a_hostile_piece_is_refused_in_words(client: Redis, run: Carried, piece: bytes) -> None:
    assert archive.archive(client, run.run)
    client.delete(keys.archive(run.run))
    client.rpush(keys.archive(run.run), piece)
    for reading in (lambda: list(read(client, run.run)), lambda: verify(client, run.run)):
        with pytest.raises(JournalError, match=f"the archive of run {run.run} can't be read"):
            reading()


def test_a_piece_that_unpacks_to_too_much_takes_no_memory() -> None:
    text = b"x" * (MOST_RUN_BYTES + MB)
    bomb = made(body(1, 1, 0, 0, text))
    del text
    assert len(bomb) < MB
    tracemalloc.start()
    with pytest.raises(ValueError, match="256 MB"):
        packing.piece(bomb, 1, genesis("r"), chain)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * MOST_RUN_BYTES


def test_a_blob_that_unpacks_to_too_much_is_refused(client: Redis, run: Carried) -> None:
    name = f"sha256:{hashlib.sha256(bytes(100 * MB)).hexdigest()}"
    client.hset(keys.blobs(run.run), name, zlib.compress(bytes(100 * MB), 9))
    with pytest.raises(JournalError, match="missing or altered"):
        blob(client, run.run, name)


def test_what_an_archive_could_not_give_back_is_not_archived(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, [*held[:-1], held[-1]._replace(signature="no signature")])
    assert archive.tidy(client, archive_days=0) == []
    assert stored(client, run.run)[-1].signature == "no signature"
    assert client.zscore(keys.FINISHED, run.run) is None, "it holds up no other"


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("rehashed", [False, True])
def test_a_retry_of_an_altered_journal_says_that_it_was_altered(
    client: Redis, run: Carried, *, archived: bool, rehashed: bool
) -> None:
    held = stored(client, run.run)
    if archived:
        archive.archive(client, run.run)
    changed = [one._replace(data=one.data.replace(b"echo 1", b"echo 9")) for one in held]
    changed = rechained(run.run, changed) if rehashed else changed
    if archived:
        client.delete(keys.archive(run.run))
        client.rpush(keys.archive(run.run), *packing.pieces([packing.Line(*one[1:4]) for one in changed], []))
    else:
        rewrite(client, run.run, changed)
    with pytest.raises(JournalError, match="isn't as it was written"):
        Steering(client, "ann").retry(run.run, More(), message="go on")
    assert not verify(client, run.run).ok


def test_what_is_no_run_or_damaged_holds_up_neither_archiving_nor_giving_up(client: Redis, run: Carried) -> None:
    for place in (keys.FINISHED, keys.ARCHIVED):
        client.zadd(place, {f"garbage{number}\n": 0 for number in range(60)} | {b"\xff": 0, "a" * 12: 0, "b" * 12: 0})
    client.set(keys.record("b" * 12), "of a wrong type")
    assert [archive.tidy(client, archive_days=0) for _ in range(2)] == [[], [run.run]]
    found = [archive.expire(client, keep_days=1e-9) for _ in range(2)]
    assert found == [[], [run.run]]
