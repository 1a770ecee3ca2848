"""A journal in one file that verifies anywhere: no Redis, no store, only the public keys of those who may sign.

Gzipped JSON lines. The first says whose journal it is, where it ended, and which keys the exporter took for good; then
one line per event, blob and checkpoint, and a last one with their count. Whoever reads one got it from somebody: it is
unpacked bit by bit, and nothing in it names a place to write to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.errors import JournalError
from orchestrator.journal.packing import MOST_EVENT_BYTES, MOST_RUN_BYTES
from orchestrator.journal.plain import require_plain
from orchestrator.journal.signing import Head
from orchestrator.journal.stream import Entry, genesis
from orchestrator.journal.verify import Evidence, Journal, blob_names, commits
from orchestrator.runs import RUN_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA: Final = "dreamdock.bundle/1"
_MOST_LINE_BYTES: Final = 3 * MOST_EVENT_BYTES
"""An event's JSON is text in the line's JSON: its quotes and what isn't ASCII take up to three times their room."""
_MOST_LINES: Final = 2_000_000
_MOST: Final = 10**9
"""Of a number of an event."""
_CHUNK: Final = 1024 * 1024
_GZIP: Final = 31
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Bundle(NamedTuple):
    """What a bundle holds. `keys` are those that the exporter took for good, by name: nothing vouches for them here."""

    journal: Journal
    evidence: Evidence
    keys: dict[str, str]


class _Parts(NamedTuple):
    entries: list[Entry]
    blobs: dict[str, bytes]
    commits: dict[str, bytes]


def write(file: IO[bytes], journal: Journal, evidence: Evidence, *, keys: Mapping[str, str]) -> None:
    """Write a journal as a bundle, with its blobs and its checkpoints' commits. Raises OSError."""
    packer = zlib.compressobj(wbits=_GZIP)
    lines = 0
    for line in _lines(journal, evidence, keys):
        file.write(packer.compress(json.dumps(line, separators=(",", ":")).encode() + b"\n"))
        lines += 1
    file.write(packer.compress(json.dumps({"end": lines}).encode() + b"\n") + packer.flush())


def _lines(journal: Journal, evidence: Evidence, keys: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    start = Head(0, genesis(journal.run))
    head, end = evidence.recorded or (start, start)
    until = max(head.seq, min(end.seq, len(journal.entries)))  # A living run's journal grew while it was read.
    yield {"schema": SCHEMA, "run": journal.run, "seq": head.seq, "head": head.hash, "end": until, "keys": dict(keys)}
    for entry in journal.entries:
        place = {"n": entry.seq, "m": entry.minor} if entry.minor else {"n": entry.seq}
        signed = {"s": entry.signature} if entry.signature else {}
        yield {**place, "e": entry.data.decode("utf-8", "surrogateescape"), "h": entry.hash, **signed}
    for name in dict.fromkeys(name for _, name in blob_names(journal)):
        packed = evidence.blobs([name]).get(name)
        if packed is not None:
            yield {"blob": name, "zlib": base64.b64encode(packed).decode()}
    for oid, commit in evidence.noted(commits(journal)).items():
        yield {"commit": oid, "object": base64.b64encode(commit).decode()}


def read(file: IO[bytes]) -> Bundle:
    """Read a bundle. Raises JournalError for what isn't one, is cut off, or unpacks to more than a run can have."""
    header: dict[str, Any] = {}
    parts = _Parts([], {}, {})
    ended = False
    for count, line in enumerate(_unpacked(file)):
        if ended or count >= _MOST_LINES:
            raise _broken("it goes on behind its end")
        value = _value(line, count)
        if not count:
            header = value
            _check(header)
        elif set(value) == {"end"}:
            ended = value["end"] == count
            if not ended:
                raise _broken(f"its last line counts {str(value['end'])[:20]} lines, and there are {count}")
        else:
            _take(parts, value, count)
    if not ended:
        raise _broken("it is cut off")
    head = Head(header["seq"], header["head"])
    evidence = Evidence(
        (head, head._replace(seq=header["end"])),
        noted=lambda wanted: {oid: parts.commits[oid] for oid in wanted if oid in parts.commits},
        blobs=lambda wanted: {name: parts.blobs.get(name) for name in wanted},
    )
    return Bundle(Journal.of(header["run"], parts.entries), evidence, header["keys"])


def _check(header: Mapping[str, Any]) -> None:
    match header:
        case {"schema": schema} if schema != SCHEMA:
            raise _broken(f"it says {str(schema)[:60]!r}; this version reads {SCHEMA}")
        case {"run": str(run), "seq": int(seq), "end": int(end), "head": str(head), "keys": dict(keys)} if (
            RUN_ID.fullmatch(run)
            and _HASH.fullmatch(head)
            and 0 <= seq <= end <= _MOST
            and all(isinstance(key, str) for key in keys.values())
        ):
            return
        case _:
            raise _broken("its first line doesn't say whose journal it is")


def _take(parts: _Parts, value: Mapping[str, Any], count: int) -> None:
    match value:
        case {"n": int(seq), "e": str(data), "h": str(hashed)}:
            minor, signature = value.get("m", 0), value.get("s", "")
            if isinstance(minor, int) and isinstance(signature, str) and 0 <= minor <= _MOST and 0 <= seq <= _MOST:
                parts.entries.append(Entry(seq, _stored(data, count), hashed, signature, minor))
                return
        case {"blob": str(name), "zlib": str(packed)}:
            parts.blobs[name] = _bytes(packed, count)
            return
        case {"commit": str(oid), "object": str(packed)}:
            commit = _bytes(packed, count)
            named = hashlib.sha1(b"commit %d\0" % len(commit) + commit, usedforsecurity=False)
            if named.hexdigest() != oid:
                raise _broken(f"line {count + 1} holds another commit than it says")
            parts.commits[oid] = commit
            return
        case _:
            pass
    raise _broken(f"line {count + 1} is no event, no blob and no checkpoint")


def _value(line: bytes, count: int) -> dict[str, Any]:
    try:
        value = require_plain(line)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _broken(f"line {count + 1} is no JSON object")
    return value


def _stored(text: str, count: int) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise _broken(f"line {count + 1} is damaged") from error


def _bytes(text: str, count: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _broken(f"line {count + 1} is damaged") from error


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a gzipped file, never holding more than one of them and a chunk."""
    unpacker, total, held = zlib.decompressobj(wbits=_GZIP), 0, bytearray()
    packed = file.read(_CHUNK)
    while packed:
        if unpacker.eof:
            raise _broken("it goes on behind its end")
        try:
            piece = unpacker.decompress(packed, _CHUNK)
        except zlib.error as error:
            raise _broken("it is not gzipped, or damaged") from error
        total += len(piece)
        held += piece
        *lines, rest = held.split(b"\n")
        yield from (bytes(line) for line in lines)
        held = bytearray(rest)
        if total > MOST_RUN_BYTES or len(held) > _MOST_LINE_BYTES:
            raise _broken("it unpacks to more than a run can have")
        packed = unpacker.unconsumed_tail or unpacker.unused_data or file.read(_CHUNK)
    if held or not unpacker.eof:
        raise _broken("it is cut off")


def _broken(why: str) -> JournalError:
    return JournalError(
        "the bundle can't be read", cause=why, hint="dreamdock audit RUN --export FILE, where the run is"
    )
