"""The library's full-text index: one SQLite file, made anew whenever it's missing, broken or of another format.

Every query names the scope that it may see, and the scope is part of the SQL: what an entry's row is numbered by says
which scope it belongs to, and whether it may be recalled, and a query reads one range of those numbers. So no caller
gets what another repository wrote, nor what is stale, superseded or quarantined unless it asks for that.
"""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing, contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.library.entry import Status
from orchestrator.library.lock import alone
from orchestrator.library.page import PageError, parse
from orchestrator.library.place import known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchestrator.library.entry import Entry, Where
    from orchestrator.library.shelf import Shelf

RECALLED: Final = frozenset({Status.ACTIVE, Status.UNVERIFIED})
"""What may be shown to a model unasked."""
WEIGHTS: Final = (1.0, 0.25, 1.0)
"""What a word counts in the title, in the text of the entry before it, and in its own text."""
_FORMAT: Final = "1"
_BITS: Final = 32
"""Of an entry's number, below those of its place."""
_AT_ONCE: Final = 500
_WAIT_S: Final = 60.0
_TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value);
CREATE TABLE scopes (number INTEGER PRIMARY KEY, scope TEXT NOT NULL, scope_id TEXT NOT NULL, UNIQUE (scope, scope_id));
CREATE TABLE pages (
    number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, oid TEXT NOT NULL,
    place INTEGER NOT NULL, run TEXT NOT NULL, step INTEGER NOT NULL, page BLOB, line INTEGER, reason TEXT
);
CREATE INDEX by_run ON pages (place, run, step) WHERE run != '';
CREATE INDEX set_aside ON pages (path) WHERE reason IS NOT NULL;
CREATE VIRTUAL TABLE words USING fts5 (title, before, text, tokenize = 'porter unicode61');
"""
_Rows = list[tuple[Any, ...]]
"""As the database gives them."""


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

    def __init__(self, file: Path) -> None:
        self._file = file
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
        with alone(self._file.with_name(f"{self._file.name}.lock"), wait_s=_WAIT_S):
            if anew or (not self._is_at(head) and not self._update(shelf, head)):
                self._rebuild(shelf, head)

    def _is_at(self, head: str) -> bool:
        try:
            return (db := self._open()) is not None and _meta(db, "head") == head
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def problems(self) -> list[Problem]:
        """Return the pages that are set aside, and why."""
        found = self._ask("SELECT path, line, reason FROM pages WHERE reason IS NOT NULL ORDER BY path")
        return [Problem(*row) for row in found]

    def matches(self, where: Where, expression: str, *, most: int, hidden: bool = False) -> list[Match]:
        """Return the entries of a scope that match an FTS5 expression, best first; `hidden` ones as well if asked."""
        first, last = self._range(where, hidden=hidden)
        found = self._ask(
            "SELECT rowid, -bm25(words, ?, ?, ?) AS score FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?"
            " ORDER BY score DESC, rowid LIMIT ?",
            *WEIGHTS,
            expression,
            first,
            last,
            most,
        )
        return [Match(*row) for row in found]

    def threads(self, where: Where, numbers: Sequence[int], *, hidden: bool = False) -> list[list[int]]:
        """Return the runs that some of a scope's entries are from: the numbers of each run's entries, in order."""
        first, last = self._range(where, hidden=hidden)
        runs: dict[tuple[int, str], list[int]] = {}
        for part in _parts(numbers):
            found = self._ask(
                "SELECT DISTINCT b.place, b.run, b.step, b.number FROM pages AS a JOIN pages AS b"
                " ON b.place = a.place AND b.run = a.run WHERE a.run != '' AND b.run != ''"
                f" AND a.number IN ({_marks(part)}) AND a.number BETWEEN ? AND ?"
                " ORDER BY b.place, b.run, b.step, b.number",
                *part,
                first,
                last,
            )
            for key, rows in groupby(found, key=lambda row: (row[0], row[1])):
                runs[key] = [row[3] for row in rows]
        return list(runs.values())

    def entries(self, where: Where, numbers: Sequence[int], *, hidden: bool = False) -> dict[int, Entry]:
        """Return a scope's entries by their numbers; a number of another scope isn't there."""
        first, last = self._range(where, hidden=hidden)
        found: dict[int, Entry] = {}
        for part in _parts(numbers):
            rows = self._ask(
                f"SELECT number, page, path FROM pages WHERE number IN ({_marks(part)}) AND number BETWEEN ? AND ?",
                *part,
                first,
                last,
            )
            found |= {number: parse(page, path, known(path)) for number, page, path in rows}
        return found

    def listed(self, where: Where) -> list[Entry]:
        """Return all of a scope's entries, of every status, in the order of their ids."""
        found = self._ask(
            "SELECT page, path FROM pages WHERE number BETWEEN ? AND ? ORDER BY path", *self._range(where, hidden=True)
        )
        return [parse(page, path, known(path)) for page, path in found]

    def _range(self, where: Where, *, hidden: bool) -> tuple[int, int]:
        """Return the numbers that a scope's entries may have; none for a scope without any."""
        found = self._ask(
            "SELECT number FROM scopes WHERE scope = ? AND scope_id = ?", where.scope.value, where.scope_id
        )
        if not found:
            return 0, -1
        first = _place(found[0][0], hidden=False) << _BITS
        return first, first + ((2 if hidden else 1) << _BITS) - 1

    def _ask(self, statement: str, *values: object) -> _Rows:
        if self._db is None:
            raise RuntimeError("the index is asked before it was refreshed")
        return self._db.execute(statement, values).fetchall()

    def _open(self) -> sqlite3.Connection | None:
        """Return the index as it is; None where there is none that can be read."""
        if self._db is not None and self._file.is_file() and self._file.stat().st_ino == self._inode:
            return self._db
        self.close()
        if not self._file.is_file():
            return None
        self._inode = self._file.stat().st_ino
        self._db = sqlite3.connect(self._file, isolation_level=None, timeout=_WAIT_S)
        return self._db if _meta(self._db, "format") == _FORMAT else None

    def _update(self, shelf: Shelf, head: str) -> bool:
        """Take what changed since; whether there was an index that could take it."""
        try:
            if (db := self._open()) is None:
                return False
            with _transaction(db):
                _take(db, shelf, head)
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
                with _transaction(db):
                    for statement in _TABLES.split(";\n"):
                        db.execute(statement)
                    db.execute("INSERT INTO meta VALUES ('format', ?)", (_FORMAT,))
                    _take(db, shelf, head)
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)  # Of the one that was broken.
            fresh.replace(self._file)
        finally:
            fresh.unlink(missing_ok=True)
        self._open()


