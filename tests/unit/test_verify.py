from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from journals import Carried, carried, numbered, rechained, rewrite, step, stored

from orchestrator import events as e
from orchestrator.audit import Audit, audit
from orchestrator.errors import JournalError
from orchestrator.journal import keys
from orchestrator.journal.lease import claim
from orchestrator.journal.signing import Head, Key, Signer, own_key, pinned, remembered
from orchestrator.journal.stream import chain
from orchestrator.journal.verify import Check, check, collect, verify
from orchestrator.journal.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.journal.stream import Entry

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def run(client: Redis, run_id: str, tmp_path: Path) -> Carried:
    """Return a finished run of three steps: events 1-2 by its submitter, 3 to 16 by its worker."""
    return carried(client, run_id, tmp_path)


def checked(client: Redis, run: Carried, **more: Any) -> Check:
    """Check a run as a machine does that has pinned its worker's key, and has no store."""
    journal, evidence = collect(client, run.run)
    known = {"keys": {run.signer.key.id: run.signer.key}} | more
    return check(journal, evidence._replace(**known))


def in_store(run: Carried) -> dict[str, Any]:
    return {"noted": lambda wanted: {oid: run.commits[oid] for oid in wanted}}


def edited(entry: Entry) -> Entry:
    return entry._replace(data=entry.data.replace(b"echo 2", b"echo 3"))


def unowned(entry: Entry) -> Entry:
    return entry._replace(data=re.sub(rb'"fence":[1-9]', b'"fence":0', entry.data), signature="")


def test_a_journal_as_it_was_written_is_vouched_for_by_all(client: Redis, run: Carried, tmp_path: Path) -> None:
    signed = remembered(tmp_path, run.run)
    found = checked(client, run, remembered=signed, **in_store(run))
    assert (found.ok, found.events, found.signatures, found.signed_to, found.checkpoints) == (True, 16, 5, 16, 3)
    assert [key.name for key in found.signers] == ["this machine's own key"]
    assert signed == Head(16, found.head)


def test_each_step_is_signed_at_its_end_and_nothing_else_is(client: Redis, run: Carried) -> None:
    assert [entry.seq for entry in stored(client, run.run) if entry.signature] == [3, 7, 11, 15, 16]


@pytest.mark.parametrize(
    ("damage", "seq", "kind"),
    [
        ("alter", 9, "altered"),
        ("alter the first", 1, "altered"),
        ("alter its number", 9, "altered"),
        ("drop", 9, "dropped"),
        ("drop and close the gap", 9, "dropped"),
        ("drop three", 9, "dropped"),
        ("swap", 9, "reordered"),
        ("move to the end", 9, "reordered"),
        ("copy", 9, "inserted"),
        ("insert between", 9, "inserted"),
        ("insert a forged one", 9, "inserted"),
        ("append a copy", 17, "inserted"),
        ("append a forged one", 17, "inserted"),
        ("cut", 16, "cut off"),
        ("cut nine", 8, "cut off"),
        ("cut all", 1, "cut off"),
        ("renumber", 10, "altered"),
    ],
)
def test_the_first_event_is_named_and_what_was_done_to_it(
    client: Redis, run: Carried, damage: str, seq: int, kind: str
) -> None:
    held = stored(client, run.run)
    at, before = held[8], held[7]
    forged = at._replace(data=at.data.replace(b"w1", b"w2"))
    changed = {
        "alter": [*held[:8], edited(at), *held[9:]],
        "alter the first": [held[0]._replace(data=held[0].data.replace(b"ann", b"eve")), *held[1:]],
        "alter its number": [*held[:8], at._replace(data=at.data.replace(b'{"seq":9', b'{"seq":99')), *held[9:]],
        "drop": [*held[:8], *held[9:]],
        "drop and close the gap": numbered([*held[:8], *held[9:]]),
        "drop three": [*held[:8], *held[11:]],
        "swap": numbered([*held[:8], held[9], at, *held[10:]]),
        "move to the end": numbered([*held[:8], *held[9:], at]),
        "copy": numbered([*held[:8], held[3], *held[8:]]),
        "insert between": [*held[:8], held[3]._replace(seq=before.seq, minor=1), *held[8:]],
        "insert a forged one": numbered([*held[:8], forged, *held[8:]]),
        "append a copy": numbered([*held, held[3]]),
        "append a forged one": [
            *held,
            at._replace(
                seq=17, data=(data := forged.data.replace(b'{"seq":9', b'{"seq":17')), hash=chain(held[15].hash, data)
            ),
        ],
        "cut": held[:15],
        "cut nine": held[:7],
        "cut all": [],
        "renumber": [
            *held[:8],
            at._replace(minor=0, seq=9),
            *(entry._replace(seq=entry.seq + 4) for entry in held[9:]),
        ],
    }[damage]
    rewrite(client, run.run, changed)
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (seq, kind), found.why
    assert not found.ok
    assert verify(client, run.run).broken_at == seq, "the chain and the record tell it without any key"


