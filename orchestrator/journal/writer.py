"""Writing a run's journal: who may append what, in one script each."""

from __future__ import annotations

import hashlib
import threading
import time
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchestrator.errors import FencedError, HeadMovedError, JournalError, LimitError, NotFoundError, RedisAwayError
from orchestrator.events import FORMAT, Body, Checkpointed, Claimed, Event, Rewound, Submitted, paid, price_of
from orchestrator.journal import keys, packing
from orchestrator.journal.asks import asks, user_of
from orchestrator.journal.connection import Scripts, available, clock
from orchestrator.journal.fold import apply, begin
from orchestrator.journal.live import Preview
from orchestrator.journal.signing import Head
from orchestrator.journal.stream import (
    MOST_BLOB_BYTES,
    as_stored,
    chain,
    damaged,
    dump_view,
    entries,
    genesis,
    parse,
    restore,
    stored_head,
)
from orchestrator.journal.tail import Call, Tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from orchestrator.journal.signing import Signer
    from orchestrator.runs import RunView
    from orchestrator.stop import Stop

Operation = Literal["none", "finish", "requeue", "reopen", "park", "resume"]
SIGNED: Final = (Claimed, Checkpointed, Rewound)
"""With these a signer signs, and with what ends an attempt."""
_FULL: Final = packing.MOST_RUN_BYTES * 3 // 4
"""Of a journal an attempt's share; the rest is for its end, and for what people say."""
_RETRIES: Final = 20
_AWAY_SECONDS: Final = 0.1


class _Try(NamedTuple):
    """Events that a script is given, what they lead to, and the head that was signed with them, where one was.

    `released` is how many of the names of what is put aside no more go with them.
    """

    events: list[Event]
    view: RunView
    weight: int
    signed: Head | None
    call: Call
    released: int


