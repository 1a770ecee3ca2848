"""Journals that are archived: smaller, the same to every reader, and whole again when their run goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator import events as e
from orchestrator.api import Door
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.errors import JournalError, NotFoundError
from orchestrator.journal import archive, index, keys, packing
from orchestrator.journal.lease import claim
from orchestrator.journal.signing import Signer
from orchestrator.journal.stream import blob, chain, entries, follow, genesis, read, restore
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer
from orchestrator.runs import Outcome, State
from orchestrator.settings import Settings
from orchestrator.steering import More, Steering

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis
SIGNATURE = f"{'0a' * 8}:{'A' * 86}=="
PATCH = b"diff --git a/x b/x\n" + b"+line\n" * 50


def over(client: Redis, run_id: str, *, steps: int = 4, size: int = 600, signer: Signer | None = None) -> None:
    """Carry a run to its end."""
    fence = claim(client, run_id, 1, lease_seconds=30)
    assert isinstance(fence, int), fence
    journal = Writer(client, run_id, who="w", fence=fence, lease_seconds=30, signer=signer)
    ready = e.SandboxReady(image="i", image_id="i", container="c", tree="t", policy={})
    journal.append(e.Claimed(attempt=1, fence=fence, worker="w", host="h"), ready)
    for number in range(1, steps + 1):
        call = ToolCall(id=f"c{number}", name="bash", arguments={"command": "cat x"})
        content = "".join(f"{line}: some text of step {number}\n" for line in range(size // 25))
        patch = journal.blob(PATCH + b"%d" % number)
        journal.append(
            e.Replied(step=number, reply=Reply(calls=(call,), cost_usd=0.5)),
            e.CallStarted(step=number, call=call),
            e.CallFinished(step=number, result=ToolResult(call_id=call.id, name="bash", content=content)),
            e.Checkpointed(step=number, commit=f"c{number}", tree=f"t{number}", patch=patch),
        )
    journal.append(e.Finished(outcome=Outcome.FAILED, patch=journal.blob(PATCH)), operation="finish")


def memory(client: Redis, run_id: str) -> int:
    return sum(int(client.memory_usage(key, samples=0) or 0) for key in client.keys(f"dd:run:{run_id}*"))


def test_an_archived_journal_reads_as_before_and_is_smaller(client: Redis, run_id: str) -> None:
    over(client, run_id, steps=20)
    events, lines, before = list(read(client, run_id)), list(entries(client, run_id)), memory(client, run_id)
    record = index.record(client, run_id)
    assert archive.tidy(client, archive_days=0) == [run_id]
    assert client.exists(keys.stream(run_id), keys.blobs(run_id)) == 0
    assert memory(client, run_id) < before / 2
    assert list(read(client, run_id)) == events
    assert list(entries(client, run_id)) == lines, "bytes and hashes are the same"
    assert list(read(client, run_id, after=30)) == events[30:]
    assert index.record(client, run_id) == record
    patches = [body.patch for event in events if isinstance(body := event.body, e.Checkpointed | e.Finished)]
    assert [blob(client, run_id, name) for name in patches[:2]] == [PATCH + b"1", PATCH + b"2"]
    assert verify(client, run_id).ok
    assert archive.tidy(client, archive_days=0) == [], "once is enough"
    following = follow(client, run_id)
    assert [next(following) for _ in events] == events
    assert next(following) is None


def test_a_journal_that_is_archived_while_it_is_read_is_read_to_its_end(client: Redis, run_id: str) -> None:
    over(client, run_id, steps=150, size=50)
    reading = entries(client, run_id)
    numbers = [next(reading).seq for _ in range(10)]  # The first page is here; there are more.
    assert archive.archive(client, run_id)
    numbers += [entry.seq for entry in reading]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == len(list(entries(client, run_id))) > 600


def test_every_reader_takes_an_archived_run(client: Redis, run_id: str, tmp_path: Path) -> None:
    over(client, run_id, signer=Signer.load(tmp_path))
    door = Door(client, Settings(state_dir=tmp_path))
    before = [door.timeline(run_id).moments, door.costs(run_id), door.diff(run_id), list(door.events(run_id))]
    assert archive.archive(client, run_id)
    after = [door.timeline(run_id).moments, door.costs(run_id), door.diff(run_id), list(door.events(run_id))]
    assert after == before
    assert list(door.events(run_id, follow=True)) == before[3]
    assert door.audit(run_id).check.ok
    assert door.show(run_id).view.outcome is Outcome.FAILED


def test_a_run_that_is_taken_up_again_has_its_journal_back(client: Redis, run_id: str) -> None:
    over(client, run_id)
    lines = list(entries(client, run_id))
    archive.archive(client, run_id)
    Steering(client, "ann").retry(run_id, More(), message="go on")
    assert client.exists(keys.archive(run_id)) == 0
    assert list(entries(client, run_id))[: len(lines)] == lines
    assert verify(client, run_id).ok
    assert (
        blob(client, run_id, next(e_.body.patch for e_ in read(client, run_id) if e_.body.type == "finished")) == PATCH
    )
    assert index.record(client, run_id).view.state is State.QUEUED
    assert archive.tidy(client, archive_days=0) == archive.expire(client, keep_days=1) == []
    assert client.zcard(keys.FINISHED) == client.zcard(keys.ARCHIVED) == 0


def test_only_what_has_been_over_for_long_enough_is_archived_and_given_up(client: Redis, run_id: str) -> None:
    assert not archive.archive(client, run_id), "it isn't over"
    over(client, run_id)
    assert archive.tidy(client, archive_days=1) == archive.expire(client, keep_days=1) == []
    assert archive.tidy(client, archive_days=0) == [run_id]
    assert archive.expire(client, keep_days=1) == archive.expire(client, keep_days=0) == []
    assert verify(client, run_id).ok
    time.sleep(0.01)
    assert archive.expire(client, keep_days=1e-9) == [run_id]
    left = [key for key in client.keys("dd:*") if not key.startswith(keys.SPENT.encode())]
    assert left == [], "but what its user spent that day"
    with pytest.raises(NotFoundError):
        index.record(client, run_id)


def test_a_living_run_is_never_given_up(client: Redis, run_id: str) -> None:
    assert not archive.forget(client, run_id)
    assert index.record(client, run_id).view.state is State.QUEUED


def test_a_journal_that_was_altered_is_left_as_it_is(client: Redis, run_id: str) -> None:
    over(client, run_id)
    [(entry_id, fields)] = client.xrange(keys.stream(run_id), min="3-0", max="3-0")
    client.xdel(keys.stream(run_id), entry_id)
    with pytest.raises(JournalError, match="isn't whole"):
        archive.archive(client, run_id)
    assert archive.tidy(client, archive_days=0) == []
    assert client.exists(keys.stream(run_id)) == 1
    assert fields


@pytest.mark.parametrize("damage", ["a bit", "another version", "cut", "text", "empty"])
def test_a_damaged_archive_is_an_error_that_says_so(client: Redis, run_id: str, damage: str) -> None:
    over(client, run_id)
    archive.archive(client, run_id)
    data: Any = client.lindex(keys.archive(run_id), 0)
    damaged = {
        "a bit": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        "another version": b"DDJ9" + data[4:],
        "cut": data[:-20],
        "text": b"hello",
        "empty": b"",
    }[damage]
    client.lset(keys.archive(run_id), 0, damaged)
    with pytest.raises(JournalError, match="can't be read"):
        list(read(client, run_id))
    with pytest.raises(JournalError, match="can't be read"):
        Steering(client, "ann").retry(run_id, More())
    assert index.record(client, run_id).view.state is State.DONE, "and the list of runs still has it"


def test_an_event_altered_in_an_archive_is_named_and_never_comes_back_as_whole(client: Redis, run_id: str) -> None:
    over(client, run_id)
    archive.archive(client, run_id)
    lines = [packing.Line(one.data, one.hash, one.signature) for one in entries(client, run_id)]
    lines[4] = lines[4]._replace(data=lines[4].data.replace(b"c1", b"c9"))
    client.delete(keys.archive(run_id))
    client.rpush(keys.archive(run_id), *packing.pieces(lines, []))
    found = verify(client, run_id)
    assert (found.ok, found.broken_at) == (False, 5)
    with pytest.raises(JournalError, match="isn't as it was written"):
        restore(client, run_id)


def test_a_long_journal_is_archived_in_pieces() -> None:
    lines, head = [], genesis("r")
    for number in range(2000):
        data = (f"{number} " * 2000).encode()[:9000]
        head = chain(head, data)
        lines.append(packing.Line(data, head, SIGNATURE if number % 3 else ""))
    made = list(packing.pieces(lines, [b"one", b"two"]))
    assert len(made) > 1
    head, found, blobs = genesis("r"), [], {}
    for data in made:
        piece = packing.piece(data, len(found) + 1, head, chain)
        head = piece.lines[-1].hash
        found += piece.lines
        blobs |= piece.blobs
    assert found == lines
    assert sorted(blobs.values()) == [b"one", b"two"]


def test_events_are_kept_in_less_than_they_are_and_short_or_wild_ones_as_they_are() -> None:
    text = e.Event(seq=3, at="2026-11-25T18:47:57.1Z", who="w:1", body=e.Prompted(text="Look.")).model_dump_json()  # type: ignore[arg-type]  # As stored.
    field, data = packing.pack(text.encode())
    assert field == "z"
    assert len(data) < len(text) / 2
    for bytes_ in (b"", b"{}", bytes(range(256)) * 2):
        field, data = packing.pack(bytes_)
        assert packing.line({field.encode(): data, b"h": b"\1" * 32}).data == bytes_
    assert packing.line({b"z": b"garbage", b"h": b"?"}) == packing.Line(b"", "?", "")
