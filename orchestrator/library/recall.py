"""What of the library fits a question: ranked, within a budget of tokens, and told as data with its source and age.

A word counts by how rare it is, in any form (`running` finds `run`); words such as `the` don't count. Entries that a
run made one after the other speak of one thing: a hit lends some of its score to those beside it, and to its run.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.library.page import PageError
from orchestrator.library.place import path_of
from orchestrator.memory.plain import fenced, lines, one_line
from orchestrator.memory.query import Query
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from orchestrator.library.entry import Entry, Where
    from orchestrator.library.index import Index
    from orchestrator.library.shelf import Shelf

BESIDE: Final = (0.25, 0.2, 0.15, 0.1, 0.05)
"""The share of a hit's score that the entries beside it get, by how far they are away."""
OF_THE_RUN: Final = 0.5
"""What it counts how well the run's three best entries fit, beside an entry's own score."""
FLOOR: Final = 0.2
"""The share of the best score below which nothing is recalled: it has a common word and no more."""
_BEST: Final = 3
_CANDIDATES: Final = 200
_DAY_S: Final = 86_400
_SHOWN_MOST: Final = 20
_MOST_PATHS: Final = 3
_LONGEST_RUN: Final = 40


class Recalled(NamedTuple):
    """An entry that was found, and how well it fits: more is better, and only the order means something."""

    entry: Entry
    score: float


class Library:
    """The shelf and its index as one thing to ask. One thread uses an object."""

    def __init__(self, shelf: Shelf, index: Index) -> None:
        self.shelf = shelf
        self.index = index

    def search(self, scopes: Sequence[Where], question: str, *, most: int = 10, hidden: bool = False) -> list[Recalled]:
        """Return what fits in these scopes, best first; what isn't to be recalled only where `hidden` asks for it."""
        self.index.refresh(self.shelf)
        try:
            return self._search(scopes, question, most, hidden=hidden)
        except sqlite3.DatabaseError:  # Broken since, or where nobody had looked yet.
            self.index.refresh(self.shelf, anew=True)
            return self._search(scopes, question, most, hidden=hidden)

    def recall(
        self, scopes: Sequence[Where], question: str, *, budget: int, now: datetime, known: Collection[str] = ()
    ) -> list[Recalled]:
        """Return what fits best and comes to `budget` tokens at most, as `told` tells it; what is too long isn't.

        `known` are the ids of those whose text needn't be told again.
        """
        chosen: list[Recalled] = []
        left = budget
        for one in self.search(scopes, question, most=_SHOWN_MOST):
            size = estimate(told([one], now, known))
            if size <= left:
                chosen.append(one)
                left -= size
        return chosen

    def _search(self, scopes: Sequence[Where], question: str, most: int, *, hidden: bool) -> list[Recalled]:
        query = Query.of(question)
        ranked: list[tuple[float, int, Where]] = []
        for where in dict.fromkeys(scopes):
            found = self.index.matches(where, query, most=_CANDIDATES, hidden=hidden)
            scores = {match.number: match.score for match in found}
            threads = self.index.threads(where, list(scores), hidden=hidden)
            ranked += ((score, number, where) for number, score in smoothed(scores, threads).items())
        ranked.sort(key=lambda one: (-one[0], one[1]))
        best = [one for one in ranked[:most] if one[0] >= FLOOR * ranked[0][0]]
        pages: dict[int, tuple[str, str]] = {}
        for _, number, where in best:
            pages |= self.index.pages(where, [number], hidden=hidden)
        entries = {path_of(entry): entry for entry in self._entries(scopes, pages.values())}
        return [
            Recalled(entries[path], score)
            for score, number, where in best
            if (path := pages.get(number, ("", ""))[0]) in entries and entries[path].where == where
        ]

    def _entries(self, scopes: Sequence[Where], pages: Iterable[tuple[str, str]]) -> list[Entry]:
        """Return the entries of pages as the library has them, and only those of the scopes that were asked for."""
        read = self.shelf.read(dict(pages))
        return [entry for entry in read if not isinstance(entry, PageError) and entry.where in scopes]


def smoothed(scores: dict[int, float], threads: Sequence[Sequence[int]]) -> dict[int, float]:
    """Return the scores with what each entry gets from those beside it, and from its run; `threads` are the runs."""
    result = dict(scores)
    alone = set(scores)
    for thread in threads:
        alone -= set(thread)
        for place, number in enumerate(thread):
            own = scores.get(number, 0.0)
            for away, share in enumerate(BESIDE, start=1):
                for beside in (place - away, place + away):
                    if own and 0 <= beside < len(thread):
                        result[thread[beside]] = result.get(thread[beside], 0.0) + share * own
        best = sorted((scores.get(number, 0.0) for number in thread), reverse=True)[:_BEST]
        for number in thread:
            if number in result:
                result[number] += OF_THE_RUN * sum(best) / _BEST
    for number in alone:
        result[number] *= 1 + OF_THE_RUN / _BEST  # A run of its own.
    return result


def told(found: Sequence[Recalled], now: datetime, known: Collection[str] = ()) -> str:
    """Return entries as a model is shown them: a line of ours on each with its source and age, then a quotation.

    All of its own words are in the quotation, its title and paths as well. Of those in `known` there is the line alone.
    """
    return "\n\n".join(_told(one.entry, now, told_before=one.entry.id in known) for one in found)


def _told(entry: Entry, now: datetime, *, told_before: bool) -> str:
    head = f"[{entry.id}] {entry.kind}, {', '.join(_about(entry, now))}"
    if told_before:
        return f"{head}: as above"
    paths = [one.path for one in entry.paths[:_MOST_PATHS]]
    more = [f"and {len(entry.paths) - _MOST_PATHS} more"] if len(entry.paths) > _MOST_PATHS else []
    about = f"Files: {', '.join([*paths, *more])}" if paths else ""
    return "\n".join([f"{head}:", fenced("\n".join(filter(None, (entry.title, lines(entry.text), about))))])


def _about(entry: Entry, now: datetime) -> Iterator[str]:
    """Yield where an entry holds, who says so, since when, and how far it's to be believed."""
    yield entry.holds
    proof = "".join(f" (run {one_line(one.run, _LONGEST_RUN)} step {one.step})" for one in entry.evidence[:1])
    yield f"from {entry.source}{proof}"
    when = entry.updated or entry.created
    yield "of unknown age" if when is None else age(int((now - when).total_seconds()))
    if entry.uses:
        yield f"given to {entry.uses} {'run' if entry.uses == 1 else 'runs'}, {entry.accepted} of them accepted"
    yield entry.status if entry.confidence >= 1 else f"{entry.status}, confidence {entry.confidence:g}"


def age(seconds: int) -> str:
    """Return how old something is, in days."""
    days = max(0, seconds) // _DAY_S
    return "of today" if days == 0 else f"{days} day{'s' * (days != 1)} old"
