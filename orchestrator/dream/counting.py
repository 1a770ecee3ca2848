"""Counts what entries were good for: how many runs were given one, and how many of those were accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.dream.batch import Action, Change, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.dream.batch import Batch


def count(batch: Batch, uses: Mapping[str, tuple[int, int]]) -> Batch:
    """Add to entries, by their ids, how many runs were given each and how many of those were accepted.

    Who calls it sees to it that each run is counted once. What isn't in the batch isn't counted.
    """
    counted, changes = [], []
    for name, (given, accepted) in sorted(uses.items()):
        entry = batch.entries.get(name)
        if entry is not None and given > 0:
            counted.append(entry.changed(uses=entry.uses + given, accepted=entry.accepted + accepted))
            why = f"given to {given} more {'run' if given == 1 else 'runs'}, {accepted} of them accepted"
            changes.append(Change.of(Phase.COLLECT, Action.COUNTED, entry, why))
    return batch.changed(counted, *changes) if counted else batch
