"""Two changes of a library brought together entry by entry, so that no entry and no evidence is lost.

What only one side changed is taken as it is; a page that one side deleted and the other changed stays. What both
changed is united field by field; where both wrote another text, the newer one holds, and the other stays as an entry
of its own that was superseded. A page that can't be read as one lies in `set-aside/` where it would have been lost.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from orchestrator.library.entry import Entry, Status
from orchestrator.library.page import PageError, parse, render
from orchestrator.library.place import is_page, known, path_of
from sandbox.objects import EXECUTABLE, FILE
from sandbox.objects import Entry as Node
from sandbox.trees import changes, edited, find

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from datetime import datetime

    from sandbox.objects import Objects

ASIDE: Final = "set-aside"
"""The directory of what would have been lost."""
_TRUST: Final = tuple(Status)
_KEPT: Final = 50
"""Characters of an id that the id of a superseded text begins with."""
_T = TypeVar("_T")
_H = TypeVar("_H", bound="Hashable")


class Side(NamedTuple):
    """One of the two: its tree, and when it was written."""

    tree: str
    when: datetime


def merged(objects: Objects, base: str, ours: Side, theirs: Side, *, apart: bool = True) -> str:
    """Return the tree that has what both sides made of `base`, the tree that both began with.

    `apart` says that each side made its changes itself, so that the same count on both is two counts.
    """
    if ours.tree == base:
        return theirs.tree
    edits: dict[bytes, Node | None] = {}
    for change in changes(objects, base, theirs.tree):
        our = find(objects, ours.tree, change.path)
        if our == change.new and (our is None or not apart):
            continue
        if our == change.old or (our is not None and our.is_tree and change.new is None):
            edits |= _room_for(objects, ours.tree, change.path) if change.new else {}
            edits[change.path] = change.new
        elif our is None and change.new is not None:
            edits |= _room_for(objects, ours.tree, change.path)
            edits[change.path] = change.new
        elif our is not None and change.new is not None:
            edits |= _both(objects, os.fsdecode(change.path), change.old, (our, ours.when), (change.new, theirs.when))
    return edited(objects, ours.tree, edits)


def united(base: Entry | None, ours: Entry, theirs: Entry, *, ours_at: datetime, theirs_at: datetime) -> list[Entry]:
    """Return what two versions of an entry come to, and behind it the text that was superseded, if there is one.

    The times are when the sides were written: they count where an entry doesn't say when its text was changed.
    """
    newer, older = ours, theirs
    if _age(base, theirs, theirs_at) > _age(base, ours, ours_at):
        newer, older = theirs, ours
    words = _newest(_words(base) if base else None, _words(newer), _words(older))
    told = theirs if words == _words(theirs) else ours
    was = base or _Nothing
    result = told.changed(
        status=_least(base.status if base else None, ours.status, theirs.status),
        command=_newest(base.command if base else None, newer.command, older.command),
        origin=_newest(base.origin if base else None, newer.origin, older.origin),
        confidence=_lower(base.confidence if base else None, ours.confidence, theirs.confidence),
        created=min(filter(None, (ours.created, theirs.created)), default=None),
        updated=max(filter(None, (ours.updated, theirs.updated)), default=None),
        uses=_sum(was.uses, ours.uses, theirs.uses),
        accepted=_sum(was.accepted, ours.accepted, theirs.accepted),
        evidence=_all(was.evidence, ours.evidence, theirs.evidence),
        paths=changed_both(was.paths, ours.paths, theirs.paths),
        supersedes=_all(was.supersedes, ours.supersedes, theirs.supersedes),
    )
    lost = ours if told is theirs else theirs
    if _words(lost) in {words, _words(base) if base else None}:
        return [result]
    mark = hashlib.sha256(repr(_words(lost)).encode(errors="replace")).hexdigest()[:8]
    copy = lost.changed(id=f"{lost.id[:_KEPT]}-{mark}", status=Status.SUPERSEDED, uses=0, accepted=0)
    return [result.changed(supersedes=_all((), result.supersedes, (copy.id,))), copy]


class _Nothing:
    """What a version is compared with where there was none before."""

    uses = accepted = 0
    evidence: tuple[()] = ()
    paths: tuple[()] = ()
    supersedes: tuple[()] = ()


def _both(
    objects: Objects, path: str, was: Node | None, ours: tuple[Node, datetime], theirs: tuple[Node, datetime]
) -> dict[bytes, Node | None]:
    """Return what becomes of a path that both sides made something else of."""
    base, our, their = (_entry(objects, path, node) for node in (was, ours[0], theirs[0]))
    if our is not None and their is not None:
        try:
            result = united(base, our, their, ours_at=ours[1], theirs_at=theirs[1])
        except ValueError:  # Together they are more than an entry may have.
            pass
        else:
            return {os.fsencode(path_of(one)): Node(FILE, objects.put(b"blob", render(one).encode())) for one in result}
    if our is None and their is not None and not ours[0].is_tree:
        return {os.fsencode(path): theirs[0]} | _aside(path, ours[0])
    return _aside(path, theirs[0])


def _room_for(objects: Objects, tree: str, path: bytes) -> dict[bytes, Node | None]:
    """Return how files go out of the way of a path that needs a directory where they are."""
    parts = path.split(b"/")
    for depth in range(1, len(parts)):
        above = b"/".join(parts[:depth])
        if (there := find(objects, tree, above)) is not None and not there.is_tree:
            return {above: None} | _aside(os.fsdecode(above), there)
    return {}


def _aside(path: str, node: Node) -> dict[bytes, Node | None]:
    """Return the place of what would be lost; what it's named after is in its name."""
    head, _, name = path.rpartition("/")
    return {os.fsencode(f"{ASIDE}/{head.replace('/', '-')}-{name}.{node.oid[:8]}"): node}