class Writer:
    """Appends to one run's journal and keeps its fold current.

    Fenced with a fencing token (an attempt), open without one (people, the keeper). Several threads may append.
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
        self._released: list[str] = []
        self._lock = threading.RLock()
        self._clock = clock(client)
        self.preview = Preview(client, run_id, self._secrets, fence=fence or 0, stop=stop)
        self._weight = 0
        self._tail = Tail()
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
        with self._lock:
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
        with self._lock:
            return self._append(*bodies, operation=operation, strict=strict)

    def _append(self, *bodies: Body, operation: Operation, strict: bool) -> list[Event]:
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
            moved += 1
            if status != "HEAD":
                raise self._refusal(status)
            if len(self.events) == known:  # Nobody wrote in between.
                self._write_again()
            elif strict:
                raise HeadMovedError(f"somebody else wrote to run {self._run_id}", hint="try again")
        raise HeadMovedError(f"the journal of run {self._run_id} is too busy", hint="try again")

    def reserve(self, name: str, most_usd: float, least_usd: float) -> str:
        """Put money aside of what the run's user and team have left today, and return what reserve.lua says.

        It's gone with the next append after `release`, and with what ends the attempt. Raises FencedError, Stopped.
        """
        args = [self._run_id, self._fence or "", name, f"{most_usd:.12f}", f"{least_usd:.12f}"]
        while True:
            try:
                answer = str(self._scripts("reserve", [keys.record(self._run_id)], args))
            except RedisAwayError as error:
                self._wait(error)
            else:
                break
        if answer == "FENCED":
            raise self._refusal(answer)
        return answer

    def release(self, name: str) -> None:
        """Give back what was put aside, with the next append."""
        self._released.append(name)

    def owns(self) -> bool:
        """Whether the fencing token is the run's newest; false where Redis doesn't say. From any thread."""
        found: Any = None
        with suppress(RedisAwayError), available():
            found = self._client.hget(keys.record(self._run_id), "fence")
        return found is not None and found == str(self._fence).encode()

    def blob(self, data: bytes) -> str:
        """Return a name for bytes that are stored beside the journal with the next append: `sha256:…`.

        Nothing is stored of nothing, nor of more than `MOST_BLOB_BYTES`: then the name is empty.
        """
        if not data or len(data) > MOST_BLOB_BYTES:
            return ""
        for secret in self._secrets:
            data = data.replace(secret.encode(), b"[redacted]")
        name = f"sha256:{hashlib.sha256(data).hexdigest()}"
        packed = zlib.compress(data)
        with self._lock:
            self._blobs[name] = packed
        return name

    def _try(self, bodies: Sequence[Body], operation: Operation, tried: dict[str, _Try]) -> str | int:
        """Run the script once; `tried` takes the events under the head that they lead to, whatever comes of it.

        What was tried on this head before is tried again as it was: somebody may have read it where it then got lost.
        """
        again = next((one for one in tried.values() if one.call.before == self.head), None)
        one = again or self._sealed(bodies, operation)
        tried[one.call.after] = one
        status = self._scripts("append", one.call.keys, one.call.args)
        if status == "OK":
            self._remember(one)
            self.events += one.events
            self.head, self.view = one.call.after, one.view
            self._weight += one.weight
            self._blobs.clear()
            del self._released[: one.released]
        return status

    def _sealed(self, bodies: Sequence[Body], operation: Operation) -> _Try:
        """Return what is to be appended on the head as it's known. Raises JournalError, LimitError."""
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
            entries += [*as_stored(data, head)]
        fence = "" if self._fence is None else self._fence
        blobs = [part for blob in self._blobs.items() for part in blob]
        moment, signature = Head(len(self.events) + len(events), head), ""
        signer = self._signer if operation != "none" or any(isinstance(body, SIGNED) for body in bodies) else None
        if signer is not None:
            signature = signer.sign(self._run_id, moment)
        told = [self._run_id, fence, self.head, head, view.state, dump_view(view), self._lease_ms, operation, signature]
        names = [
            *(keys.record(self._run_id), keys.stream(self._run_id), keys.LIVE, keys.RUNS),
            *(keys.blobs(self._run_id), keys.archive(self._run_id), keys.FINISHED),
        ]
        cost = price_of(*(reply for body in bodies for reply in paid(body))).money_usd
        asked = view.question if operation == "park" else None
        until = int(asked.deadline.timestamp() * 1000) if asked is not None else ""
        released = tuple(self._released)  # Others may add to it meanwhile.
        more = [FORMAT, f"{cost:.9f}", len(self._blobs), ",".join(released), until]
        call = Call(self.head, head, names, [*told, *more, *blobs, *entries])
        signed = moment if signer is not None else None
        return _Try(events, view, packing.weight(*datas), signed, call, len(released))

    def _landed(self, tried: Mapping[str, _Try]) -> list[Event]:
        """Take in what is new, and return the events of a try that was taken although its answer got lost."""
        heads = self._catch_up()
        taken = next((one for head, one in tried.items() if head in heads), None)
        if taken is None:
            return []
        while True:
            try:
                self._scripts.confirm()
            except RedisAwayError as error:
                self._wait(error)
            else:
                break
        self._remember(taken)
        return taken.events

    def _remember(self, taken: _Try) -> None:
        self._tail.keep(taken.call)
        if self._signer is not None and taken.signed is not None:
            self._signer.remember(self._run_id, taken.signed)

    def _write_again(self) -> None:
        """Write the end of the journal again that a fail-over lost. Raises JournalError where that isn't its fault."""
        try:
            lost = self._tail.between(stored_head(self._client, self._run_id), self.head)
            if not lost:
                raise damaged(self._run_id, f"its record isn't of what its {len(self.events)} events lead to")
            if all(self._scripts("append", call.keys, call.args) == "OK" for call in lost):
                import structlog  # noqa: PLC0415  # It takes 40 ms that `ps` doesn't pay.

                said = structlog.get_logger(__name__)
                said.warning("Redis lost the end of a journal; it is there again", run=self._run_id, appends=len(lost))
        except RedisAwayError as error:
            self._wait(error)

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
                raise damaged(self._run_id, f"event {entry.seq} was altered, or one before it taken away")
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


def create(client: Redis, run_id: str, who: str, bodies: Sequence[Body]) -> RunView:
    """Record a new run: its first body is the submission. Raises JournalError where the id is taken."""
    head, stored, view, at = genesis(run_id), list[str | bytes](), None, datetime.now(UTC) + clock(client)
    for number, body in enumerate(bodies, start=1):
        event, data = seal(number, body, at=at, who=who)
        head = chain(head, data)
        stored += as_stored(data, head)
        view = begin(run_id, event) if view is None else apply(view, event)
    if view is None or not isinstance(bodies[0], Submitted):
        raise JournalError("a run begins with its submission")
    status = Scripts(client)(
        "create",
        [keys.record(run_id), keys.stream(run_id), keys.RUNS, keys.LIVE],
        [
            *(run_id, view.state, view.spec.model_dump_json(), dump_view(view), head),
            *(user_of(who), asks(view.spec, who), FORMAT, *stored),
        ],
    )
    if status != "OK" and next((one.hash for one in entries(client, run_id, after=len(bodies) - 1)), "") != head:
        raise JournalError(f"run {run_id} exists already", hint="try again")  # Else it's this one: an answer got lost.
    return view
