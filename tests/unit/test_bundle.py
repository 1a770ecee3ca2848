from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from journals import PATCH, Carried, carried, rechained, rewrite, stored

from orchestrator.errors import JournalError
from orchestrator.journal import bundle
from orchestrator.journal.packing import MOST_EVENT_BYTES, MOST_RUN_BYTES
from orchestrator.journal.verify import Check, check, collect

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.journal.bundle import Bundle

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def run(client: Redis, run_id: str, tmp_path: Path) -> Carried:
    return carried(client, run_id, tmp_path)


def packed(client: Redis, run: Carried) -> bytes:
    journal, evidence = collect(client, run.run)
    evidence = evidence._replace(noted=lambda wanted: {oid: run.commits[oid] for oid in wanted})
    file = io.BytesIO()
    bundle.write(file, journal, evidence, keys={"w1": run.signer.key.text})
    return file.getvalue()


def opened(data: bytes) -> Bundle:
    return bundle.read(io.BytesIO(data))


def checked(data: bytes, run: Carried) -> Check:
    found = opened(data)
    return check(found.journal, found.evidence._replace(keys={run.signer.key.id: run.signer.key}))


def changed(data: bytes, change: Any) -> bytes:
    """Unpack, change the lines, and pack again, with a count that agrees."""
    lines = [json.loads(line) for line in gzip.decompress(data).splitlines()][:-1]
    lines = change(lines)
    return gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {"end": len(lines)}]))


def test_a_bundle_verifies_with_the_public_key_alone(client: Redis, run: Carried) -> None:
    data = packed(client, run)
    client.flushall()
    found = checked(data, run)
    assert (found.ok, found.events, found.signatures, found.checkpoints) == (True, 16, 5, 3)
    read = opened(data)
    assert read.keys == {"w1": run.signer.key.text}
    assert read.evidence.blobs(["sha256:unknown"]) == {"sha256:unknown": None}
    assert len(data) < 8000, "compact"


def test_a_bundle_of_a_living_run_verifies_too(client: Redis, run_id: str, tmp_path: Path) -> None:
    run = carried(client, run_id, tmp_path, over=False)
    journal, evidence = collect(client, run_id)
    assert evidence.recorded is not None
    early = evidence._replace(
        recorded=(evidence.recorded[0]._replace(seq=11, hash=stored(client, run_id)[10].hash), evidence.recorded[1])
    )
    file = io.BytesIO()
    bundle.write(file, journal, early, keys={})
    assert checked(file.getvalue(), run).ok, "the record was read at event 11, the journal went on to 15 meanwhile"


def test_what_was_changed_in_a_bundle_is_named(client: Redis, run: Carried) -> None:
    data = packed(client, run)

    def event(seq: int, **fields: Any) -> Any:
        return lambda lines: [line | fields if line.get("n") == seq else line for line in lines]

    altered = checked(changed(data, event(9, e="{}")), run)
    cut = checked(changed(data, lambda lines: [line for line in lines if line.get("n", 0) < 14]), run)
    dropped = checked(changed(data, lambda lines: [line for line in lines if line.get("n") != 9]), run)
    moved = checked(changed(data, event(9, n=10)), run)
    blobless = checked(changed(data, lambda lines: [line for line in lines if "blob" not in line]), run)
    assert [(one.broken_at, one.kind) for one in (altered, cut, dropped, moved, blobless)] == [
        (9, "altered"),
        (14, "cut off"),
        (9, "dropped"),
        (9, "altered"),
        (7, "blob"),
    ]


def test_a_bundle_of_a_forged_journal_is_caught_by_its_signatures(client: Redis, run: Carried) -> None:
    held = stored(client, run.run)
    rewrite(
        client,
        run.run,
        rechained(run.run, [*held[:8], held[8]._replace(data=held[8].data.replace(b"w1", b"w2")), *held[9:]]),
        record=True,
    )
    found = checked(packed(client, run), run)
    assert (found.ok, found.kind) == (False, "altered")


