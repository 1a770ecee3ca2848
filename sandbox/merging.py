"""Three-way merge of trees: what somebody else changed since a common beginning, as edits to one's own tree.

Nothing of any workspace is looked at: trees and files come from the store. Where both sides changed a text file, git
merges its lines, from copies of our own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sandbox.git import git, printable
from sandbox.objects import EXECUTABLE, FILE, GITLINK, Entry
from sandbox.trees import changes, edited, files, find

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.objects import Objects
    from sandbox.trees import Change

_LARGEST: Final = 4 << 20
"""Bytes of a file whose lines are merged; a larger one that both sides changed is a conflict."""


class Merging(NamedTuple):
    """What leads from one's own tree to `tree`, which holds both; None takes a path out. With conflicts, nothing does.

    `conflicts` are paths, printable and in order.
    """

    tree: str
    edits: Mapping[bytes, Entry | None]
    conflicts: tuple[str, ...] = ()


class Merged(NamedTuple):
    """What became of it. `failure` says in words why nothing was put down where no path conflicts."""

    conflicts: tuple[str, ...] = ()
    failure: str = ""

    @property
    def merged(self) -> bool:
        """Whether all of it is in the workspace; else nothing is."""
        return not (self.conflicts or self.failure)


def merging(objects: Objects, base: str, ours: str, theirs: str) -> Merging:
    """Return how what differs between `base` and `theirs` comes into `ours`. Raises WorkspaceError, DiskFull."""
    mine = {change.path: change for change in changes(objects, base, ours)}
    edits: dict[bytes, Entry | None] = {}
    conflicts: set[bytes] = set()
    for change in changes(objects, base, theirs):
        own = mine.get(change.path)
        if GITLINK in {entry.mode for entry in (change.old, change.new) if entry is not None}:
            conflicts.add(change.path)  # There is nothing to put down for it.
        elif own is None:
            edits[change.path] = change.new
        elif own.new != change.new:
            both = _both(objects, own, change)
            conflicts |= {change.path} if both is None else set()
            edits[change.path] = both
    conflicts |= {path for path, entry in edits.items() if entry is not None and not _fits(objects, ours, path, edits)}
    if conflicts:
        return Merging(ours, {}, tuple(sorted(map(printable, conflicts))))
    return Merging(edited(objects, ours, edits), edits)


def _both(objects: Objects, own: Change, other: Change) -> Entry | None:
    """Return a file that both sides changed, with both changes; None where they can't be had together."""
    base, ours, theirs = own.old, own.new, other.new
    if base is None or ours is None or theirs is None:
        return None
    three = (ours, base, theirs)
    if any(entry.mode not in {FILE, EXECUTABLE} or objects.size(entry.oid) > _LARGEST for entry in three):
        return None
    mode = theirs.mode if ours.mode == base.mode else ours.mode
    with tempfile.TemporaryDirectory(prefix="dreamdock-") as name:
        sides = [Path(name) / side for side in ("ours", "base", "theirs")]
        for path, entry in zip(sides, three, strict=True):
            path.write_bytes(objects.read(entry.oid))
        merged = git("merge-file", "-p", "-q", *sides, check=False)
    return Entry(mode, objects.put(b"blob", merged.out)) if merged.code == 0 else None  # Else so many conflicts.


def _fits(objects: Objects, tree: str, path: bytes, edits: Mapping[bytes, Entry | None]) -> bool:
    """Whether a file can lie at a path: what is a file above it goes, and so does all that lies below."""
    parts = path.split(b"/")
    for length in range(1, len(parts)):
        above = b"/".join(parts[:length])
        found = find(objects, tree, above)
        if found is not None and not found.is_tree and edits.get(above, found) is not None:
            return False
    here = find(objects, tree, path)
    if here is None or not here.is_tree:
        return True
    return all(edits.get(below, entry) is None for below, entry in files(objects, here.oid, path + b"/"))


def before(objects: Objects, tree: str, edits: Mapping[bytes, Entry | None]) -> dict[bytes, Entry | None]:
    """Return the edits that lead back to a tree."""
    found = {path: find(objects, tree, path) for path in edits}
    return {path: None if entry is None or entry.is_tree else entry for path, entry in found.items()}
