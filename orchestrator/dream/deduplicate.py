"""Puts what was found into what is known: what says the same as an entry is evidence for it, and the rest is new.

The words of an entry stay as they are, whoever wrote them. Nothing that isn't to be recalled comes back by being said
again, but for what was stale: work that was accepted since shows that it holds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.dream.alike import Likeness
from orchestrator.dream.batch import Action, Change, Phase
from orchestrator.dream.similar import Similar
from orchestrator.library.entry import DATA, MOST, Origin, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.dream.batch import Batch
    from orchestrator.library.entry import Entry

_told: Final = partial(Change.of, Phase.DEDUPLICATE)
_SURE: Final = 0.95
"""Confidence that more runs don't raise."""
_ORIGINS: Final = tuple(Origin)
_STATES: Final = tuple(Status)


def deduplicate(batch: Batch, drafts: Iterable[Entry]) -> Batch:
    """Return the batch with the drafts in it, each as evidence of an entry or as one of its own.

    Drafts that say the same through others are one as well, so that their order doesn't matter.
    """
    entries, changes = dict(batch.entries), []
    for group, same in _groups(batch.entries, sorted(drafts, key=_rank)):
        proofs = {proof for draft in group for proof in draft.evidence}
        found = min(same, key=lambda one: (-len(proofs & {*one.evidence}), *_trust(one)), default=None)
        before = entries[found.id] if found else group[0]  # Another group may have supported it as well.
        after = before
        for draft in group:
            after = united(after, draft)
        entries[after.id] = after
        others = tuple(draft.id for draft in group if draft.id != after.id)
        if found is None:
            changes.append(_told(Action.ADDED, after, f"{after.origin}, {after.status}", *others))
        elif after != before:
            changes.append(_told(Action.MERGED, after, _why(before, after), *others))
    return batch.changed(entries.values(), *changes) if changes else batch


def _groups(entries: Mapping[str, Entry], drafts: Sequence[Entry]) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """Yield the drafts that say the same, the most believed first, each time with the entries that say so as well."""
    known, new = Similar(entries.values()), {draft.id: draft for draft in drafts}
    fresh = Similar(new.values())
    beside: dict[str, set[str]] = {name: set() for name in new}
    for draft in drafts:
        for other in _same(fresh, draft):
            if (other.origin in DATA) == (draft.origin in DATA):
                beside[draft.id].add(other.id)
                beside[other.id].add(draft.id)
    while beside:
        group, ahead = [], {next(iter(beside))}
        while ahead:
            name = ahead.pop()
            group.append(new[name])
            ahead |= beside.pop(name) & beside.keys()
        found = {other.id: other for draft in group for other in _same(known, draft)}
        found |= {draft.id: entries[draft.id] for draft in group if draft.id in entries}
        yield sorted(group, key=_rank), [other for other in found.values() if _may_support(group, other)]


def _may_support(group: Iterable[Entry], entry: Entry) -> bool:
    """Whether drafts are evidence for an entry.

    What a tool said supports nothing but what is locked up itself, and what a person said isn't locked up for being
    what a tool said as well.
    """
    if any(draft.origin in DATA for draft in group):
        return entry.origin in DATA
    return entry.origin not in DATA or all(draft.origin is not Origin.PERSON for draft in group)


def _same(known: Similar, draft: Entry) -> Iterator[Entry]:
    return (other for likeness, other in known.alike(draft) if likeness is Likeness.SAME)


def united(entry: Entry, draft: Entry) -> Entry:
    """Return an entry with what a draft that says the same has to show for it."""
    evidence = tuple(dict.fromkeys((*entry.evidence, *draft.evidence)))[:MOST]
    if evidence == entry.evidence:
        return entry
    confidence, status = entry.confidence, entry.status
    paths = {one.path: one for one in (*entry.paths, *draft.paths)}
    seen = {one.run for one in entry.evidence}
    if draft.status is Status.ACTIVE and any(one.run not in seen for one in draft.evidence):
        confidence = max(confidence, min(_SURE, 1 - (1 - confidence) * (1 - draft.confidence / 2)))
        status = Status.ACTIVE if status in {Status.UNVERIFIED, Status.STALE} else status
    seen_at = tuple(sorted(paths.values(), key=lambda one: one.path))[:MOST]
    return entry.changed(evidence=evidence, paths=seen_at, confidence=confidence, status=status)


def _rank(entry: Entry) -> tuple[int, int, float, int, str]:
    """Order entries by how far they are to be believed, so that the order in which they come doesn't matter."""
    trust = _ORIGINS.index(entry.origin), _STATES.index(entry.status)
    return *trust, -entry.confidence, -len(entry.evidence), entry.id


def _trust(entry: Entry) -> tuple[int, int, str]:
    """Order entries that say the same by which of them is to have the evidence."""
    return _STATES.index(entry.status), _ORIGINS.index(entry.origin), entry.id


def _why(before: Entry, after: Entry) -> str:
    more = f"{len(after.evidence) - len(before.evidence)} more steps say so"
    return more if before.status is after.status else f"{more}; {before.status} before, {after.status} now"
