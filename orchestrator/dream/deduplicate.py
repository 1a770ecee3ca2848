"""Puts what was found into what is known: what says the same as an entry is evidence for it, and the rest is new.

The words of an entry stay as they are, whoever wrote them. Nothing that isn't to be recalled comes back by being said
again, but for what was stale: work that was accepted since shows that it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.dream.alike import Likeness
from orchestrator.dream.batch import Action, Change, Phase
from orchestrator.dream.similar import Similar
from orchestrator.library.entry import DATA, MOST, Origin, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dream.batch import Batch
    from orchestrator.library.entry import Entry

_SURE: Final = 0.95
"""Confidence that more runs don't raise."""
_ORIGINS: Final = tuple(Origin)
_STATES: Final = tuple(Status)


def deduplicate(batch: Batch, drafts: Iterable[Entry]) -> Batch:
    """Return the batch with the drafts in it, each as evidence of an entry or as one of its own."""
    entries, changes = dict(batch.entries), list[Change]()
    known = Similar(entries.values())
    for draft in sorted(drafts, key=_rank):
        same = entries.get(draft.id) or min(_same(known, draft), key=_trust, default=None)
        if same is None:
            entries[draft.id] = draft
            known.add(draft)
            changes.append(_told(Action.ADDED, draft, f"{draft.origin}, {draft.status}"))
            continue
        merged = united(same, draft)
        if merged != same:
            entries[same.id] = merged
            known.add(merged)
            others = () if draft.id == same.id else (draft.id,)
            changes.append(_told(Action.MERGED, merged, _why(same, merged), *others))
    return batch.changed(entries.values(), *changes) if changes else batch


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


def _same(known: Similar, draft: Entry) -> Iterable[Entry]:
    """Yield the entries that a draft is evidence for.

    What a tool said supports nothing but what is locked up itself, and what a person said isn't locked up for being
    what a tool said as well.
    """
    for likeness, other in known.alike(draft):
        data, theirs = draft.origin in DATA, other.origin in DATA
        if likeness is Likeness.SAME and (theirs if data else not (theirs and draft.origin is Origin.PERSON)):
            yield other


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


def _told(action: Action, entry: Entry, why: str, *others: str) -> Change:
    return Change(phase=Phase.DEDUPLICATE, action=action, entry=entry.id, title=entry.title, why=why, others=others)
