"""The library's full-text index: one SQLite file, made anew whenever it's missing, broken or of another format.

Each scope has tables of its own, and every query names the scope that it may see: those tables are looked up by it,
and it's part of the SQL. So no caller gets what another repository wrote, nor does what is frequent there change what
counts here. What is stale, superseded or quarantined lies in a table beside, and is searched only where that's asked.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.library.filling import FORMAT, TABLES, Rows, fill, marks, meta, parts, transaction, words_of
from orchestrator.library.lock import alone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.library.entry import Where
    from orchestrator.library.shelf import Shelf
    from orchestrator.memory.query import Query

WEIGHTS: Final = (1.0, 0.25, 1.0)
"""What a word counts in the title, in the text of the entry before it, and in its own text."""
LARGE: Final = 4_000
"""Entries with some of the words that are ranked in full; of more, only those with the rarer ones among the words."""
_WAIT_S: Final = 60.0


class Problem(NamedTuple):
    """A page that is set aside: it stays where it is, and nothing of it is recalled. `line` is from 1."""

    file: str
    line: int
    reason: str


class Match(NamedTuple):
    """An entry that has some of the words: its number in the index, and how well it fits (more is better)."""

    number: int
    score: float


class Index:
    """The index in one file. Safe for several processes; one thread uses an object."""

    def __init__(self, file: Path, *, wait_s: float = _WAIT_S) -> None:
        """Take where it lies, and how long another process that writes to it is waited for."""
        self._file = file
        self._wait_s = wait_s
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def refresh(self, shelf: Shelf, *, anew: bool = False) -> None:
        """Bring it to the library's head, reading the pages that changed; all of them where there is no index.

        `anew` is for one that turned out to be broken. Raises LibraryError, UnavailableError, OSError.
        """
        head = shelf.head()
        if not anew and self._is_at(head):
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with alone(self._file.with_name(f"{self._file.name}.lock"), wait_s=self._wait_s):
            if anew or (not self._is_at(head) and not self._update(shelf, head)):
                self._rebuild(shelf, head)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def problems(self) -> list[Problem]:
        """Return the pages that are set aside, and why."""
        found = self._ask("SELECT path, line, reason FROM pages WHERE reason IS NOT NULL ORDER BY path")
        return [Problem(*row) for row in found]

    def matches(self, where: Where, query: Query, *, most: int, hidden: bool = False) -> list[Match]:
        """Return the entries of a scope that have some of the words, best first; `hidden` ones as well if asked."""
        found: list[Match] = []
        for place, size in self._places(where, hidden=hidden):
            words = query.any_of if size <= LARGE else self._telling(place, query.any_of)
            if words:
                table = words_of(place)
                rows = self._ask(
                    f"SELECT rowid, -bm25({table}, ?, ?, ?) AS score FROM {table} WHERE {table} MATCH ?"
                    " ORDER BY score DESC, rowid LIMIT ?",
                    *WEIGHTS,
                    " OR ".join(words),
                    most,
                )
                found += (Match(*row) for row in rows)
        return sorted(found, key=lambda one: -one.score)[:most]

    def _telling(self, place: int, words: Sequence[str]) -> list[str]:
        """Return the rarer ones of the words: so many that no more than `LARGE` entries have one, or the rarest."""
        table = words_of(place)
        counted = sorted(
            (self._ask(f"SELECT count(*) FROM {table} WHERE {table} MATCH ?", word)[0][0], word) for word in words
        )
        taken: list[str] = []
        total = 0
        for count, word in counted:
            total += count
            if count and (not taken or total <= LARGE):
                taken.append(word)
        return taken

    def threads(self, where: Where, numbers: Sequence[int], *, hidden: bool = False) -> list[list[int]]:
        """Return the runs that some of a scope's entries are from: the numbers of each run's entries, in order."""
        places = [place for place, _ in self._places(where, hidden=hidden)]
        runs: dict[tuple[int, str], list[int]] = {}
        for part in parts(numbers):
            found = self._ask(
                "SELECT place, run, number FROM (SELECT DISTINCT place, run FROM pages WHERE run != ''"
                f" AND number IN ({marks(part)}) AND +place IN ({marks(places)})) CROSS JOIN pages USING (place, run)"
                " ORDER BY place, run, step, number",
                *part,
                *places,
            )
            for key, rows in groupby(found, key=lambda row: (row[0], row[1])):
                runs[key] = [row[2] for row in rows]
        return list(runs.values())

    def pages(self, where: Where, numbers: Sequence[int], *, hidden: bool = False) -> dict[int, tuple[str, str]]:
        """Return where the library has a scope's entries, by their numbers; a number of another scope isn't there."""
        places = [place for place, _ in self._places(where, hidden=hidden)]
        found: dict[int, tuple[str, str]] = {}
        for part in parts(numbers):
            rows = self._ask(
                f"SELECT number, path, oid FROM pages WHERE number IN ({marks(part)}) AND +place IN ({marks(places)})",
                *part,
                *places,
            )
            found |= {number: (path, oid) for number, path, oid in rows}
        return found

    def _places(self, where: Where, *, hidden: bool) -> Rows:
        """Return the numbers of a scope's tables, each with how many entries it has."""
        return self._ask(
            "SELECT number, size FROM places WHERE scope = ? AND scope_id = ? AND hidden <= ?",
            where.scope.value,
            where.scope_id,
            hidden,
        )

    def _ask(self, statement: str, *values: object) -> Rows:
        if self._db is None:
            raise RuntimeError("the index is asked before it was refreshed")
        return self._db.execute(statement, values).fetchall()

    def _is_at(self, head: str) -> bool:
        try:
            return (db := self._open()) is not None and meta(db, "head") == head
        except sqlite3.DatabaseError:
            return False

    def _open(self) -> sqlite3.Connection | None:
        """Return the index as it is; None where there is none that can be read."""
        if self._db is not None and self._file.is_file() and self._file.stat().st_ino == self._inode:
            return self._db
        self.close()
        if not self._file.is_file():
            return None
        self._inode = self._file.stat().st_ino
        self._db = sqlite3.connect(self._file, isolation_level=None, timeout=self._wait_s)
        return self._db if meta(self._db, "format") == FORMAT else None

    def _update(self, shelf: Shelf, head: str) -> bool:
        """Take what changed since; whether there was an index that could take it."""
        try:
            if (db := self._open()) is None:
                return False
            with transaction(db):
                fill(db, shelf, head)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY}:
                raise
            return False
        except (sqlite3.DatabaseError, OverflowError, TypeError, ValueError):  # Broken in any way: it's made anew.
            return False
        return True

    def _rebuild(self, shelf: Shelf, head: str) -> None:
        """Make it anew beside its place, and move it there once it is whole."""
        self.close()
        fresh = self._file.with_name(f"{self._file.name}.{secrets.token_hex(4)}")
        try:
            with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode = OFF")
                db.execute("PRAGMA synchronous = OFF")  # Nobody sees it before it is whole.
                with transaction(db):
                    for statement in TABLES:
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
                    fill(db, shelf, head)
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)  # Of the one that was broken.
            fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)
        self._open()
