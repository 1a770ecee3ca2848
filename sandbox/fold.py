"""tree = fold(base tree, upper layer): what the workspace holds, read off the overlay's upper layer alone.

The upper layer is written by the run, so everything in it is hostile: entries are reached relative to open directories,
links aren't followed, only regular files are read, and sizes, depth and lengths are capped.

How an overlay records things (the kernel's Documentation/filesystems/overlayfs.rst): a character device 0:0 hides a
name; a directory with `trusted.overlay.opaque` hides what lies below it; one with `trusted.overlay.redirect` continues
another directory of the base (`user.overlay.…` where the engine mounted it).
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sandbox.contents import contents
from sandbox.git import printable
from sandbox.ignores import CACHES
from sandbox.materialise import TRUSTED, Marks, is_whiteout
from sandbox.objects import EMPTY_TREE, EXECUTABLE, FILE, GITLINK, LINK, TREE, Entry, Objects, disk_error
from sandbox.pristine import RESERVED
from sandbox.trees import find

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sandbox.ignores import Ignores

LARGEST = 100_000_000  # Bytes of one file that a checkpoint takes.
_DEEPEST = 200  # Directories inside each other.
_LONGEST = 4000  # Bytes of a path; git stops at 4096.
_SETTLED_NS = 20_000_000  # A file whose time is closer than this to the scan may change again without a newer time.
_Facts = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Inexact:
    """Something of the workspace that a checkpoint doesn't hold: where, why, and its bytes (0 if they say nothing)."""

    path: str
    reason: str
    size: int = 0


@dataclass(slots=True)
class _Folder:
    """What is remembered of one directory of the upper layer: each file's facts and entry, and the result."""

    seen: dict[bytes, tuple[_Facts, Entry | None]] = field(default_factory=dict)
    key: object = None
    tree: str = EMPTY_TREE


class _Place(NamedTuple):
    """Where the walk is: the path, the base's own directory there, and the base's directory that shines through."""

    path: bytes
    own: str
    lower: str
    lower_path: bytes | None
    depth: int


