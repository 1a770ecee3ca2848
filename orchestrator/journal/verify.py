"""Whether a journal is as it was written, held against everything that vouches for it.

Its own hash chain; the run's record; the signatures of those who carried it; the checkpoints in the store, which carry
the head that they were taken at; and the last head that this machine itself signed.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import events as e
from orchestrator.errors import JournalError, NotFoundError
from orchestrator.journal import chain, keys
from orchestrator.journal.chain import Fault
from orchestrator.journal.connection import available
from orchestrator.journal.signing import Head, Key, key_id
from orchestrator.journal.stream import Entry, entries, packed_blobs, parse, unpacked
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from redis import Redis

    from orchestrator.events import Event

_VOUCHED: Final = (e.Claimed, e.Checkpointed, e.Rewound)
"""What a worker signs, whoever the event says that it's by."""
_WORK: Final = (
    *(e.SetUp, e.Built, e.SandboxReady, e.Prompted, e.RequestFailed, e.Proposed, e.Chosen, e.Replied),
    *(e.CallStarted, e.CallFinished, e.FinishStarted, e.Judged, e.Ruled, e.Refused),
    *(e.Recalled, e.ChildStarted, e.Within, e.ChildFinished, e.ChildMerged),
)
"""What only a worker writes: under its fencing token, and unsigned until its step is committed."""
_AT_ONCE: Final = 50
_NOTE: Final = re.compile(rb"tree ([0-9a-f]{40})\n(?:[^\n]+\n)+\n([0-9a-f]{64})\n")


class Noted(NamedTuple):
    """What a checkpoint in the store says: its tree, and the journal's head that it was taken at."""

    tree: str
    head: str


class Evidence(NamedTuple):
    """What a journal is held against beside its own chain; without `keys` its signatures aren't looked at.

    `recorded` is what the run's record says, before and after the events were read; `remembered` is the last head that
    this machine signed; `noted` returns those of some checkpoints' commits that the store has, `blobs` stored bytes.
    """

    recorded: tuple[Head, Head] | None = None
    remembered: Head | None = None
    keys: Mapping[str, Key] | None = None
    noted: Callable[[Sequence[str]], Mapping[str, bytes]] = lambda _commits: {}
    blobs: Callable[[Sequence[str]], Mapping[str, bytes | None]] = lambda _names: {}


class Check(NamedTuple):
    """What the check found: `broken_at` is the number of the first event that isn't as it was written, 0 if none.

    `kind` is a word for what is wrong, see `Fault`. `signatures` of `signers` hold, the last one at event `signed_to`;
    `checkpoints` were found in the store with the head that they were taken at.
    """

    head: str
    events: int
    broken_at: int = 0
    why: str = ""
    kind: str = ""
    signatures: int = 0
    signed_to: int = 0
    signers: tuple[Key, ...] = ()
    checkpoints: int = 0

    @property
    def ok(self) -> bool:
        """Whether the journal is whole."""
        return not self.broken_at


class Journal(NamedTuple):
    """A journal as it lies there. `events` are those that this version can read; `unread` are the others."""

    run: str
    entries: tuple[Entry, ...]
    events: tuple[Event, ...]
    unread: tuple[Entry, ...]

    @classmethod
    def of(cls, run_id: str, stored: Iterable[Entry]) -> Journal:
        """Read what was stored. What can't be read stays bytes, and its chain is checked all the same."""
        held, read, unread = tuple(stored), [], []
        for entry in held:
            try:
                read.append(parse(run_id, entry))
            except JournalError:
                unread.append(entry)
        return cls(run_id, held, tuple(read), tuple(unread))


class _Witness(NamedTuple):
    """Something that confirms a head of the journal, or denies it."""

    seq: int
    holds: bool
    why: str = ""


def verify(client: Redis, run_id: str) -> Check:
    """Check one run's hash chain against its record, and nothing else. Raises NotFoundError."""
    return check(*collect(client, run_id))


def collect(client: Redis, run_id: str) -> tuple[Journal, Evidence]:
    """Return a run's journal and what Redis has to hold it against. Raises NotFoundError."""
    before = _recorded(client, run_id)
    journal = Journal.of(run_id, entries(client, run_id))
    evidence = Evidence((before, _recorded(client, run_id)), blobs=lambda names: packed_blobs(client, run_id, names))
    return journal, evidence


