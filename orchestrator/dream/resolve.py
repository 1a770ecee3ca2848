"""Settles contradictions: by recency where the newer entry has no less to show for it, and else by asking a person.

What an agent noted never takes the place of what a person said, and nothing takes the place of what a person wrote
into the library.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orchestrator.dream.alike import Likeness
from orchestrator.dream.batch import Action, Change, Phase
from orchestrator.dream.similar import Similar
from orchestrator.library.entry import IN_VIEW, MOST, Origin, Status

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.dream.batch import Batch
    from orchestrator.library.entry import Entry

_told: Final = partial(Change.of, Phase.RESOLVE)


def resolve(batch: Batch, now: datetime) -> Batch:
    """Return the batch with every contradiction between entries that are believed settled, or put to a person.

    `now` is the age of an entry that doesn't tell its own.
    """
    live = sorted((one for one in batch.entries.values() if one.status in IN_VIEW), key=lambda one: _age(one, now))
    known = Similar(live)
    pairs = sorted(
        {
            (min(one.id, other.id), max(one.id, other.id))
            for one in live
            for likeness, other in known.alike(one)
            if likeness is Likeness.CONTRADICTION
        }
    )
    place = {entry.id: number for number, entry in enumerate(live)}
    pairs.sort(key=lambda pair: sorted((place[name] for name in pair), reverse=True))
    while True:  # Each go only makes entries less believed, so there is a last one.
        settled = batch
        for pair in pairs:
            older, newer = sorted((settled.entries[name] for name in pair), key=lambda one: place[one.id])
            if older.status in IN_VIEW and newer.status in IN_VIEW:
                settled = _settled(settled, older, newer)
        if settled is batch:
            return batch
        batch = settled


def _settled(batch: Batch, older: Entry, newer: Entry) -> Batch:
    if _may_supersede(newer, older):
        heir = newer.changed(supersedes=tuple(dict.fromkeys((*newer.supersedes, older.id)))[:MOST])
        gone = older.changed(status=Status.SUPERSEDED)
        return batch.changed((heir, gone), _told(Action.SUPERSEDED, older, "a newer one says otherwise", newer.id))
    weaker, other = (older, newer) if _standing(newer) > _standing(older) else (newer, older)
    if weaker.status is Status.UNVERIFIED:
        return batch
    why = "it contradicts another one, and a person has to say which holds"
    told = _told(Action.DISPUTED, weaker, why, other.id)
    return batch.changed((weaker.changed(status=Status.UNVERIFIED),), told)


def _may_supersede(newer: Entry, older: Entry) -> bool:
    """Whether the newer one takes the older one's place without a person being asked."""
    return newer.status is Status.ACTIVE and not _by_hand(older) and _standing(newer) >= _standing(older)


def _standing(entry: Entry) -> tuple[bool, bool, bool, int]:
    """Return what an entry has to show for it: a person, a status, and the runs that it's known from."""
    said, active = entry.origin is Origin.PERSON, entry.status is Status.ACTIVE
    return _by_hand(entry), said, active, len({one.run for one in entry.evidence})


def _by_hand(entry: Entry) -> bool:
    """Whether a person wrote it into the library, and didn't only say it to a run."""
    return entry.origin is Origin.PERSON and not entry.evidence


def _age(entry: Entry, now: datetime) -> tuple[datetime, str]:
    return entry.updated or entry.created or now, entry.id
