"""What a dream works on: a scope's entries as they are to be, and what it did to them on the way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.dialogue import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.library.entry import Entry


class Phase(StrEnum):
    """The phases, in their order."""

    COLLECT = "collect"
    EXTRACT = "extract"
    DEDUPLICATE = "deduplicate"
    WORD = "word"  # Only with a model.
    VERIFY = "verify"
    RESOLVE = "resolve"
    COMPRESS = "compress"
    COMMIT = "commit"


class Action(StrEnum):
    """What was done to an entry; nothing is ever deleted."""

    ADDED = "added"
    COUNTED = "counted"  # Runs were given it, and some of those accepted.
    MERGED = "merged"  # It took the evidence of others that say the same.
    REWORDED = "reworded"
    CONFIRMED = "confirmed"  # What it says was seen to hold.
    MOVED = "moved"  # Files that it's about have other names now.
    DOUBTED = "doubted"  # Code that it names isn't there any more.
    STALE = "stale"
    SUPERSEDED = "superseded"
    DISPUTED = "disputed"  # It contradicts another one, and a person has to say which holds.
    ARCHIVED = "archived"
    LEFT_OUT = "left out"  # It never became an entry.


class Change(Value):
    """One thing that was done, and why; `entry` is the entry's id, `others` those that had to do with it."""

    phase: Phase
    action: Action
    entry: str
    title: str
    why: str = ""
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, phase: Phase, action: Action, entry: Entry, why: str, *others: str) -> Change:
        """Return what a phase did to an entry."""
        return cls(phase=phase, action=action, entry=entry.id, title=entry.title, why=why, others=others)


@dataclass(frozen=True)
class Batch:
    """A scope's entries by their ids, and the changes up to here. Phases take one and return the next.

    `notes` are what a phase couldn't do or tell, for the report: where there is nothing else, nothing has changed.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def changed(self, entries: Iterable[Entry], *changes: Change) -> Batch:
        """Return it with these entries in the place of those with their ids, and with these changes told."""
        return replace(
            self,
            entries={**self.entries, **{entry.id: entry for entry in entries}},
            changes=(*self.changes, *changes),
        )

    def noted(self, *notes: str) -> Batch:
        """Return it with these notes for the report."""
        return replace(self, notes=(*self.notes, *notes))
