"""The run's own past, to search and to page through: what no longer fits into the window is still within reach.

A fold of the dialogue and no store of its own: what was rewound isn't in it. It costs nothing until it's searched.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.dialogue import Reply, Turn
from orchestrator.memory.entries import Entry, chunks, entries
from orchestrator.memory.excerpt import CLOSE, OPEN, context, excerpt
from orchestrator.memory.query import Query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dialogue import ToolCall

TOOL: Final = "history"
"""The tool that searches: what it gave back isn't found again."""
_CANDIDATES: Final = 200
_EXCERPT: Final = 1_000
_PAGE: Final = 16_000
_EVERY_BONUS: Final = 1_000.0
"""What it counts that a piece has all words; more than any rank by how rare they are."""


@dataclass(frozen=True)
class Passage:
    """Something that was found: where it is from, and the lines around the hits. `also` are steps with the same."""

    entry: Entry
    text: str
    also: tuple[int, ...] = ()


@dataclass(frozen=True)
class Page:
    """A part of all that a step has; `following` is where the next one begins, 0 for none, `whole` its characters."""

    text: str
    following: int
    whole: int


class History:
    """What was said in a run, full text. One thread searches; nothing it is asked raises."""

    def __init__(self) -> None:
        self._said: list[tuple[int, Turn | Reply]] = []
        self._taken = 0
        self._entries: list[Entry] = []
        self._chunks: list[tuple[int, int, int]] = []
        self._index: sqlite3.Connection | None = None

    def add(self, step: int, said: Turn | Reply) -> None:
        """Keep what was said in a step, or after it; a reply comes before the results of its calls."""
        self._said.append((step, said))

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last step that it has; (0, 0) for none."""
        of_replies = [step for step, said in self._said if isinstance(said, Reply)]
        return (of_replies[0], of_replies[-1]) if of_replies else (0, 0)

    def search(self, query: str, limit: int = 10, *, longest: int = _EXCERPT) -> list[Passage]:
        """Return what fits best first, each about `longest` characters at most; nothing where nothing is found."""
        index = self._ready()
        asked = Query.of(query)
        ranks = self._ranks(index, asked)
        if not ranks:
            asked = Query.literally(query)
            found = [number for number, text in self._texts() if asked.occurs_in(text)]
            ranks = dict.fromkeys(found[-_CANDIDATES:], 0.0)
        passages: dict[str, Passage] = {}
        for number in sorted(ranks, key=ranks.__getitem__, reverse=True):
            entry, start, end = self._chunks[number]
            whole = self._entries[entry]
            before, after = context(whole.text, start, end)
            text = excerpt(before, self._marked(index, number, asked), after, longest)
            if (known := passages.get(text)) is not None:
                passages[text] = Passage(known.entry, text, (*known.also, whole.step))
            elif len(passages) == limit:
                break
            else:
                passages[text] = Passage(whole, text)
        return list(passages.values())

    def page(self, step: int, offset: int = 0, *, longest: int = _PAGE) -> Page | None:
        """Return what a step has from that character on, `longest` at most; None where there is no such step."""
        calls = {call.id: call for at, said in self._said if at == step for call in _calls(said)}
        parts = [one for at, said in self._said if at == step for one in entries(at, said, calls)]
        if not parts:
            return None
        whole = "\n\n".join(f"--- {part.title}\n{part.text}" for part in parts)
        text = whole[max(offset, 0) :][:longest]
        following = max(offset, 0) + len(text)
        return Page(text, following if following < len(whole) else 0, len(whole))

    def _ready(self) -> sqlite3.Connection:
        """Return the index, with all that was said up to now in it."""
        if self._index is None:
            self._index = sqlite3.connect(":memory:", isolation_level=None)
            self._index.execute("CREATE VIRTUAL TABLE chunks USING fts5 (text, tokenize = 'porter unicode61')")
        first = len(self._chunks)
        calls = {
            call.id: call for _, said in self._said[max(0, self._taken - 1) : self._taken] for call in _calls(said)
        }
        for step, said in self._said[self._taken :]:
            calls = {call.id: call for call in _calls(said)} or calls
            for entry in entries(step, said, calls):
                if entry.what.split(" ", 1)[0] != TOOL:
                    self._chunks += ((len(self._entries), start, end) for start, end in chunks(entry.text))
                    self._entries.append(entry)
        self._taken = len(self._said)
        if len(self._chunks) > first:
            rows = ((number, text) for number, text in self._texts(first))
            self._index.execute("BEGIN")
            self._index.executemany("INSERT INTO chunks (rowid, text) VALUES (?, ?)", rows)
            self._index.execute("COMMIT")
        return self._index

    def _texts(self, first: int = 0) -> Iterable[tuple[int, str]]:
        """Yield each piece with its number."""
        for number, (entry, start, end) in enumerate(self._chunks[first:], start=first):
            yield number, self._entries[entry].text[start:end]

    def _ranks(self, index: sqlite3.Connection, asked: Query) -> dict[int, float]:
        """Return how well pieces fit: all words in one, then words that are there literally, then rare ones."""
        ranks: dict[int, float] = {}
        if asked.some:
            for expression, bonus in ((asked.some, 0.0), (asked.every, _EVERY_BONUS)):
                found = index.execute(
                    "SELECT rowid, rank FROM chunks WHERE chunks MATCH ? ORDER BY rank LIMIT ?",
                    (expression, _CANDIDATES),
                )
                ranks |= {number: bonus - rank for number, rank in found}
        for literal in asked.literals:
            found_there = [number for number, text in self._texts() if literal in text]
            for number in found_there[-_CANDIDATES:]:
                ranks[number] = ranks.get(number, 0.0) + _EVERY_BONUS / (1 + len(asked.literals))
        return ranks

    def _marked(self, index: sqlite3.Connection, number: int, asked: Query) -> str:
        """Return a piece with its hits marked."""
        entry, start, end = self._chunks[number]
        text = self._entries[entry].text[start:end]
        if asked.some:
            marks = "SELECT highlight(chunks, 0, ?, ?) FROM chunks WHERE chunks MATCH ? AND rowid = ?"
            text = next((str(row[0]) for row in index.execute(marks, (OPEN, CLOSE, asked.some, number))), text)
        for literal in asked.literals:
            text = re.sub(re.escape(literal), lambda hit: f"{OPEN}{hit[0]}{CLOSE}", text, flags=re.IGNORECASE)
        return text


def _calls(said: Turn | Reply) -> tuple[ToolCall, ...]:
    return said.calls if isinstance(said, Reply) else ()
