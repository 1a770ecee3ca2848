"""Reading a run's journal: an append-only, hash-chained Redis stream."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.errors import JournalError
from orchestrator.events import Event
from orchestrator.journal import keys, packing
from orchestrator.journal.connection import Scripts, available, patiently
from orchestrator.journal.live import Said
from orchestrator.journal.live import parse as parse_said
from orchestrator.journal.plain import require_plain
from orchestrator.runs import RunView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redis import Redis

    from orchestrator.journal.packing import Piece

MOST_BLOB_BYTES: Final = 16 * 1024 * 1024
_PAGE: Final = 500
_BLOCK_MS: Final = 1000


class Entry(NamedTuple):
    """An event as it is stored: its number, its bytes, and the chain hash that the writer gave it.

    `signature` is the worker's over this head, at the end of a step; `minor` is 0 unless somebody slipped it in.
    """

    seq: int
    data: bytes
    hash: str
    signature: str = ""
    minor: int = 0


def genesis(run_id: str) -> str:
    """Return the hash that the first event's is chained to; it binds the chain to the run."""
    return hashlib.sha256(f"dreamdock:{run_id}".encode()).hexdigest()


def chain(previous: str, data: bytes) -> str:
    """Return the chain hash of an event: SHA-256 over the previous hash (hex) and the event's stored bytes."""
    return hashlib.sha256(previous.encode() + data).hexdigest()


def entries(client: Redis, run_id: str, *, after: int = 0) -> Iterator[Entry]:
    """Yield what is stored behind event number `after`, in order, whether the journal is archived or not.

    Raises JournalError for a damaged archive.
    """
    seen, last, room = after, f"{after}-0", packing.MOST_RUN_BYTES
    while True:
        page: Any = _page(client, run_id, last)
        if not page:  # It may be archived; or it was, when the page was read, and it isn't any more.
            found = [one for part in _archived(client, run_id) for one in _numbered(part) if one.seq > seen]
            yield from found
            page = [] if found else _page(client, run_id, last)
        for stored in page:
            entry = _entry(*stored)
            room -= packing.weight(entry.data)
            if room < 0:
                raise damaged(run_id, f"up to event {entry.seq} it unpacks to more than a run can have")
            yield entry
            seen = entry.seq
        if len(page) < _PAGE:
            return
        last = page[-1][0].decode()


def damaged(run_id: str, why: str) -> JournalError:
    """Return the error of a journal that somebody else wrote to."""
    hint = f"dreamdock audit {run_id} --verify"
    return JournalError(f"the journal of run {run_id} isn't as it was written", cause=why, hint=hint)


def stored_head(client: Redis, run_id: str) -> str:
    """Return where the run's record says that its journal ends; empty where it has none."""
    found: Any
    with available():
        found = client.hget(keys.record(run_id), "head")
    return (found or b"").decode(errors="replace")


def _page(client: Redis, run_id: str, last: str) -> Any:
    with available():
        return client.xrange(keys.stream(run_id), min=f"({last}", count=_PAGE)


def _entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    seq, _, minor = entry_id.partition(b"-")
    return Entry(int(seq), *packing.line(fields), int(minor))


def _numbered(part: Piece) -> Iterator[Entry]:
    return (Entry(seq, *line) for seq, line in enumerate(part.lines, start=part.first))


def _archived(client: Redis, run_id: str) -> Iterator[Piece]:
    """Yield the pieces of a run's archive; none where it isn't archived. Raises JournalError for a damaged one."""
    pieces: Any
    with available():
        pieces = client.lrange(keys.archive(run_id), 0, -1)
    first, head, room = 1, genesis(run_id), packing.MOST_RUN_BYTES
    for data in pieces:
        try:
            part = packing.piece(data, first, head, chain, most=room)
        except ValueError as error:
            hint = "bring Redis's files back from a backup"
            raise JournalError(f"the archive of run {run_id} can't be read", cause=str(error), hint=hint) from error
        first, head = first + len(part.lines), part.lines[-1].hash
        room -= packing.weight(*(line.data for line in part.lines), *part.blobs.values())
        yield part


