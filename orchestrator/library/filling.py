"""What the index holds, and how it's brought to what the library has: only pages that changed are read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.library.entry import IN_VIEW
from orchestrator.library.glance import Glance, glance
from orchestrator.library.page import PageError
from orchestrator.library.shelf import entry_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.library.entry import Entry
    from orchestrator.library.shelf import Shelf

FORMAT: Final = "1"
TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value)",
    """CREATE TABLE places (number INTEGER PRIMARY KEY, scope TEXT NOT NULL, scope_id TEXT NOT NULL,
       hidden INTEGER NOT NULL, size INTEGER NOT NULL DEFAULT 0, UNIQUE (scope, scope_id, hidden))""",
    """CREATE TABLE pages (number INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, oid TEXT NOT NULL,
       place INTEGER, run TEXT, step INTEGER, line INTEGER, reason TEXT)""",
    "CREATE INDEX by_run ON pages (place, run, step)",
)
Rows = list[tuple[Any, ...]]
"""As the database gives them."""
_WORDS: Final = "CREATE VIRTUAL TABLE {} USING fts5 (title, before, text, tokenize = 'porter unicode61')"
_AT_ONCE: Final = 500
_BLANK: Final = ("\ue000", "", "\ue000 " * 20)
"""An entry of nothing that anybody searches. Some of them in each table, since a word that most of three entries
have would count nothing, and scores of a small scope and a large one couldn't be compared."""
_BLANKS: Final = 30
_HASH_BYTES: Final = 64 << 20
_USUAL_BYTES: Final = 1 << 20
"""What FTS5 keeps in memory before it writes; with more it has less to put together afterwards."""


class _Row(NamedTuple):
    """What of an entry is searched: its number, the run and step that it's from, its title and text."""

    place: int
    run: str
    step: int
    number: int
    title: str
    text: str


def fill(db: sqlite3.Connection, shelf: Shelf, head: str) -> None:
    """Bring the tables to what the library has at its head."""
    pages = {path: oid for path, oid in shelf.pages(head).items() if path.isascii() or _is_utf8(path)}
    before = dict(db.execute("SELECT path, oid FROM pages"))
    changed = {path: oid for path, oid in pages.items() if before.get(path) != oid}
    threads = _drop(db, [path for path in before if path not in pages or path in changed])
    places: dict[tuple[str, str, bool], int] = {}
    number = meta(db, "last") or 0
    rows: list[_Row] = []
    kept: Rows = []
    for path, page in shelf.blobs(changed):
        number += 1
        seen = glance(path, page) or _seen(entry_of(path, page))
        if isinstance(seen, PageError):
            kept.append((number, path, changed[path], None, None, None, seen.line, seen.reason))
            continue
        key = (seen.scope, seen.scope_id, seen.status not in IN_VIEW)
        place = places.get(key) or places.setdefault(key, _place(db, *key))
        rows.append(_Row(place, seen.run, seen.step, number, seen.title, seen.text))
        kept.append((number, path, changed[path], place, seen.run, seen.step, None, None))
    db.executemany("INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", kept)
    del kept
    if before:
        rows += _neighbours(db, threads | {(row.place, row.run) for row in rows if row.run})
    rows.sort()
    _put(db, rows)
    db.execute("UPDATE places SET size = (SELECT count(*) FROM pages WHERE place = places.number)")
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", (("head", head), ("last", number)))


def _seen(read: Entry | PageError) -> Glance | PageError:
    """Return what of an entry is searched."""
    if isinstance(read, PageError):
        return read
    run, step = (read.evidence[0].run, read.evidence[0].step) if read.evidence else ("", 0)
    return Glance(read.scope, read.scope_id, read.status, read.title, read.text, run, step)


def _is_utf8(path: str) -> bool:
    """Say whether a name is text for the database; one that isn't UTF-8 is no entry's."""
    return path == os.fsencode(path).decode(errors="replace")


def words_of(place: int) -> str:
    """Return the name of the table with a place's words."""
    return f"words_{int(place)}"


def _place(db: sqlite3.Connection, scope: str, scope_id: str, hidden: bool) -> int:
    """Return the number of a scope's table, made where there is none."""
    key = (scope, scope_id, hidden)
    found = db.execute("SELECT number FROM places WHERE scope = ? AND scope_id = ? AND hidden = ?", key).fetchone()
    if found:
        return int(found[0])
    number = db.execute("INSERT INTO places (scope, scope_id, hidden) VALUES (?, ?, ?)", key).lastrowid or 0
    db.execute(_WORDS.format(words_of(number)))
    blanks = ((-blank, *_BLANK) for blank in range(1, _BLANKS + 1))
    db.executemany(f"INSERT INTO {words_of(number)} (rowid, title, before, text) VALUES (?, ?, ?, ?)", blanks)
    return number


def _drop(db: sqlite3.Connection, paths: Sequence[str]) -> set[tuple[int, str]]:
    """Take pages out; return the runs that they were from."""
    threads: set[tuple[int, str]] = set()
    for part in parts(paths):
        found = db.execute(f"SELECT number, place, run FROM pages WHERE path IN ({marks(part)})", part).fetchall()
        threads |= {(place, run) for _, place, run in found if run}
        _forget(db, [(number, place) for number, place, _ in found if place])
        db.executemany("DELETE FROM pages WHERE number = ?", ((row[0],) for row in found))
    return threads


def _neighbours(db: sqlite3.Connection, threads: Iterable[tuple[int, str]]) -> list[_Row]:
    """Take what is searched of some runs' entries out, to be put in with what is new among them."""
    rows = [
        _Row(*row)
        for place, run in threads
        for row in db.execute(
            f"SELECT place, run, step, number, title, text FROM pages JOIN {words_of(place)} AS words"
            " ON words.rowid = pages.number WHERE place = ? AND run = ?",
            (place, run),
        )
    ]
    _forget(db, [(row.number, row.place) for row in rows])
    return rows


def _forget(db: sqlite3.Connection, found: Iterable[tuple[int, int]]) -> None:
    for number, place in found:
        db.execute(f"DELETE FROM {words_of(place)} WHERE rowid = ?", (number,))


def _put(db: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    """Put in what is searched of entries: in their order, each with the text of the one before it in the same run."""
    for place, group in groupby(rows, key=lambda row: row.place):
        table, here = words_of(place), list(group)
        if len(here) > _AT_ONCE:
            db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('hashsize', ?)", (_HASH_BYTES,))
        values = (
            (row.number, row.title, f"{last.title}\n{last.text}" if row.run and last.run == row.run else "", row.text)
            for last, row in zip([_Row(0, "", 0, 0, "", ""), *here], here, strict=False)
        )
        db.executemany(f"INSERT INTO {table} (rowid, title, before, text) VALUES (?, ?, ?, ?)", values)
        if len(here) > _AT_ONCE:
            db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('hashsize', ?)", (_USUAL_BYTES,))


def meta(db: sqlite3.Connection, key: str) -> Any:
    """Return what is noted about the index."""
    found = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return found[0] if found else None


def marks(values: Sequence[object]) -> str:
    """Return as many place holders."""
    return ", ".join("?" * len(values))


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield some at a time: a statement takes only so many."""
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Make all of the block's changes, or none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
