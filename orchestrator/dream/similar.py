"""Entries by what they say, so that those which may say the same are found without comparing each with each."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from heapq import nsmallest
from math import log
from typing import TYPE_CHECKING, Final

from orchestrator.dream.alike import Likeness, compare
from orchestrator.dream.statement import Statement
from orchestrator.library.entry import EntryKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.library.entry import Entry

_CANDIDATES: Final = 40
"""Entries that one is compared with, at most: those that share the rarest words with it."""
_CROWD: Final = 500
"""Entries that are weighed for it, at most, unless the rarest of its words has more."""


class Similar:
    """An index of entries by the words and literals of their claims."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_word: dict[str, set[str]] = {}
        for entry in entries:
            self._entries[entry.id] = entry
            for word in _words(claim(entry)):
                self._by_word.setdefault(word, set()).add(entry.id)

    def alike(self, entry: Entry) -> Iterator[tuple[Likeness, Entry]]:
        """Yield the others that say the same as an entry or contradict it, the most alike first."""
        for name in self._candidates(entry):
            other = self._entries[name]
            likeness = likeness_of(entry, other)
            if likeness is not Likeness.DIFFERENT:
                yield likeness, other

    def _candidates(self, entry: Entry) -> list[str]:
        """Return those that share the most telling words, by the rarest of them: a crowd of others isn't looked at."""
        found = [self._by_word[word] for word in _words(claim(entry)) if word in self._by_word]
        scores: Counter[str] = Counter()
        total = len(self._entries) + 1
        for names in sorted(found, key=len):
            if scores and len(scores) + len(names) > _CROWD:
                break
            weight = round(1000 * log(1 + total / len(names)))
            for name in names:
                scores[name] += weight
        del scores[entry.id]
        return nsmallest(_CANDIDATES, scores, key=lambda name: (-scores[name], name))


def likeness_of(one: Entry, other: Entry) -> Likeness:
    """Say how what two entries claim stands to one another; kinds that can't say the same are different."""
    if not {one.kind, other.kind} <= _CLAIMS and one.kind != other.kind:
        return Likeness.DIFFERENT
    if one.kind is EntryKind.COMMAND and one.command != other.command:
        return Likeness.DIFFERENT
    likeness = compare(claim(one), claim(other))
    if likeness is Likeness.SAME and one.kind is EntryKind.PITFALL:
        left, right = _statement(one.text), _statement(other.text)
        same = left.literals <= right.literals or right.literals <= left.literals
        return likeness if same else Likeness.DIFFERENT  # The same error, with another way out of it.
    return likeness


_CLAIMS: Final = frozenset({EntryKind.DECISION, EntryKind.CONVENTION, EntryKind.FACT, EntryKind.API})
"""Kinds that one run may give what another one gave another: they all say how something is."""


def claim(entry: Entry) -> Statement:
    """Return what an entry stands for: its title, or all of it where the title is only how it begins."""
    return _statement(entry.text if entry.title.endswith("…") and entry.text else entry.title)


@lru_cache(maxsize=50_000)
def _statement(text: str) -> Statement:
    return Statement.of(text)


def _words(statement: Statement) -> set[str]:
    return {*statement.vocabulary, *statement.literals}