def _entry(objects: Objects, path: str, node: Node | None) -> Entry | None:
    if node is None or node.mode not in {FILE, EXECUTABLE} or not is_page(path):
        return None
    try:
        return parse(objects.read(node.oid), path, known(path))
    except PageError:
        return None


def _words(entry: Entry) -> tuple[str, str, str]:
    return entry.kind.value, entry.title, entry.text


def _age(base: Entry | None, entry: Entry, written: datetime) -> tuple[datetime, tuple[str, str, str]]:
    """Return when an entry's text was changed; where that is the same, its words decide alike everywhere."""
    said = entry.updated if base is None or entry.updated != base.updated else None
    return said or written, _words(entry)


def _newest(base: _T | None, newer: _T, older: _T) -> _T:
    """Return the value that was changed; of two changes the newer one."""
    return older if newer == base else newer


def _least(base: Status | None, ours: Status, theirs: Status) -> Status:
    """Return the status that was changed; of two changes what is believed less."""
    if base in {ours, theirs}:
        return theirs if ours == base else ours
    return max(ours, theirs, key=_TRUST.index)


def _lower(base: float | None, ours: float, theirs: float) -> float:
    if base in {ours, theirs}:
        return theirs if ours == base else ours
    return min(ours, theirs)


def _sum(base: int, ours: int, theirs: int) -> int:
    """Return a count with what each side has added."""
    return max(ours, theirs, ours + theirs - base)


def _all(base: Iterable[_H], ours: Iterable[_H], theirs: Iterable[_H]) -> tuple[_H, ...]:
    """Return everything that any of them has."""
    return tuple(dict.fromkeys([*base, *ours, *theirs]))


def changed_both(base: Iterable[_H], ours: Iterable[_H], theirs: Iterable[_H]) -> tuple[_H, ...]:
    """Return what a list has after both changes: what one side took out goes, what either put in stays."""
    before, here, there = set(base), set(ours), set(theirs)
    return tuple(one for one in dict.fromkeys([*ours, *theirs]) if one not in before or one in here & there)