def check(journal: Journal, evidence: Evidence) -> Check:
    """Return whether a journal is as it was written, and else the first event that isn't."""
    heads, broken = chain.heads(journal.run, journal.entries)
    last = len(heads) - 1
    if broken is not None:
        known = evidence.recorded[1].seq if evidence.recorded else broken.seq
        beyond = Fault(broken.seq, "inserted", f"event {broken.seq} was inserted: the record ends at {known}")
        return _result(heads, beyond if broken.seq > known else broken)
    signatures = _signatures(journal, heads, evidence.keys or {})
    checkpoints = _checkpoints(journal, heads, evidence)
    fault = (
        _denied([*signatures, *checkpoints])
        or _against_record(heads, evidence)
        or (_unsigned(journal, signatures, evidence.keys) if evidence.keys is not None else None)
        or _blob_fault(journal, evidence)
    )
    signed = {seq for seq, holds, _ in signatures if holds}
    told = {key_id(journal.entries[seq - 1].signature) for seq in signed}
    return _result(heads, fault)._replace(
        events=last,
        signatures=len(signed),
        signed_to=max(signed, default=0),
        signers=tuple(key for known, key in (evidence.keys or {}).items() if known in told),
        checkpoints=sum(witness.holds for witness in checkpoints),
    )


def _result(heads: Sequence[str], fault: Fault | None) -> Check:
    head, count = heads[-1], len(heads) - 1
    return Check(head, count, fault.seq, fault.why, fault.kind) if fault else Check(head, count)


def _signatures(journal: Journal, heads: Sequence[str], known: Mapping[str, Key]) -> list[_Witness]:
    """Return what the signatures of pinned keys say."""
    return [
        _Witness(
            entry.seq,
            known[key_id(entry.signature)].has_signed(entry.signature, journal.run, Head(entry.seq, heads[entry.seq])),
            f"the signature at event {entry.seq} is not over what lies there",
        )
        for entry in journal.entries
        if key_id(entry.signature) in known
    ]


def _checkpoints(journal: Journal, heads: Sequence[str], evidence: Evidence) -> list[_Witness]:
    """Return what the store's checkpoints say: each was taken at a head of this chain, of the tree that it names."""
    steps = _checkpointed(journal)
    found = evidence.noted(commits(journal))
    places = {head: place for place, head in enumerate(heads)}
    witnesses = []
    for seq, body in steps:
        note = _note(found[body.commit]) if body.commit in found else None
        if note is None:
            continue  # Given up by retention, or of a store that isn't here: it says nothing.
        at = places.get(note.head, seq)
        why = f"the checkpoint of step {body.step} in the store carries another head"
        holds = at < seq and note.tree == body.tree
        witnesses.append(_Witness(at if holds else seq, holds, why))
    return witnesses


def _note(commit: bytes) -> Noted | None:
    found = _NOTE.match(commit)
    return Noted(found[1].decode(), found[2].decode()) if found else None


def _denied(witnesses: Sequence[_Witness]) -> Fault | None:
    """Return the first head that is denied: an event behind the last one confirmed isn't as it was written."""
    denied = min((witness for witness in witnesses if not witness.holds), default=None)
    if denied is None:
        return None
    confirmed = [witness.seq for witness in witnesses if witness.holds]
    if any(seq >= denied.seq for seq in confirmed):
        return Fault(denied.seq, "altered", f"{denied.why}, though a later witness holds")
    first = max(confirmed, default=0) + 1
    which = f"event {first}" if first == denied.seq else f"an event from {first} to {denied.seq}"
    return Fault(first, "altered", f"{which} was altered and the hashes computed anew: {denied.why}")