class _Row(NamedTuple):
    """What of an entry is searched: its number, the run and step that it's from, its title and text."""

    place: int
    run: str
    step: int
    number: int
    title: str
    text: str


def _take(db: sqlite3.Connection, shelf: Shelf, head: str) -> None:
    """Bring the tables to what the library has at its head."""
    pages = shelf.pages(head)
    before = dict(db.execute("SELECT path, oid FROM pages"))
    changed = {path: oid for path, oid in pages.items() if before.get(path) != oid}
    threads = _drop(db, [*(path for path in before if path not in pages), *(path for path in changed if path in before)])
    scopes = {(scope, scope_id): number for number, scope, scope_id in db.execute("SELECT * FROM scopes")}
    number = _meta(db, "last") or 0
    rows: list[_Row] = []
    kept: _Rows = []
    for path, page, read in shelf.read(changed):
        number += 1
        if isinstance(read, PageError):
            kept.append((-number, path, changed[path], 0, "", 0, None, read.line, read.reason))
            continue
        place = _place(scopes.setdefault((read.scope, read.scope_id), len(scopes) + 1), hidden=read.status not in RECALLED)
        first = read.evidence[0] if read.evidence else None
        run, step = (first.run, first.step) if first else ("", 0)
        rows.append(_Row(place, run, step, (place << _BITS) + number, read.title, read.text))
        kept.append((rows[-1].number, path, changed[path], place, run, step, page, None, None))
    db.executemany("INSERT OR IGNORE INTO scopes VALUES (?, ?, ?)", ((n, *key) for key, n in scopes.items()))
    db.executemany("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", kept)
    if before:
        rows += _neighbours(db, threads | {(row.place, row.run) for row in rows if row.run})
    rows.sort()
    db.executemany("INSERT INTO words (rowid, title, before, text) VALUES (?, ?, ?, ?)", _with_the_one_before(rows))
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", (("head", head), ("last", number)))


def _drop(db: sqlite3.Connection, paths: Sequence[str]) -> set[tuple[int, str]]:
    """Take pages out; return the runs that they were from."""
    threads: set[tuple[int, str]] = set()
    for part in _parts(paths):
        found = db.execute(f"SELECT number, place, run FROM pages WHERE path IN ({_marks(part)})", part).fetchall()
        threads |= {(place, run) for _, place, run in found if run}
        db.executemany("DELETE FROM words WHERE rowid = ?", ((row[0],) for row in found))
        db.executemany("DELETE FROM pages WHERE number = ?", ((row[0],) for row in found))
    return threads


def _neighbours(db: sqlite3.Connection, threads: Iterable[tuple[int, str]]) -> list[_Row]:
    """Take what is searched of some runs' entries out, to be put in with what is new among them."""
    rows = [
        _Row(*row)
        for thread in threads
        for row in db.execute(
            "SELECT place, run, step, number, title, text FROM pages JOIN words ON words.rowid = pages.number"
            " WHERE place = ? AND run = ? AND run != ''",
            thread,
        )
    ]
    db.executemany("DELETE FROM words WHERE rowid = ?", ((row.number,) for row in rows))
    return rows


def _with_the_one_before(rows: Iterable[_Row]) -> Iterator[tuple[int, str, str, str]]:
    """Yield what is searched of each entry, with the text of the one before it in the same run."""
    last: _Row | None = None
    for row in rows:
        together = last is not None and row.run and (last.place, last.run) == (row.place, row.run)
        yield row.number, row.title, f"{last.title}\n{last.text}" if last and together else "", row.text
        last = row


def _place(scope: int, *, hidden: bool) -> int:
    """Return what the numbers of a scope's entries begin with: those that may be recalled, and behind them the rest."""
    return 2 * scope + hidden


def _meta(db: sqlite3.Connection, key: str) -> Any:
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return found[0] if found else None


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield some at a time: a statement takes only so many."""
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
