"""Reading and writing a run's journal: an append-only, hash-chained Redis stream."""

from __future__ import annotations

import hashlib
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from orchestrator.errors import FencedError, HeadMovedError, JournalError, NotFoundError
from orchestrator.events import Body, Checkpointed, Claimed, Event, Rewound, Submitted
from orchestrator.journal import keys
from orchestrator.journal.connection import Scripts, available
from orchestrator.journal.fold import apply, begin
from orchestrator.journal.live import Preview, Said
from orchestrator.journal.live import parse as parse_said
from orchestrator.journal.signing import Head
from orchestrator.runs import RunView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from redis import Redis

    from orchestrator.journal.signing import Signer

Operation = Literal["none", "finish", "requeue", "reopen"]
SIGNED: Final = (Claimed, Checkpointed, Rewound)
"""With these a signer signs, and with what ends an attempt."""
MOST_BLOB_BYTES: Final = 16 * 1024 * 1024
_RETRIES: Final = 20
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
    """Yield what is stored behind event number `after`, in order."""
    last = f"{after}-0"
    while True:
        page: Any
        with available():
            page = client.xrange(keys.stream(run_id), min=f"({last}", count=_PAGE)
        for entry_id, fields in page:
            last = entry_id.decode()
            yield _entry(entry_id, fields)
        if len(page) < _PAGE:
            return


