"""Reading and writing a run's journal: an append-only, hash-chained Redis stream."""

from __future__ import annotations

import hashlib
import time
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchestrator.errors import FencedError, HeadMovedError, JournalError, LimitError, NotFoundError, RedisAwayError
from orchestrator.events import Body, Checkpointed, Claimed, Event, Rewound, Submitted
from orchestrator.journal import keys, packing
from orchestrator.journal.connection import Scripts, available, clock
from orchestrator.journal.fold import apply, begin
from orchestrator.journal.live import Preview, Said
from orchestrator.journal.live import parse as parse_said
from orchestrator.journal.plain import require_plain
from orchestrator.journal.signing import Head
from orchestrator.runs import RunView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from redis import Redis

    from orchestrator.journal.packing import Piece
    from orchestrator.journal.signing import Signer
    from orchestrator.stop import Stop

Operation = Literal["none", "finish", "requeue", "reopen", "park", "resume"]
SIGNED: Final = (Claimed, Checkpointed, Rewound)
"""With these a signer signs, and with what ends an attempt."""
MOST_BLOB_BYTES: Final = 16 * 1024 * 1024
_FULL: Final = packing.MOST_RUN_BYTES * 3 // 4
"""Of a journal an attempt's share; the rest is for its end, and for what people say."""
_RETRIES: Final = 20
_PAGE: Final = 500
_BLOCK_MS: Final = 1000
_AWAY_SECONDS: Final = 0.1


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
    last, room = f"{after}-0", packing.MOST_RUN_BYTES
    page: Any = _page(client, run_id, last)
    if not page:  # It may be archived; or it was, when the page was read, and it isn't any more.
        found = [one for part in _archived(client, run_id) for one in _numbered(part) if one.seq > after]
        yield from found
        page = [] if found else _page(client, run_id, last)
    while page:
        for stored in page:
            entry = _entry(*stored)
            room -= packing.weight(entry.data)
            if room < 0:
                raise _damaged(run_id, f"up to event {entry.seq} it unpacks to more than a run can have")
            yield entry
        page = _page(client, run_id, page[-1][0].decode()) if len(page) == _PAGE else []