def _against_record(heads: Sequence[str], evidence: Evidence) -> Fault | None:
    """Return where the journal ends too early or too late, or isn't what was recorded of it outside itself."""
    last = len(heads) - 1
    if evidence.recorded is not None:
        before, after = evidence.recorded
        if last < before.seq:
            return Fault(
                last + 1, "cut off", f"the journal was cut off after event {last}: the record tells {before.seq}"
            )
        if last > after.seq:
            return Fault(after.seq + 1, "inserted", f"event {after.seq + 1} was inserted behind the end of the journal")
        if heads[before.seq] != before.hash:
            return Fault(before.seq, "altered", f"event {before.seq} or one before it was altered: the record differs")
    signed = evidence.remembered
    if signed is not None and last < signed.seq:
        why = f"the journal was cut off after event {last}: this machine signed event {signed.seq}"
        return Fault(last + 1, "cut off", why)
    if signed is not None and heads[signed.seq] != signed.hash:
        why = f"event {signed.seq} or one before it was altered: this machine signed another"
        return Fault(signed.seq, "altered", why)
    return None


def _unsigned(journal: Journal, signatures: Sequence[_Witness], known: Mapping[str, Key]) -> Fault | None:
    """Return the first event of a worker that no pinned key vouches for."""
    covered = max((witness.seq for witness in signatures), default=0)
    bare = next((one for one in journal.events if one.seq > covered and _wants_signature(one)), None)
    unread = next((entry for entry in journal.unread if entry.seq > covered), None)
    if unread is not None and (bare is None or unread.seq < bare.seq):
        return Fault(unread.seq, "unsigned", f"event {unread.seq} can't be read, and no signature covers it")
    if bare is None:
        return None
    others = [key_id(entry.signature) for entry in journal.entries[covered:] if entry.signature]
    stranger = next((one for one in others if one not in known), "")
    if stranger:
        return Fault(
            bare.seq, "unpinned", f"event {bare.seq} is vouched for by key {stranger[:16]!r} alone, which isn't pinned"
        )
    return Fault(bare.seq, "unsigned", f"event {bare.seq} ({bare.body.type}) and what follows it carries no signature")


def _wants_signature(event: Event) -> bool:
    """Whether only a worker can have written an event, which then lies under a signature, or in an open step."""
    body, fenced = event.body, bool(event.fence)
    if isinstance(body, _WORK):
        return not fenced
    ended = isinstance(body, e.Finished) and body.outcome is not Outcome.CANCELLED  # People and keepers cancel.
    return isinstance(body, _VOUCHED) or ended or (fenced and isinstance(body, e.AttemptLost | e.Finished))


def blob_names(journal: Journal) -> list[tuple[int, str]]:
    """Return the blobs that events name, each with the event's number."""
    return [
        (event.seq, body.patch)
        for event in journal.events
        if isinstance(body := e.innermost(event.body)[0], e.Checkpointed | e.ChildFinished | e.Finished) and body.patch
    ]


def commits(journal: Journal) -> list[str]:
    """Return the commits of a journal's checkpoints."""
    return [body.commit for _, body in _checkpointed(journal)]


def _checkpointed(journal: Journal) -> list[tuple[int, e.Checkpointed]]:
    """Return the checkpoints that a journal tells of, those of sub-agents too, each with its event's number."""
    bodies = ((event.seq, e.innermost(event.body)[0]) for event in journal.events)
    return [(seq, body) for seq, body in bodies if isinstance(body, e.Checkpointed)]


def _blob_fault(journal: Journal, evidence: Evidence) -> Fault | None:
    """Return the first event whose blob isn't what its name says."""
    named = blob_names(journal)
    for start in range(0, len(named), _AT_ONCE):
        part = named[start : start + _AT_ONCE]
        found = evidence.blobs([name for _, name in part])
        for seq, name in part:
            if name in found and not is_blob(name, found[name]):
                return Fault(seq, "blob", f"the patch of event {seq} is missing or altered: {name}")
    return None


def is_blob(name: str, packed: bytes | None) -> bool:
    """Whether stored bytes are what a blob's name says, and no more than a blob may have."""
    data = unpacked(packed)
    return data is not None and name == f"sha256:{hashlib.sha256(data).hexdigest()}"


def _recorded(client: Redis, run_id: str) -> Head:
    found: Any
    with available():
        found = client.hmget(keys.record(run_id), ["seq", "head"])
    if found[1] is None:
        raise NotFoundError(f"there is no run {run_id}", hint="dreamdock ps -a")
    try:
        return Head(int(found[0] or 0), found[1].decode(errors="replace"))
    except ValueError as error:
        cause = "its number of events is none"
        raise JournalError(f"the record of run {run_id} isn't as it was written", cause=cause) from error
