"""Finds what is installed below directories that a checkpoint leaves out, and finds it again without a walk.

A directory is looked through once, when it's new. After that only its ways to packages are looked at: a manager that
installs, exchanges or removes something makes or removes a name in a directory that is watched, and the kernel gives
that a new change time, which nobody inside can set back.

The run wrote all of it: entries are reached relative to open directories, no link is followed, names and bytes are
capped, and what there is no time for is named.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from sandbox import manifests
from sandbox.contents import head
from sandbox.git import printable
from sandbox.manifests import METADATA_BYTES, MOST_BYTES, PACKAGE_JSON_BYTES, Package
from sandbox.materialise import is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SETTLED_NS = 20_000_000  # A directory whose time is closer than this to the look may change again without a newer one.
_DEEPEST = 8
_NODE_MODULES, _DIST_INFO, _NPM_LOCK, _PNPM = b"node_modules", b".dist-info", b".package-lock.json", b".pnpm"
_DPKG = b"var/lib/dpkg"
_SITES = frozenset({b"site-packages", b"dist-packages"})
_LIKELY = frozenset({b"node_modules", b"site-packages", b"lib", b"lib64", b".venv", b"venv", b"local", b".local"})
_NEVER = frozenset({b".git", b"__pycache__", b".cache", b".npm", b".mypy_cache", b".pytest_cache", b".ruff_cache"})
_Facts = tuple[int, ...]
_T = TypeVar("_T")


@dataclass(slots=True)
class _Folder:
    """What is remembered of a directory: its facts, the directories in it that lead to packages, its own packages.

    `seen` are the directories in it that were looked through; `gone` the names that it hides of what lies below.
    """

    facts: _Facts | None = None
    inner: dict[bytes, _Folder] = field(default_factory=dict)
    seen: frozenset[bytes] = frozenset()
    gone: frozenset[bytes] = frozenset()
    read: dict[bytes, tuple[_Facts, tuple[Package, ...]]] = field(default_factory=dict)
    is_npm: bool = False
    is_site: bool = False

    @property
    def counts(self) -> bool:
        return bool(self.inner or self.read or self.gone or self.is_npm or self.is_site)

    def packages(self) -> Iterator[Package]:
        for _, found in self.read.values():
            yield from found
        for folder in self.inner.values():
            yield from folder.packages()

    def hidden(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        for name in self.gone:
            yield path, name
        for name, folder in self.inner.items():
            yield from folder.hidden(path + b"/" + name)


class Finder:
    """Watches some directories below one root, which all come, go and change between two looks."""

    def __init__(self, root: Path, *, most_entries: int, locks: bool = False) -> None:
        """`most_entries` are looked at in one look; with `locks`, lock files count as well as what is unpacked."""
        self._root = root
        self._most = most_entries
        self._locks = locks
        self._tops: dict[bytes, _Folder] = {}
        self._left = 0
        self._now = 0
        self._at = b""
        self._changed = False
        self.unlooked: list[str] = []
        """What the last look had no time for: directories of `tops`, or of the root's where that is the only one."""

    def look(self, tops: Iterable[bytes]) -> bool:
        """Look at these directories, by their paths, and at no other; whether anything may have changed since."""
        self._left, self._now, self.unlooked = self._most, time.time_ns(), []
        wanted = dict.fromkeys(sorted(tops, key=_unlikely))
        self._changed = self._tops.keys() != wanted.keys()
        before = self._tops
        self._tops = {path: before.get(path) or _Folder() for path in wanted}
        with opened(self._root) as root:
            for path, folder in self._tops.items():
                self._at = path
                self._top(root, path, folder)
        return self._changed

    def packages(self) -> frozenset[Package]:
        """Return what the last look found."""
        return frozenset(package for folder in self._tops.values() for package in folder.packages())

    def hidden(self) -> frozenset[tuple[bytes, bytes]]:
        """Return the names that the last look found to be hidden, each with its directory's path."""
        return frozenset(item for path, folder in self._tops.items() for item in folder.hidden(path))

    def forget(self) -> None:
        """Look through everything again the next time."""
        self._tops = {}

    def _top(self, root: int, path: bytes, folder: _Folder) -> None:
        above, _, name = path.rpartition(b"/")
        if not path:
            self._visit(root, b".", b"", folder, 0)
            return
        with suppress(OSError), inside(root, above) as here:
            self._visit(here, name, path, folder, 0)
            return
        self._clear(folder)

    def _visit(self, above: int, name: bytes, path: bytes, folder: _Folder, depth: int) -> None:
        try:
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            facts = _facts(status)
            same = folder.facts is not None and folder.facts[: len(facts)] == facts
            if same and not folder.inner and not folder.is_npm:
                return
            here = os.open(name, _FOLDER, dir_fd=above)
        except OSError:
            self._clear(folder)
            return
        try:
            folder.is_site = name in _SITES  # A fresh one is empty, and is watched.
            if name == _NODE_MODULES:
                folder.is_npm = True
                facts += _facts_of(here, _NPM_LOCK)  # npm writes it anew in place, also for packages further down.
            if folder.facts == facts:
                for inner in folder.inner:
                    if b"/" not in inner and (inner.startswith(b"@") or not folder.is_npm):
                        self._visit(here, inner, path + b"/" + inner, folder.inner[inner], depth + 1)
                return
            self._changed = True
            self._list(here, path, folder, depth)
            folder.facts = facts if self._now - max(facts[2::3]) > _SETTLED_NS else None
        finally:
            os.close(here)

    def _list(self, here: int, path: bytes, folder: _Folder, depth: int) -> None:
        folders, files, gone = self._names(here, path)
        folder.gone = gone
        name = path.rpartition(b"/")[2]
        if folder.is_npm or name.startswith(b"@"):
            self._npm(here, path, folder, folders, depth)
        elif any(one.endswith(_DIST_INFO) for one in (*folders, *gone, *(folder.read if self._left <= 0 else ()))):
            self._python(here, path, folder, folders)
        else:
            self._plain(here, path, folder, folders, depth)
            self._lock_files(here, path, folder, files)

    def _names(self, here: int, path: bytes) -> tuple[list[bytes], frozenset[bytes], frozenset[bytes]]:
        """Return a directory's directories, its files, and what it hides; fewer where the look has had enough."""
        folders, files, gone = [], [], []
        with os.scandir(here) as listing:
            for item in listing:
                if self._left <= 0:
                    self._leave(path)
                    break
                self._left -= 1
                name = os.fsencode(item.name)
                if item.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif item.is_file(follow_symlinks=False):
                    files.append(name)
                elif not item.is_symlink() and is_whiteout(item.stat(follow_symlinks=False)):
                    gone.append(name)
        return folders, frozenset(files), frozenset(gone)

    def _plain(self, here: int, path: bytes, folder: _Folder, names: list[bytes], depth: int) -> None:
        """Look through directories that weren't there before, the likely ones first, and again at those that count."""
        listed = {name: inner for name, inner in folder.inner.items() if name in names}
        folder.inner = self._unless_cut(folder.inner, listed)
        names.sort(key=_unlikely)
        below = path + b"/" if path else b""
        for name in names:
            known = folder.inner.get(name)
            if known is None and (name in folder.seen or name in _NEVER):
                continue
            if depth >= _DEEPEST:
                self._leave(path)
                break
            inner = known or _Folder()
            self._visit(here, name, below + name, inner, depth + 1)
            if inner.counts:
                folder.inner[name] = inner
        folder.seen = frozenset(names)

    def _python(self, here: int, path: bytes, folder: _Folder, names: list[bytes]) -> None:
        read = {}
        for name in names:
            if name.endswith(_DIST_INFO):
                with suppress(OSError):
                    facts = _facts_of(here, name)
                    known = folder.read.get(name)
                    read[name] = known if known and known[0] == facts else (facts, (_python(here, path, name),))
        folder.read, folder.inner, folder.seen = self._unless_cut(folder.read, read), {}, frozenset()

    def _npm(self, here: int, path: bytes, folder: _Folder, names: list[bytes], depth: int) -> None:
        """Read the packages of a node_modules, or of a scope in it; those inside packages count as well."""
        read, inner = {}, {}
        for name in names:
            place = path + b"/" + name
            scoped = name.startswith(b"@") and folder.is_npm
            if scoped or name == _PNPM:
                inner[name] = folder.inner.get(name) or _Folder()
                self._visit(here, name, place, inner[name], depth + 1)
                continue
            if name.startswith(b"."):
                continue
            if depth >= 4 * _DEEPEST:
                self._leave(path)
                break
            with suppress(OSError), inside(here, name) as package:
                facts = _facts_of(package, b"package.json")
                known = folder.read.get(name)
                read[name] = known if known and known[0] == facts else (facts, _package(package, path, name))
                if _facts_of(package, _NODE_MODULES) != _NOTHING:
                    key = name + b"/" + _NODE_MODULES
                    inner[key] = folder.inner.get(key) or _Folder()
                    self._visit(package, _NODE_MODULES, path + b"/" + key, inner[key], depth + 1)
        folder.read, folder.inner = self._unless_cut(folder.read, read), self._unless_cut(folder.inner, inner)

    def _lock_files(self, here: int, path: bytes, folder: _Folder, files: frozenset[bytes]) -> None:
        below = path + b"/" if path else b""
        wanted = {b"Cargo.lock": manifests.cargo, b"go.sum": manifests.go} if self._locks else {}
        if path.endswith(_DPKG):
            wanted[b"status"] = manifests.dpkg
        read: dict[bytes, tuple[_Facts, tuple[Package, ...]]] = {
            name: ((), tuple(parse(below + name, head(here, name, MOST_BYTES))))
            for name, parse in wanted.items()
            if name in files
        }
        folder.read = self._unless_cut(folder.read, read)

    def _unless_cut(self, before: dict[bytes, _T], now: dict[bytes, _T]) -> dict[bytes, _T]:
        """Return what is there now; where the look has had enough, nothing is taken for gone."""
        return before | now if self._left <= 0 else now

    def _leave(self, path: bytes) -> None:
        words = printable(self._at or path.partition(b"/")[0]) or "."
        if words not in self.unlooked:
            self.unlooked.append(words)

    def _clear(self, folder: _Folder) -> None:
        self._changed = self._changed or folder.counts
        folder.facts, folder.inner, folder.read, folder.gone = None, {}, {}, frozenset()
        folder.seen, folder.is_npm, folder.is_site = frozenset(), False, False


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a directory. Raises OSError."""
    folder = os.open(path, _FOLDER)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def inside(root: int, path: bytes) -> Iterator[int]:
    """Open a directory below another one, over no link. Raises OSError."""
    here = os.dup(root)
    try:
        for name in path.split(b"/") if path else ():
            inner = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here = inner
        yield here
    finally:
        os.close(here)


_NOTHING: _Facts = (0, 0, 0)


def _unlikely(path: bytes) -> tuple[bool, bytes]:
    """Return what sorts directories in which packages usually lie before the others: these may be large."""
    name = path.rpartition(b"/")[2]
    return name not in _LIKELY and not name.startswith(b"python"), path


def _facts(status: os.stat_result) -> _Facts:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _facts_of(here: int, name: bytes) -> _Facts:
    try:
        return _facts(os.stat(name, dir_fd=here, follow_symlinks=False))
    except OSError:
        return _NOTHING


def _python(here: int, path: bytes, name: bytes) -> Package:
    with inside(here, name) as folder:
        return manifests.python(path, name, head(folder, b"METADATA", METADATA_BYTES), head(folder, b"INSTALLER", 64))


def _package(package: int, path: bytes, name: bytes) -> tuple[Package, ...]:
    scope = path.rpartition(b"/")[2]
    full, place = (scope + b"/" + name, path.rpartition(b"/")[0]) if scope.startswith(b"@") else (name, path)
    found = manifests.npm(place, full, head(package, b"package.json", PACKAGE_JSON_BYTES))
    return (found,) if found else ()