class Folder:
    """Folds one upper layer again and again, reading only what changed since the last time."""

    def __init__(self, objects: Objects, base_tree: str, upper: Path, ignores: Ignores, marks: Marks = TRUSTED) -> None:
        self._marks = marks
        self._objects = objects
        self._base = base_tree
        self._upper = upper
        self._ignores = ignores
        self._memo: dict[bytes, _Folder] = {}
        self._next: dict[bytes, _Folder] = {}
        self._inexact: list[Inexact] = []
        self._now = 0
        self.left_out: list[bytes] = []
        """The directories that the last fold left out because they are ignored, caches of tools not among them."""

    def fold(self) -> tuple[str, tuple[Inexact, ...]]:
        """Return the tree and what it leaves out, in order of path. Raises WorkspaceError, DiskFull."""
        self._inexact, self.left_out = [], []
        self._next = {}
        self._now = time.time_ns()
        try:
            root = os.open(self._upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                tree = self._walk(root, _Place(b"", self._base, self._base, b"", 0))
            finally:
                os.close(root)
        except OSError as error:
            raise disk_error(error, "reading the workspace") from error
        self._memo = self._next
        if self._ignores.too_slow:
            self._inexact.append(Inexact(".gitignore", "the ignore rules take too long to match: nothing is ignored"))
        return tree, tuple(sorted(self._inexact, key=lambda item: item.path))

    def forget(self) -> None:
        """Read everything anew the next time."""
        self._memo = {}

    def _walk(self, here: int, place: _Place) -> str:
        own = self._objects.tree(place.own)
        lower = self._objects.tree(place.lower)
        before = self._memo.get(place.path, _Folder())
        after = self._next[place.path] = _Folder(key=before.key, tree=before.tree)
        entries: dict[bytes, Entry | None] = {}
        for name, status in self._listed(here, place, own).items():
            if stat.S_ISDIR(status.st_mode):
                entries[name] = self._directory(here, name, place, own.get(name), lower.get(name))
                continue
            facts = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            known = before.seen.get(name)
            if known is None or known[0] != facts:
                entry, lasting = self._file(here, name, place, status, lower.get(name))
                known = facts, entry
                if not lasting:
                    entries[name] = entry
                    continue
            entries[name] = known[1]
            if self._now - status.st_ctime_ns > _SETTLED_NS:
                after.seen[name] = known
        key = (place.own, place.lower, entries)
        if after.key != key:
            after.tree = self._merged(place, entries)
            after.key = key
        return after.tree

    def _listed(self, here: int, place: _Place, own: Mapping[bytes, Entry]) -> dict[bytes, os.stat_result]:
        """Return what counts of a directory: reserved names and new paths that the base's rules ignore are left out."""
        found: dict[bytes, os.stat_result] = {}
        new: dict[bytes, bytes] = {}
        with os.scandir(here) as listing:
            for item in listing:
                name = os.fsencode(item.name)
                if not place.path and name in RESERVED:
                    continue
                if name.lower() == b".git":
                    self._leave_out(place.path + name, "git's own data, inside the workspace")
                    continue
                status = found[name] = item.stat(follow_symlinks=False)
                if name not in own and not is_whiteout(status):
                    new[name] = place.path + name + (b"/" if stat.S_ISDIR(status.st_mode) else b"")
        self._ignores.ask(new.values())
        for name, path in new.items():
            if self._ignores.covers(path):
                del found[name]
                if path.endswith(b"/") and name not in CACHES:
                    self.left_out.append(path[:-1])
        return found

    def _directory(
        self, here: int, name: bytes, place: _Place, own: Entry | None, shining: Entry | None
    ) -> Entry | None:
        path = place.path + name
        if place.depth >= _DEEPEST or len(path) > _LONGEST:
            self._leave_out(path, f"nested too deep (directories {_DEEPEST}, bytes of a path {_LONGEST})")
            return None
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        try:
            if shining is not None and shining.mode == GITLINK:
                if os.listdir(inner):  # noqa: PTH208  # A path could lead elsewhere by now; the descriptor can't.
                    self._leave_out(path, "inside a submodule")
                return shining
            lower_path, lower = self._continued(inner, name, place, shining)
            below = _Place(
                path + b"/",
                own.oid if own is not None and own.is_tree else EMPTY_TREE,
                lower.oid if lower is not None and lower.is_tree else EMPTY_TREE,
                None if lower_path is None else lower_path + b"/",
                place.depth + 1,
            )
            tree = self._walk(inner, below)
        finally:
            os.close(inner)
        return None if tree == EMPTY_TREE else Entry(TREE, tree)

    def _continued(
        self, folder: int, name: bytes, place: _Place, shining: Entry | None
    ) -> tuple[bytes | None, Entry | None]:
        """Return what of the base continues below this directory of the upper layer, and where the base has it."""
        marks = os.listxattr(folder)
        if self._marks.opaque in marks and os.getxattr(folder, self._marks.opaque) == b"y":
            return None, None
        path = None if place.lower_path is None else place.lower_path + name
        if self._marks.redirect not in marks:
            return path, shining
        target = os.getxattr(folder, self._marks.redirect)
        if target.startswith(b"/"):
            path = target.strip(b"/")
        elif place.lower_path is not None:
            path = place.lower_path + target
        return path, None if path is None else find(self._objects, self._base, path)

    def _file(
        self, here: int, name: bytes, place: _Place, status: os.stat_result, shining: Entry | None
    ) -> tuple[Entry | None, bool]:
        """Return the entry for something that isn't a directory, and whether it holds until the file's facts change."""
        mode = status.st_mode
        if is_whiteout(status):
            return None, True
        if stat.S_ISLNK(mode):
            target = os.fsencode(os.readlink(name, dir_fd=here))
            return Entry(LINK, self._objects.put(b"blob", target)), True
        if not stat.S_ISREG(mode):
            self._leave_out(place.path + name, "neither a file, a link nor a directory")
            return None, False
        if status.st_size > LARGEST or len(place.path + name) > _LONGEST:
            self._leave_out(place.path + name, "too large", status.st_size)
            return (None if shining is None or shining.is_tree else shining), False
        data, at_rest = contents(here, name, status.st_size, LARGEST)
        present = shining.oid if shining is not None else ""
        kind = EXECUTABLE if mode & stat.S_IXUSR else FILE
        return Entry(kind, self._objects.put(b"blob", data, present=present)), at_rest

    def _merged(self, place: _Place, entries: Mapping[bytes, Entry | None]) -> str:
        shining = self._grafted(place.path, place.own, place.lower)
        merged = {name: entry for name, entry in shining.items() if name not in entries}
        merged.update({name: entry for name, entry in entries.items() if entry is not None})
        if not merged:
            return EMPTY_TREE
        return self._objects.put_tree(merged.items(), present=place.lower)

    def _grafted(self, path: bytes, own: str, lower: str) -> Mapping[bytes, Entry]:
        """Return a directory of the base as it counts at `path`: the ignore rules bear on what was moved there."""
        below = self._objects.tree(lower)
        if own == lower:
            return below
        known = self._objects.tree(own)
        new = {
            name: path + name + (b"/" if entry.is_tree else b"") for name, entry in below.items() if name not in known
        }
        self._ignores.ask(new.values())
        counted: dict[bytes, Entry] = {}
        for name, entry in below.items():
            if name in new and self._ignores.covers(new[name]):
                continue
            if not entry.is_tree:
                counted[name] = entry
                continue
            there = known.get(name)
            inner = self._grafted(path + name + b"/", there.oid if there and there.is_tree else EMPTY_TREE, entry.oid)
            if inner:
                counted[name] = Entry(TREE, self._objects.put_tree(inner.items(), present=entry.oid))
        return counted

    def _leave_out(self, path: bytes, reason: str, size: int = 0) -> None:
        self._inexact.append(Inexact(printable(path), reason, size))
