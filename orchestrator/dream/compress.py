"""Keeps what is in view small: of each kind so many entries, the most useful. The others are archived, not lost."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Final

from orchestrator.dream.batch import Action, Change, Phase
from orchestrator.library.entry import IN_VIEW, Origin, Status

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.dream.batch import Batch
    from orchestrator.library.entry import Entry

_HALF_LIFE_S: Final = 180 * 86_400
"""An entry that old, and not given to any run, counts half."""


def compress(batch: Batch, keep: int, now: datetime) -> Batch:
    """Archive what is beyond `keep` entries of a kind in view, the least useful first and persons' last."""
    in_view = [entry for entry in batch.entries.values() if entry.status in IN_VIEW]
    archived, changes = [], []
    for kind, group in groupby(sorted(in_view, key=lambda entry: entry.kind), key=lambda entry: entry.kind):
        ranked = sorted(group, key=lambda entry: _rank(entry, now))
        for entry in ranked[keep:]:
            archived.append(entry.changed(status=Status.ARCHIVED))
            why = f"{len(ranked)} entries of kind {kind} are more than {keep}, and this one is of less use"
            changes.append(Change.of(Phase.COMPRESS, Action.ARCHIVED, entry, why))
    return batch.changed(archived, *changes) if archived else batch


def _rank(entry: Entry, now: datetime) -> tuple[bool, bool, float, str]:
    by_person, active = entry.origin is Origin.PERSON, entry.status is Status.ACTIVE
    return not by_person, not active, -worth(entry, now), entry.id


def worth(entry: Entry, now: datetime) -> float:
    """Return how much an entry is worth: what it was good for, how sure it is, how many runs say so, and its age."""
    outcome = (entry.accepted + 1) / (entry.uses + 2)  # Half where nothing is known.
    runs = len({one.run for one in entry.evidence})
    when = entry.updated or entry.created or now
    age = max(0.0, (now - when).total_seconds())
    fresh = math.exp2(-age / _HALF_LIFE_S)
    used = entry.uses / (entry.uses + 3)
    return outcome * (1 + 2 * used) * (0.2 + entry.confidence) * (1 + min(runs, 5) / 5) * (used + (1 - used) * fresh)