def test_a_forger_who_computes_every_hash_anew_is_caught_by_the_signatures(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, rechained(run.run, [*held[:8], edited(held[8]), *held[9:]]), record=True)
    assert verify(client, run.run).ok, "the chain alone can't tell"
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (8, "altered"), "the signature at event 7 is the last that holds"
    assert "from 8 to 11" in found.why
    assert "signature at event 11" in found.why


def test_a_forger_is_caught_by_the_store_where_no_signature_is_left(client: Redis, run: Carried) -> None:
    held = [entry._replace(signature="") for entry in stored(client, run.run)]
    rewrite(client, run.run, rechained(run.run, [*held[:8], edited(held[8]), *held[9:]]), record=True)
    found = checked(client, run, **in_store(run))
    assert (found.broken_at, found.kind) == (7, "altered"), found.why
    assert "the checkpoint of step 2 in the store carries another head" in found.why


@pytest.mark.parametrize("kept", [0, 3])
def test_a_forger_who_says_that_no_worker_wrote_it_is_caught_without_a_store(
    client: Redis, run: Carried, kept: int
) -> None:
    bare = [
        entry
        if entry.seq <= kept
        else entry._replace(data=re.sub(rb'"fence":[1-9]', b'"fence":0', entry.data), signature="")
        for entry in stored(client, run.run)
    ]
    rewrite(client, run.run, rechained(run.run, [*bare[:8], edited(bare[8]), *bare[9:]]), record=True)
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (4 if kept else 3, "unsigned"), found.why


def test_a_false_end_behind_a_signed_one_is_caught(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, rechained(run.run, [*held, unowned(held[15])]), record=True)
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (17, "unsigned"), found.why


def test_an_event_that_names_two_numbers_is_none(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    twice = [
        entry._replace(data=entry.data[:-1] + b',"seq":1}', signature="") if entry.seq > 3 else entry for entry in held
    ]
    rewrite(client, run.run, rechained(run.run, twice), record=True)
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (4, "unsigned"), found.why
    with pytest.raises(JournalError, match="can't be read"):
        Writer(client, run.run, who="w")


def test_a_checkpoint_of_another_tree_is_caught_by_the_store(client: Redis, run: Carried) -> None:
    tree = f"{2:040x}".encode()
    held = [entry._replace(data=entry.data.replace(tree, b"f" * 40)) for entry in stored(client, run.run)]
    rewrite(client, run.run, rechained(run.run, held), record=True)
    found = checked(client, run, keys=None, **in_store(run))
    assert found.broken_at == 7
    assert "checkpoint of step 2" in found.why


@pytest.mark.parametrize("count", [15, 11, 7, 2])
def test_a_tail_that_was_cut_off_with_a_record_that_agrees_is_caught(
    client: Redis, run: Carried, tmp_path: Path, count: int
) -> None:
    rewrite(client, run.run, stored(client, run.run)[:count], record=True)
    assert checked(client, run).ok, "elsewhere it looks like a run that isn't over"
    found = checked(client, run, remembered=remembered(tmp_path, run.run))
    assert (found.broken_at, found.kind) == (count + 1, "cut off")
    assert "this machine signed event 16" in found.why


def test_another_journal_of_the_same_length_is_caught_by_what_was_signed_here(
    client: Redis, run: Carried, tmp_path: Path
) -> None:
    held = [entry._replace(signature="") for entry in stored(client, run.run)[:2]]
    forged = rechained(run.run, held * 8)
    rewrite(client, run.run, forged, record=True)
    found = checked(client, run, remembered=remembered(tmp_path, run.run))
    assert not found.ok
    assert "this machine signed another" in found.why


def test_no_signature_a_false_one_and_one_by_a_stranger_are_told_apart(
    client: Redis, run: Carried, tmp_path: Path
) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, [entry._replace(signature="") for entry in held])
    bare = checked(client, run)
    stranger = Signer.load(tmp_path / "other")
    rewrite(
        client,
        run.run,
        [
            entry._replace(signature=stranger.sign(run.run, Head(entry.seq, entry.hash)) if entry.signature else "")
            for entry in held
        ],
    )
    strange = checked(client, run)
    rewrite(client, run.run, [*held[:10], held[10]._replace(signature=held[6].signature), *held[11:]])
    false = checked(client, run)
    assert [(one.broken_at, one.kind) for one in (bare, strange, false)] == [
        (3, "unsigned"),
        (3, "unpinned"),
        (11, "altered"),
    ]
    assert stranger.key.id in strange.why
    assert false.why == "the signature at event 11 is not over what lies there, though a later witness holds"
    assert checked(client, run, keys={stranger.key.id: stranger.key}).kind == "unpinned"