def restore(client: Redis, run_id: str) -> None:
    """Take a run's journal out of its archive again. Raises JournalError for a damaged one."""
    parts = list(_archived(client, run_id))
    lines = [line for part in parts for line in part.lines]
    head = genesis(run_id)
    for number, line in enumerate(lines, start=1):
        head = chain(head, line.data)
        if head != line.hash:
            raise damaged(run_id, f"event {number} was altered")
    blobs = [part for piece in parts for name, blob in piece.blobs.items() for part in (name, zlib.compress(blob))]
    stored = [part for line in lines for part in (*as_stored(line.data, line.hash), line.signature)]
    names = [keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id), keys.ARCHIVED]
    Scripts(client)("restore", names, [run_id, len(blobs) // 2, *blobs, *stored])


def as_stored(data: bytes, hashed: str) -> tuple[str, bytes, bytes]:
    """Return an event as a script takes it: the field of its bytes, those bytes, and its hash."""
    return (*packing.pack(data), bytes.fromhex(hashed))


def parse(run_id: str, entry: Entry) -> Event:
    """Return the event of an entry. Raises JournalError for what this version can't read."""
    try:
        require_plain(entry.data)
        event = Event.model_validate_json(entry.data)
    except ValueError as error:  # pydantic's ValidationError is one.
        raise _unreadable(run_id, entry) from error
    if event.seq != entry.seq:
        raise _unreadable(run_id, entry)
    return event


def _unreadable(run_id: str, entry: Entry) -> JournalError:
    cause = f"event {entry.seq} of run {run_id} is of an unknown kind or damaged"
    hint = f"dreamdock audit {run_id} --verify; a newer dreamdock may have written it"
    return JournalError("the journal can't be read", cause=cause, hint=hint)


def read(client: Redis, run_id: str, *, after: int = 0) -> Iterator[Event]:
    """Yield the run's events behind number `after`."""
    return (parse(run_id, entry) for entry in entries(client, run_id, after=after))


def follow(client: Redis, run_id: str, *, after: int = 0) -> Iterator[Event | None]:
    """Yield events as they come; None each second without one, so that the caller may look around."""
    return (item for item in listen(client, run_id, after=after, live=False) if not isinstance(item, Said))


def listen(
    client: Redis, run_id: str, *, after: int = 0, live: bool = True, away: Callable[[], None] | None = None
) -> Iterator[Event | Said | None]:
    """Yield events as they come, as `follow` does, and with `live` what the model is just saying.

    With `away` it goes on where it was when a Redis that was away is back; see `patiently`.
    """
    with available():
        gone = not client.exists(keys.stream(run_id))
    for event in (
        read(client, run_id, after=after) if gone else ()
    ):  # It's archived; nothing comes before it's restored.
        yield event
        after = event.seq
    places: dict[Any, Any] = {keys.stream(run_id).encode(): f"{after}-0"}
    with available():
        live = live and client.type(keys.live(run_id)) in {b"stream", b"none"}  # A preview is no part of the truth.
    if live:
        places[keys.live(run_id).encode()] = "0-0"

    def come() -> Any:
        with available():
            return client.xread(places, block=_BLOCK_MS, count=_PAGE)

    while True:
        answer = patiently(come, away)
        for key, found in answer:
            for entry_id, fields in found:
                places[key] = entry_id
                yield parse_said(fields) if key.endswith(b":live") else parse(run_id, _entry(entry_id, fields))
        if not answer:
            yield None


def blob(client: Redis, run_id: str, name: str) -> bytes:
    """Return a blob's bytes. Raises JournalError where it is missing or isn't what its name says."""
    packed = packed_blobs(client, run_id, [name])[name]
    data = unpacked(packed)
    if data is None or name != f"sha256:{hashlib.sha256(data).hexdigest()}":
        raise JournalError("a part of the journal is missing or altered", cause=f"blob {name}", hint="dreamdock audit")
    return data


def unpacked(packed: bytes | None) -> bytes | None:
    """Return a blob's content; None for what isn't one, or is too large to be one."""
    if packed is None:
        return None
    try:
        opened = zlib.decompressobj()
        data = opened.decompress(packed, MOST_BLOB_BYTES + 1)
    except zlib.error:
        return None
    return data if opened.eof and len(data) <= MOST_BLOB_BYTES else None


def packed_blobs(client: Redis, run_id: str, names: Sequence[str]) -> dict[str, bytes | None]:
    """Return blobs as they are stored, zlib-compressed, from the archive too; None for what is missing."""
    stored: Any
    with available():
        stored = client.hmget(keys.blobs(run_id), list(names))
    found = dict(zip(names, stored, strict=True))
    if None in found.values():
        kept = {name: blob for part in _archived(client, run_id) for name, blob in part.blobs.items()}
        found |= {name: zlib.compress(kept[name]) for name in found if name in kept}
    return found


def dump_view(view: RunView) -> str:
    """Return the view as it is kept in the record, without what is as at a run's beginning; the spec lies beside it."""
    return view.model_dump_json(exclude={"spec"}, exclude_defaults=True)


def load_view(spec: bytes, view: bytes) -> RunView:
    """Return the view from a record's two fields."""
    head, tail = view.decode().rsplit("}", 1)
    return RunView.model_validate_json(f'{head},"spec":{spec.decode()}}}{tail}')