def _damaged(run_id: str, why: str) -> JournalError:
    hint = f"dreamdock audit {run_id} --verify"
    return JournalError(f"the journal of run {run_id} isn't as it was written", cause=why, hint=hint)


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
            raise _damaged(run_id, f"event {number} was altered")
    blobs = [part for piece in parts for name, blob in piece.blobs.items() for part in (name, zlib.compress(blob))]
    stored = [part for line in lines for part in (*_stored(line.data, line.hash), line.signature)]
    names = [keys.stream(run_id), keys.blobs(run_id), keys.archive(run_id), keys.ARCHIVED]
    Scripts(client)("restore", names, [run_id, len(blobs) // 2, *blobs, *stored])


def _stored(data: bytes, hashed: str) -> tuple[str, bytes, bytes]:
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


def listen(client: Redis, run_id: str, *, after: int = 0, live: bool = True) -> Iterator[Event | Said | None]:
    """Yield events as they come, as `follow` does, and with `live` what the model is just saying."""
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
    while True:
        answer: Any
        with available():
            answer = client.xread(places, block=_BLOCK_MS, count=_PAGE)
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


class _Try(NamedTuple):
    """Events that a script was given, and the head that was signed with them, where one was."""

    events: list[Event]
    signed: Head | None


class Writer:
    """Appends to one run's journal and keeps its fold current.

    Fenced with a fencing token (an attempt), open without one (people, the keeper).
    `secrets` are values that never get in: they are replaced before anything is hashed or stored. With a `stop` an
    append waits while Redis is away.
    `signer` signs the head with each committed step, at the claim and at the end, in the same append.
    """

    def __init__(
        self,
        client: Redis,
        run_id: str,
        *,
        who: str,
        fence: int | None = None,
        lease_seconds: float = 0,
        secrets: Sequence[str] = (),
        stop: Stop | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._run_id = run_id
        self._who = who
        self._fence = fence
        self._lease_ms = int(lease_seconds * 1000)
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)  # noqa: PLR2004  # Shorter: no secret.
        self._stop = stop
        self._signer = signer
        self._blobs: dict[str, bytes] = {}
        self._clock = clock(client)
        self.preview = Preview(client, run_id, self._secrets, fence=fence or 0, stop=stop)
        self._weight = 0
        self.events: list[Event] = []
        self.head = genesis(run_id)
        self.view: RunView
        if not self._catch_up():
            raise NotFoundError(f"there is no run {run_id}", hint="dreamdock ps -a")
        self.found = len(self.events)
        """How many events were there when it was opened."""

    @property
    def now(self) -> datetime:
        """The time by Redis's clock, as in the events: those of hosts may differ by minutes."""
        return datetime.now(UTC) + self._clock

    def refresh(self) -> None:
        """Take in what others have appended."""
        while True:
            try:
                self._catch_up()
            except RedisAwayError as error:
                self._wait(error)
            else:
                return

    def append(self, *bodies: Body, operation: Operation = "none", strict: bool = False) -> list[Event]:
        """Append events and return them; with an operation, end the run or pass it on in the same instant.

        The blobs that were added since the last append are stored, the lease is renewed and the view is moved on in
        that instant too: it's one script. What others appended meanwhile is taken in first; with `strict` that raises
        HeadMovedError, so that whoever decided by what was there can decide again.
        With a `stop`, Redis may be away for a while: it's waited for, and what it had taken isn't appended again.
        Raises LimitError where the attempt has filled the journal and may only end the run.
        Raises FencedError when a newer attempt owns the run, HeadMovedError also when the run is over or parked, or an
        open append with an operation meets a living lease, JournalError for a run that is gone; Stopped.
        """
        if self._fence is not None and operation == "none" and self._weight > _FULL:
            raise LimitError(f"the journal of run {self._run_id} is full", cause=f"it has {self._weight >> 20} MB")
        tried: dict[str, _Try] = {}
        moved = 0
        while moved < _RETRIES:
            known = len(self.events)
            try:
                status = self._try(bodies, operation, tried)
                if status != "OK" and (landed := self._landed(tried)):
                    self._blobs.clear()
                    return landed
            except RedisAwayError as error:
                self._wait(error)
                continue
            if status == "OK":
                return tried[self.head].events
            if status == "ARCHIVED":
                restore(self._client, self._run_id)
                continue
            if status != "HEAD":
                raise self._refusal(status)
            if len(self.events) == known:  # Nobody wrote in between.
                raise _damaged(self._run_id, f"its record isn't of what its {known} events lead to")
            moved += 1
            if strict:
                raise HeadMovedError(f"somebody else wrote to run {self._run_id}", hint="try again")
        raise HeadMovedError(f"the journal of run {self._run_id} is too busy", hint="try again")

    def blob(self, data: bytes) -> str:
        """Return a name for bytes that are stored beside the journal with the next append: `sha256:…`.

        Nothing is stored of nothing, nor of more than `MOST_BLOB_BYTES`: then the name is empty.
        """
        if not data or len(data) > MOST_BLOB_BYTES:
            return ""
        for secret in self._secrets:
            data = data.replace(secret.encode(), b"[redacted]")
        name = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._blobs[name] = zlib.compress(data)
        return name

    def _try(self, bodies: Sequence[Body], operation: Operation, tried: dict[str, _Try]) -> str | int:
        """Run the script once; `tried` takes the events under the head that they lead to, whatever comes of it."""
        head, view = self.head, self.view
        events, datas, entries = list[Event](), list[bytes](), list[str | bytes]()
        for number, body in enumerate(bodies, start=len(self.events) + 1):
            event, data = seal(number, body, at=self.now, who=self._who, fence=self._fence or 0, secrets=self._secrets)
            head = chain(head, data)
            try:
                view = apply(view, event)
            except ValueError as error:
                hint = f"dreamdock audit {self._run_id} --verify"
                raise JournalError(f"run {self._run_id} takes no such event", cause=str(error), hint=hint) from error
            events.append(event)
            datas.append(data)
            entries += [*_stored(data, head)]
        fence = "" if self._fence is None else self._fence
        blobs = [part for blob in self._blobs.items() for part in blob]
        record = keys.record(self._run_id)
        moment, signature = Head(len(self.events) + len(events), head), ""
        signer = self._signer if operation != "none" or any(isinstance(body, SIGNED) for body in bodies) else None
        if signer is not None:
            signature = signer.sign(self._run_id, moment)
        tried[head] = _Try(events, moment if signer is not None else None)
        told = [self._run_id, fence, self.head, head, view.state, dump_view(view), self._lease_ms, operation, signature]
        status = self._scripts(
            "append",
            [
                *(record, keys.stream(self._run_id), keys.LIVE, keys.PENDING, keys.RUNS),
                *(keys.blobs(self._run_id), keys.archive(self._run_id), keys.FINISHED),
            ],
            [*told, len(self._blobs), *blobs, *entries],
        )
        if status == "OK":
            self._remember(tried[head])
            self.events += events
            self.head, self.view = head, view
            self._weight += packing.weight(*datas)
            self._blobs.clear()
        return status

    def _landed(self, tried: Mapping[str, _Try]) -> list[Event]:
        """Take in what is new, and return the events of a try that was taken although its answer got lost."""
        heads = self._catch_up()
        taken = next((one for head, one in tried.items() if head in heads), _Try([], None))
        self._remember(taken)
        return taken.events

    def _remember(self, taken: _Try) -> None:
        if self._signer is not None and taken.signed is not None:
            self._signer.remember(self._run_id, taken.signed)

    def _wait(self, error: RedisAwayError) -> None:
        """Wait for Redis as long as the stop lets it. Raises the error where there is none, or it is set; Stopped."""
        if self._stop is None or self._stop.is_set:
            raise error
        self._stop.check()
        time.sleep(_AWAY_SECONDS)

    def _refusal(self, status: str | int) -> JournalError:
        run_id = self._run_id
        match status:
            case "DONE":
                return HeadMovedError(f"run {run_id} is over", hint=f"dreamdock show {run_id}")
            case "FENCED":
                return FencedError(f"another attempt owns run {run_id}")
            case "LEASED":
                return HeadMovedError(f"an attempt owns run {run_id}", hint="try again")
            case "PARKED":
                return HeadMovedError(f"run {run_id} is parked, or isn't", hint="try again")
            case _:
                return JournalError(f"run {run_id} is gone", cause=str(status))

    def _catch_up(self) -> set[str]:
        """Take in what is new, and return the heads that it led over."""
        heads = set()
        for entry in entries(self._client, self._run_id, after=len(self.events)):
            event, head = parse(self._run_id, entry), chain(self.head, entry.data)
            if head != entry.hash:
                raise _damaged(self._run_id, f"event {entry.seq} was altered, or one before it taken away")
            try:
                self.view = apply(self.view, event) if self.events else begin(self._run_id, event)
            except ValueError as error:
                hint = f"dreamdock audit {self._run_id} --verify"
                raise JournalError(
                    f"the journal of run {self._run_id} tells no run", cause=str(error), hint=hint
                ) from error
            self.events.append(event)
            self.head, self._weight = head, self._weight + packing.weight(entry.data)
            heads.add(head)
        return heads


def seal(
    number: int, body: Body, *, at: datetime, who: str, fence: int = 0, secrets: Sequence[str] = ()
) -> tuple[Event, bytes]:
    """Put a body into its envelope; return the event and the bytes that are hashed and stored, without secrets.

    Raises LimitError for what no reader would take.
    """
    event = Event(seq=number, at=at, who=who, fence=fence, body=body)
    text = event.model_dump_json()
    found = [secret for secret in secrets if secret in text]
    for secret in found:
        text = text.replace(secret, "[redacted]")
    data = text.encode()
    if len(data) > packing.MOST_EVENT_BYTES:
        cause = f"{body.type} has {len(data) >> 20} MB of {packing.MOST_EVENT_BYTES >> 20}"
        raise LimitError("that is too much for one event of a journal", cause=cause)
    return (Event.model_validate_json(text) if found else event), data


def dump_view(view: RunView) -> str:
    """Return the view as it is kept in the record; the spec lies beside it, once."""
    return view.model_dump_json(exclude={"spec"})


def load_view(spec: bytes, view: bytes) -> RunView:
    """Return the view from a record's two fields."""
    head, tail = view.decode().rsplit("}", 1)
    return RunView.model_validate_json(f'{head},"spec":{spec.decode()}}}{tail}')


def create(client: Redis, run_id: str, who: str, bodies: Sequence[Body]) -> RunView:
    """Record a new run: its first body is the submission. Raises JournalError where the id is taken."""
    head, stored, view, at = genesis(run_id), list[str | bytes](), None, datetime.now(UTC) + clock(client)
    for number, body in enumerate(bodies, start=1):
        event, data = seal(number, body, at=at, who=who)
        head = chain(head, data)
        stored += _stored(data, head)
        view = begin(run_id, event) if view is None else apply(view, event)
    if view is None or not isinstance(bodies[0], Submitted):
        raise JournalError("a run begins with its submission")
    now_ms = int(view.created_at.timestamp() * 1000)
    status = Scripts(client)(
        "create",
        [keys.record(run_id), keys.stream(run_id), keys.RUNS, keys.LIVE, keys.PENDING],
        [run_id, now_ms, view.state, view.spec.model_dump_json(), dump_view(view), head, *stored],
    )
    if status != "OK" and next((one.hash for one in entries(client, run_id, after=len(bodies) - 1)), "") != head:
        raise JournalError(f"run {run_id} exists already", hint="try again")  # Else it's this one: an answer got lost.
    return view