@pytest.mark.parametrize("signature", ["", ":", "{id}:", "{id}:%%%", "{id}:AAAA", "{id}:" + "A" * 88, "\ud800"])
def test_a_signature_that_is_garbage_is_no_error(client: Redis, run: Carried, signature: str) -> None:
    held = stored(client, run.run)
    put = signature.replace("{id}", run.signer.key.id).encode("utf-8", "surrogatepass").decode(errors="replace")
    rewrite(client, run.run, [*held[:15], held[15]._replace(signature=put)])
    assert not checked(client, run).ok


def test_a_run_that_nobody_carried_is_not_signed_and_that_is_well(client: Redis, run_id: str) -> None:
    journal, evidence = collect(client, run_id)
    found = check(journal, evidence._replace(keys={}))
    assert (found.ok, found.signatures, found.signed_to) == (True, 0, 0)


def test_what_people_append_behind_the_last_signature_is_counted_apart(
    client: Redis, run_id: str, tmp_path: Path
) -> None:
    run = carried(client, run_id, tmp_path, over=False)
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    found = checked(client, run)
    assert (found.ok, found.signed_to, found.events) == (True, 15, 16)


def test_a_changed_blob_is_named_with_its_event(client: Redis, run: Carried) -> None:
    names = list(client.hkeys(keys.blobs(run.run)))
    client.hset(keys.blobs(run.run), names[1], b"no zlib")
    found = checked(client, run)
    assert (found.broken_at, found.kind) == (11, "blob")
    client.hdel(keys.blobs(run.run), names[1])
    assert checked(client, run).broken_at == 11


def test_an_event_of_a_newer_version_is_listed_as_such_and_the_chain_holds_over_it(
    client: Redis, run_id: str, tmp_path: Path
) -> None:
    run = carried(client, run_id, tmp_path, over=False)
    held = stored(client, run_id)
    sung = b'{"seq":16,"at":"2026-01-01T00:00:00Z","who":"w","fence":1,"body":{"type":"sung","verses":3}}'
    head = Head(16, chain(held[-1].hash, sung))
    rewrite(
        client,
        run_id,
        [*held, held[-1]._replace(seq=16, data=sung, hash=head.hash, signature=run.signer.sign(run_id, head))],
        record=True,
    )
    journal, evidence = collect(client, run_id)
    told: Audit = audit(journal, evidence._replace(keys={run.signer.key.id: run.signer.key}))
    assert told.check.ok
    assert (told.check.signed_to, told.unread) == (16, 1)
    assert told.entries[-1].kind == "unreadable"
    assert "'sung'" in told.entries[-1].text
    assert len([entry for entry in told.entries if entry.kind == "call"]) == 3, "the rest is read all the same"


def test_bytes_that_are_no_event_are_listed_as_damaged(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    for data in (b"", b"[1,2]", b'{"seq":9,"body":7}', b"{" * 100_000, bytes(range(256))):
        rewrite(client, run.run, [*held[:8], held[8]._replace(data=data), *held[9:]])
        journal, evidence = collect(client, run.run)
        told = audit(journal, evidence)
        assert (told.check.broken_at, told.unread) == (9, 1)
        assert next(entry for entry in told.entries if entry.seq == 9).text.startswith("damaged")


def test_many_entries_under_one_number_are_read_to_their_end(client: Redis, run: Carried) -> None:
    for minor in range(1, 1203):
        client.xadd(keys.stream(run.run), {"e": "{}", "h": "0"}, id=f"16-{minor}")
    assert len(stored(client, run.run)) == 16 + 1202
    assert (checked(client, run).broken_at, checked(client, run).kind) == (17, "inserted")


def test_a_second_attempt_on_the_same_machine_goes_on_signing(client: Redis, run_id: str, tmp_path: Path) -> None:
    run = carried(client, run_id, tmp_path, over=False)
    client.hset(keys.record(run_id), "lease_until", 0)
    keeper = Writer(client, run_id, who="keeper")
    keeper.append(e.AttemptLost(attempt=1, reason="gone"), e.Dispatched(attempt=2), operation="requeue")
    fence = claim(client, run_id, 2, lease_seconds=60)
    assert isinstance(fence, int)
    writer = Writer(client, run_id, who="w2", fence=fence, lease_seconds=60, signer=Signer.load(tmp_path))
    writer.append(e.Claimed(attempt=2, fence=fence, worker="w2", host="h"))
    step(writer, 4, run.commits)
    found = checked(client, run, remembered=remembered(tmp_path, run_id), **in_store(run))
    assert (found.ok, found.signed_to, found.checkpoints) == (True, found.events, 4)


def test_keys_count_by_what_they_are_and_not_by_their_name(client: Redis, run: Carried, tmp_path: Path) -> None:
    other = Signer.load(tmp_path / "other").key
    renamed = Key("this machine's own key", other.public)
    assert checked(client, run, keys={renamed.id: renamed}).kind == "unpinned"
    own = own_key(tmp_path)
    assert own is not None
    assert set(pinned(tmp_path, {"build host": other.text})) == {own.id, other.id}
    assert json.loads(json.dumps(own.text)).startswith("ed25519:")