def _entry(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    seq, _, minor = entry_id.partition(b"-")
    hashed, signature = (fields.get(name, b"").decode(errors="replace") for name in (b"h", b"s"))
    return Entry(int(seq), fields.get(b"e", b""), hashed, signature, int(minor))


def parse(run_id: str, entry: Entry) -> Event:
    """Return the event of an entry. Raises JournalError for what this version can't read."""
    try:
        return Event.model_validate_json(entry.data)
    except ValidationError as error:
        cause = f"event {entry.seq} of run {run_id} is of an unknown kind or damaged"
        hint = f"dreamdock audit {run_id} --verify; a newer dreamdock may have written it"
        raise JournalError("the journal can't be read", cause=cause, hint=hint) from error


def read(client: Redis, run_id: str, *, after: int = 0) -> Iterator[Event]:
    """Yield the run's events behind number `after`."""
    return (parse(run_id, entry) for entry in entries(client, run_id, after=after))


def follow(client: Redis, run_id: str, *, after: int = 0) -> Iterator[Event | None]:
    """Yield events as they come; None each second without one, so that the caller may look around."""
    return (item for item in listen(client, run_id, after=after, live=False) if not isinstance(item, Said))


def listen(client: Redis, run_id: str, *, after: int = 0, live: bool = True) -> Iterator[Event | Said | None]:
    """Yield events as they come, as `follow` does, and with `live` what the model is just saying."""
    places: dict[Any, Any] = {keys.stream(run_id).encode(): f"{after}-0"}
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
    packed: Any
    with available():
        packed = client.hget(keys.blobs(run_id), name)
    try:
        data = zlib.decompress(packed) if packed is not None else None
    except zlib.error:
        data = None
    if data is None or name != f"sha256:{hashlib.sha256(data).hexdigest()}":
        raise JournalError("a part of the journal is missing or altered", cause=f"blob {name}", hint="dreamdock audit")
    return data


class Writer:
    """Appends to one run's journal and keeps its fold current.

    Fenced with a fencing token (an attempt), open without one (people, the keeper).
    `secrets` are values that never get in: they are replaced before anything is hashed or stored.
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
        signer: Signer | None = None,
    ) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._run_id = run_id
        self._who = who
        self._fence = fence
        self._lease_ms = int(lease_seconds * 1000)
        self._secrets = tuple(secret for secret in secrets if len(secret) >= 8)  # noqa: PLR2004  # Shorter: no secret.
        self._signer = signer
        self.preview = Preview(client, run_id, self._secrets, fence=fence or 0)
        self.events: list[Event] = []
        self.head = genesis(run_id)
        first = next(read(client, run_id), None)
        if first is None:
            raise NotFoundError(f"there is no run {run_id}", hint="dreamdock ps -a")
        self.view: RunView = begin(run_id, first)
        self._catch_up()

    def append(self, *bodies: Body, operation: Operation = "none") -> list[Event]:
        """Append events and return them; with an operation, end the run or pass it on in the same instant.

        Raises FencedError when a newer attempt owns the run, HeadMovedError when the run is over or an open append with
        an operation meets a living lease, JournalError for a run that is gone.
        """
        for _ in range(_RETRIES):
            status, events = self._try(bodies, operation)
            match status:
                case "OK":
                    return events
                case "HEAD":
                    self._catch_up()
                case "DONE":
                    raise HeadMovedError(f"run {self._run_id} is over", hint=f"dreamdock show {self._run_id}")
                case "FENCED":
                    raise FencedError(f"another attempt owns run {self._run_id}")
                case "LEASED":
                    raise HeadMovedError(f"an attempt owns run {self._run_id}", hint="try again")
                case _:
                    raise JournalError(f"run {self._run_id} is gone", cause=str(status))
        raise HeadMovedError(f"the journal of run {self._run_id} is too busy", hint="try again")

    def blob(self, data: bytes) -> str:
        """Store bytes beside the journal and return their name for an event: `sha256:…`.

        Nothing is stored of nothing, nor of more than `MOST_BLOB_BYTES`: then the name is empty.
        """
        if not data or len(data) > MOST_BLOB_BYTES:
            return ""
        for secret in self._secrets:
            data = data.replace(secret.encode(), b"[redacted]")
        name = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with available():
            self._client.hset(keys.blobs(self._run_id), name, zlib.compress(data))
        return name

    def _try(self, bodies: Sequence[Body], operation: Operation) -> tuple[str | int, list[Event]]:
        head, view = self.head, self.view
        events, pairs = [], []
        for number, body in enumerate(bodies, start=len(self.events) + 1):
            event, data = seal(number, body, who=self._who, fence=self._fence or 0, secrets=self._secrets)
            head = chain(head, data)
            view = apply(view, event)
            events.append(event)
            pairs += [data, head]
        fence = "" if self._fence is None else self._fence
        record = keys.record(self._run_id)
        moment, signature = Head(len(self.events) + len(events), head), ""
        signer = self._signer if operation != "none" or any(isinstance(body, SIGNED) for body in bodies) else None
        if signer is not None:
            signature = signer.sign(self._run_id, moment)
        told = [self._run_id, fence, self.head, head, view.state, dump_view(view), self._lease_ms, operation, signature]
        status = self._scripts(
            "append", [record, keys.stream(self._run_id), keys.LIVE, keys.PENDING, keys.RUNS], [*told, *pairs]
        )
        if status == "OK":
            if signer is not None:
                signer.remember(self._run_id, moment)
            self.events += events
            self.head, self.view = head, view
        return status, events

    def _catch_up(self) -> None:
        for entry in entries(self._client, self._run_id, after=len(self.events)):
            event = parse(self._run_id, entry)
            self.view = apply(self.view, event) if self.events else self.view
            self.events.append(event)
            self.head = chain(self.head, entry.data)


def seal(number: int, body: Body, *, who: str, fence: int = 0, secrets: Sequence[str] = ()) -> tuple[Event, bytes]:
    """Put a body into its envelope; return the event and the bytes that are hashed and stored, without secrets."""
    event = Event(seq=number, at=datetime.now(UTC), who=who, fence=fence, body=body)
    text = event.model_dump_json()
    found = [secret for secret in secrets if secret in text]
    for secret in found:
        text = text.replace(secret, "[redacted]")
    return (Event.model_validate_json(text) if found else event), text.encode()


def dump_view(view: RunView) -> str:
    """Return the view as it is kept in the record; the spec lies beside it, once."""
    return view.model_dump_json(exclude={"spec"})


def load_view(spec: bytes, view: bytes) -> RunView:
    """Return the view from a record's two fields."""
    head, tail = view.decode().rsplit("}", 1)
    return RunView.model_validate_json(f'{head},"spec":{spec.decode()}}}{tail}')


def create(client: Redis, run_id: str, who: str, bodies: Sequence[Body]) -> RunView:
    """Record a new run: its first body is the submission. Raises JournalError where the id is taken."""
    head, pairs, view = genesis(run_id), [], None
    for number, body in enumerate(bodies, start=1):
        event, data = seal(number, body, who=who)
        head = chain(head, data)
        pairs += [data, head]
        view = begin(run_id, event) if view is None else apply(view, event)
    if view is None or not isinstance(bodies[0], Submitted):
        raise JournalError("a run begins with its submission")
    now_ms = int(view.created_at.timestamp() * 1000)
    status = Scripts(client)(
        "create",
        [keys.record(run_id), keys.stream(run_id), keys.RUNS, keys.LIVE, keys.PENDING],
        [run_id, now_ms, view.state, view.spec.model_dump_json(), dump_view(view), head, *pairs],
    )
    if status != "OK":
        raise JournalError(f"run {run_id} exists already", hint="try again")
    return view