def test_the_keys_that_a_bundle_names_count_for_nothing(client: Redis, run: Carried) -> None:
    found = opened(packed(client, run))
    assert check(found.journal, found.evidence._replace(keys={})).kind == "unpinned"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"garbage", "not gzipped"),
        (gzip.compress(b""), "cut off"),
        (gzip.compress(b"\xff\xfe\n"), "no JSON object"),
        (gzip.compress(b"[1]\n"), "no JSON object"),
        (gzip.compress(b"[" * 100_000 + b"\n"), "no JSON object"),
        (gzip.compress(b'{"schema":"dreamdock.bundle/9"}\n'), "this version reads"),
        (
            gzip.compress(b'{"schema":"dreamdock.bundle/1","run":"../../etc","seq":1,"end":1,"head":"","keys":{}}\n'),
            "whose journal",
        ),
        (gzip.compress(b'{"n":' + b"9" * 10_000 + b"}\n"), "no JSON object"),
        (gzip.compress(b"{}"), "cut off"),
    ],
    ids=range(10),
)
def test_what_is_no_bundle_is_a_clear_error(data: bytes, why: str) -> None:
    with pytest.raises(JournalError, match="the bundle can't be read") as caught:
        opened(data)
    assert why in caught.value.cause


@pytest.mark.parametrize(
    "line",
    [
        {"n": 1},
        {"n": "1", "e": "", "h": ""},
        {"n": 1, "e": "\ud800", "h": ""},
        {"n": 1, "e": "", "h": "", "s": 7},
        {"n": 1, "e": "", "h": "", "m": []},
        {"blob": "x", "zlib": "%"},
        {"blob": "x", "zlib": "é"},
        {"commit": "x", "object": "AAAA"},
        {"path": "/etc/passwd"},
    ],
)
def test_a_line_that_is_nothing_is_a_clear_error(client: Redis, run: Carried, line: dict[str, Any]) -> None:
    with pytest.raises(JournalError) as caught:
        opened(changed(packed(client, run), lambda lines: [*lines, line]))
    assert "line 25" in caught.value.cause


def test_a_bundle_that_is_cut_off_or_goes_on_is_refused(client: Redis, run: Carried) -> None:
    data = packed(client, run)
    for size in (1, len(data) // 2, len(data) - 1):
        with pytest.raises(JournalError) as caught:
            opened(data[:size])
        assert "cut off" in caught.value.cause
    whole = gzip.decompress(data)
    for more in (data + b"x", data + data, gzip.compress(whole + b"{}\n"), gzip.compress(whole + whole)):
        with pytest.raises(JournalError) as caught:
            opened(more)
        assert "behind its end" in caught.value.cause
    with pytest.raises(JournalError) as caught:
        opened(gzip.compress(b"".join(whole.splitlines(keepends=True)[:5])))
    assert "cut off" in caught.value.cause
    with pytest.raises(JournalError) as caught:
        opened(gzip.compress(whole.replace(b'{"end": ', b'{"end": 1')))
    assert "counts" in caught.value.cause


def test_a_bundle_that_unpacks_to_too_much_is_refused_early() -> None:
    for size in (MOST_EVENT_BYTES * 4, MOST_RUN_BYTES + MOST_EVENT_BYTES):
        packer, parts = zlib.compressobj(9, wbits=31), []
        line = b"\n" if size > MOST_RUN_BYTES else b" "
        header = b'{"schema":"dreamdock.bundle/1","run":"0123456789ab","seq":0,"end":0,"head":"%s","keys":{}}\n' % (
            b"0" * 64
        )
        parts.append(packer.compress(header))
        filler = (b'{"blob":"x","zlib":"' + b"A" * (1 << 20) + b'"}' + line) if line == b"\n" else b" " * (1 << 20)
        parts += [packer.compress(filler) for _ in range(size >> 20)]
        bomb = b"".join([*parts, packer.flush()])
        assert len(bomb) < size / 100
        with pytest.raises(JournalError) as caught:
            opened(bomb)
        assert "more than a run can have" in caught.value.cause


def test_a_blob_that_unpacks_to_too_much_is_no_blob(client: Redis, run: Carried) -> None:
    bomb = base64.b64encode(zlib.compress(bytes(64 << 20))).decode()
    data = changed(
        packed(client, run), lambda lines: [line | {"zlib": bomb} if "blob" in line else line for line in lines]
    )
    assert checked(data, run).kind == "blob"
    assert zlib.decompress(base64.b64decode(bomb))[:1] != PATCH[:1]
