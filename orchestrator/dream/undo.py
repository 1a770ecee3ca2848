"""A dream taken back: what it wrote goes, and what people and later dreams changed since stays.

A page that nobody changed since becomes what it was before, to the byte; one that the dream added, and that only later
dreams changed, goes as well. Of others that were changed, each field that is still as the dream left it becomes what it
was. What can't be taken back is told. The report stays, and says that it was
taken back: its runs aren't dreamt of again by themselves.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from orchestrator.dialogue import Value
from orchestrator.dream.report import rfc
from orchestrator.dream.reports import Dreamt, parent, touched
from orchestrator.errors import UsageError
from orchestrator.library.history import history
from orchestrator.library.merging import changed_both
from orchestrator.library.page import PageError
from orchestrator.library.shelf import US, entry_of

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.library.entry import Entry
    from orchestrator.library.shelf import Shelf

_LISTS: Final = ("evidence", "paths", "supersedes")
_COUNTS: Final = ("uses", "accepted")
_DREAMER: Final = US.partition(" <")[0]
_VALUES: Final = ("kind", "title", "text", "status", "origin", "confidence", "command")


class Kept(Value):
    """What couldn't be taken back, wholly or in part, and why."""

    path: str
    why: str


class Reverted(Value):
    """What came of taking a dream back: the commit, what is as it was before, and what isn't."""

    dream: Dreamt
    commit: str
    restored: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    notes: tuple[str, ...] = ()


def revert(shelf: Shelf, dreamt: Dreamt, now: datetime, *, who: str = US) -> Reverted:
    """Take back what a dream wrote, in one commit; `who` is its author, as for `Shelf.put`.

    Raises UsageError for one that was taken back already, LibraryError.
    """
    if dreamt.reverted is not None:
        raise UsageError(f"the dream {dreamt.name} was taken back already", hint="dreamdock dream log")
    head = shelf.adopt()
    files: dict[str, bytes | None] = {}
    entries: list[Entry] = []
    restored: list[str] = []
    kept: list[Kept] = []
    before = parent(shelf, dreamt)
    for path in _paths(shelf, dreamt, before):
        was, left, here = (shelf.file(path, at) if at else None for at in (before, dreamt.commit, head))
        if here == was:
            continue
        if was == left:
            continue  # Somebody else's.
        if here == left or (was is None and here is not None and not _by_people(shelf, path, dreamt)):
            files[path] = was
            restored.append(path)
            continue
        entry, why = _apart(path, was, left, here)
        entries += [entry] if entry is not None else []
        if why:
            kept.append(Kept(path=path, why=why))
        else:
            restored.append(path)
    files[dreamt.path] = _marked(shelf.file(dreamt.path, head) or b"", now)
    message = f"Take back the dream of {dreamt.project}: {dreamt.name}\n\nDreamdock-Reverts: {dreamt.commit}"
    commit = shelf.put(*entries, message=message, since=head, files=files, who=who, vouched=True)
    return Reverted(dream=dreamt, commit=commit, restored=tuple(restored), kept=tuple(kept))


def _by_people(shelf: Shelf, path: str, dreamt: Dreamt) -> bool:
    """Whether anybody but dreams has changed a page since a dream that added it."""
    since = takewhile(lambda one: one.commit != dreamt.commit, history(shelf, path))
    return any(one.who != _DREAMER for one in since)


def _paths(shelf: Shelf, dreamt: Dreamt, before: str) -> list[str]:
    """Return the files that a dream changed: pages, and what lies beside them but for reports."""
    folder = f"skills/{dreamt.project}"
    beside = {*(shelf.beside(folder, before) if before else ()), *shelf.beside(folder, dreamt.commit)}
    return sorted({one.path for one in touched(shelf, dreamt)} | beside)


def _apart(path: str, was: bytes | None, left: bytes | None, here: bytes | None) -> tuple[Entry | None, str]:
    """Return a page that was changed since without what the dream made of it, and why that isn't all of it."""
    if here is None:
        return None, "it was removed since"
    if was is None:
        return None, "the dream added it, and a person changed it since"
    read = [entry_of(path, page) if page is not None else None for page in (was, left, here)]
    old, dreamt, now = (None if isinstance(one, PageError) else one for one in read)
    if old is None or dreamt is None or now is None:
        return None, "it can't be read as an entry"
    result, left_over = undone(old, dreamt, now)
    return result, f"changed since as well: {', '.join(left_over)}" if left_over else ""


def undone(was: Entry, dreamt: Entry, now: Entry) -> tuple[Entry, list[str]]:
    """Return what an entry is without what a dream made of it, and the fields that were changed once more since."""
    fields: dict[str, Any] = {}
    left = []
    for name in _VALUES:
        before, then, here = (getattr(one, name) for one in (was, dreamt, now))
        if before == then:
            continue
        if here == then:
            fields[name] = before
        elif here != before:
            left.append(name)
    for name in _LISTS:
        fields[name] = changed_both(*(getattr(one, name) for one in (dreamt, now, was)))
    for name in _COUNTS:
        fields[name] = max(0, getattr(now, name) - (getattr(dreamt, name) - getattr(was, name)))
    return now.changed(**fields), left


def _marked(report: bytes, now: datetime) -> bytes:
    """Return a report that says that the dream was taken back."""
    return report.replace(b"\n---\n", f"\nreverted: {rfc(now)}\n---\n".encode(), 1)
