"""Which dependencies came and went in a step: read from what changed, not from what a command said.

Two places tell: the tree of the checkpoint, for what it holds (lock files, vendored packages), and the directories that
it leaves out because the base's rules ignore them, where environments usually lie, together with HOME.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox import manifests
from sandbox.errors import WorkspaceError
from sandbox.installed import Finder, inside, opened
from sandbox.manifests import MOST_BYTES, Package
from sandbox.materialise import TRUSTED, Marks, is_whiteout
from sandbox.spec import Install
from sandbox.trees import changes, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sandbox.objects import Objects
    from sandbox.spec import FileChange

MOST_LISTED = 2_000
"""Installs that one step lists."""
_MOST_ENTRIES = 20_000  # Of directories that are left out, in one step.
_MOST_IN_LAYER = 300_000
_MOST_TOPS = 1_000
_HOME = b".dreamdock/home/.local"
_TELLING = ("Cargo.lock", "go.sum", "var/lib/dpkg/status", ".dist-info/METADATA", "/package.json")
_BY_LOCK = frozenset({"cargo", "go"})
_NODE_MODULES = "node_modules"


class Installs:
    """What is installed in one workspace, from step to step. `below` is what set-up installed."""

    def __init__(self, objects: Objects, upper: Path, below: Sequence[Install] = (), *, marks: Marks = TRUSTED) -> None:
        self._marks = marks
        self._objects = objects
        self._upper = upper
        self._finder = Finder(upper, most_entries=_MOST_ENTRIES)
        self._below = [
            Package(one.manager, one.place, one.name, one.version) for one in below if one.manager not in _BY_LOCK
        ]
        self._roots = sorted({_root(package.place) for package in self._below})[:_MOST_TOPS]
        self._hidden: frozenset[str] = frozenset()
        self._known = self._found = frozenset(self._below)

    def step(
        self, left_out: Sequence[bytes], old: str, new: str, files: Sequence[FileChange]
    ) -> tuple[tuple[Install, ...], tuple[str, ...]]:
        """Return what came and went since the last step, and what wasn't looked through.

        `left_out` are the directories of the upper layer that the checkpoint leaves out; `old` and `new` its trees,
        which differ in `files`. No process may be running in the workspace. Raises WorkspaceError.
        """
        told = _in_trees(self._objects, old, new) if any(file.path.endswith(_TELLING) for file in files) else []
        more = f"{len(left_out) - _MOST_TOPS} directories more" if len(left_out) > _MOST_TOPS else ""
        with suppress(OSError):  # A layer that can't be read has failed its checkpoint already.
            changed = self._finder.look([*left_out[:_MOST_TOPS], _HOME])
            hidden = frozenset(root for root in self._roots if self._is_hidden(os.fsencode(root)))
            if changed or hidden != self._hidden:
                self._hidden = hidden
                self._found = self._now()
            told += compared(self._known, self._found)
        unlooked = [*self._finder.unlooked, *([more] if more else [])]
        if len(told) > MOST_LISTED:
            unlooked.append(f"{len(told) - MOST_LISTED} installs more")
        return tuple(told[:MOST_LISTED]), tuple(unlooked)

    def keep(self) -> None:
        """Take what the last step found for known: without it, the next one tells it again."""
        self._known = self._found

    def forget(self) -> None:
        """Look through everything again the next time; what was known to be installed stays known."""
        self._finder.forget()

    def _now(self) -> frozenset[Package]:
        """Return what is installed where the checkpoint doesn't look: the run's own, and what of set-up's shows."""
        own = self._finder.packages()
        taken = {package.key for package in own}
        gone = {(os.fsdecode(path), os.fsdecode(name)) for path, name in self._finder.hidden()}
        return own | {
            package
            for package in self._below
            if package.key not in taken and _root(package.place) not in self._hidden and not _is_gone(package, gone)
        }

    def _is_hidden(self, path: bytes) -> bool:
        """Whether the upper layer hides a directory of set-up's: by a whiteout, or by a directory that hides it all."""
        above, _, name = path.rpartition(b"/")
        parts = above.split(b"/") if above else []
        with opened(self._upper) as here:
            for depth in range(len(parts) + 1):
                with suppress(OSError), inside(here, b"/".join(parts[:depth])) as folder:
                    if depth and self._marks.opaque in os.listxattr(folder):
                        return True
                    status = os.stat((*parts, name)[depth], dir_fd=folder, follow_symlinks=False)
                    if is_whiteout(status):
                        return True
            with suppress(OSError), inside(here, path) as folder:
                return self._marks.opaque in os.listxattr(folder)
        return False


def in_layer(tree: Path) -> tuple[tuple[Install, ...], tuple[str, ...]]:
    """Return what is installed in a directory that nobody writes to any more, and what wasn't looked through.

    Raises OSError.
    """
    finder = Finder(tree, most_entries=_MOST_IN_LAYER, locks=True)
    finder.look([b""])
    told = compared(frozenset(), finder.packages())
    more = [f"{len(told) - MOST_LISTED} installs more"] if len(told) > MOST_LISTED else []
    return tuple(told[:MOST_LISTED]), (*finder.unlooked, *more)


def compared(before: frozenset[Package], after: frozenset[Package]) -> list[Install]:
    """Return what came, went and was exchanged between two states, in order.

    Of what there are several versions at one place, as in lock files, each version comes and goes by itself.
    """
    if before is after:
        return []
    came, went = sorted(after - before), sorted(before - after)
    several = {key for many in (came, went) for key, times in Counter(one.key for one in many).items() if times > 1}
    old = {package.key: package for package in went if package.key not in several}
    told = []
    for package in came:
        known = old.pop(package.key, None)
        told.append(_install(package, "changed", known.version) if known else _install(package, "added"))
    left = (package for package in went if package.key in several or package.key in old)
    return told + [_install(package, "removed") for package in left]


def _install(package: Package, change: str, before: str = "") -> Install:
    fields = {"manager": package.manager, "name": package.name, "version": package.version, "place": package.place}
    return Install.model_validate({**fields, "change": change, "before": before})


def _in_trees(objects: Objects, old: str, new: str) -> list[Install]:
    """Return what the files of two trees say that differ in them."""
    before: set[Package] = set()
    after: set[Package] = set()
    for change in changes(objects, old, new):
        if os.fsdecode(change.path).endswith(_TELLING):
            for tree, entry, packages in ((old, change.old, before), (new, change.new, after)):
                if entry is not None:
                    packages.update(_told(objects, tree, change.path, objects.read(entry.oid)[:MOST_BYTES]))
    return compared(frozenset(before), frozenset(after))


def _told(objects: Objects, tree: str, path: bytes, data: bytes) -> Iterable[Package]:
    folder, _, name = path.rpartition(b"/")
    above, _, own = folder.rpartition(b"/")
    if name == b"Cargo.lock":
        return manifests.cargo(path, data)
    if name == b"go.sum":
        return manifests.go(path, data)
    if name == b"status":
        return manifests.dpkg(path, data)
    if name == b"METADATA":
        by = find(objects, tree, folder + b"/INSTALLER")
        with suppress(WorkspaceError):
            return [manifests.python(above, own, data, objects.read(by.oid)[:64] if by and not by.is_tree else b"")]
    scoped = above.rpartition(b"/")[2].startswith(b"@")
    place, full = (above.rpartition(b"/")[0], above.rpartition(b"/")[2] + b"/" + own) if scoped else (above, own)
    found = manifests.npm(place, full, data) if place.rpartition(b"/")[2] == b"node_modules" else None
    return [found] if found else []


def _root(place: str) -> str:
    """Return the directory that stands for a place: the outermost node_modules, else the place itself."""
    parts = place.split("/")
    return "/".join(parts[: parts.index(_NODE_MODULES) + 1]) if _NODE_MODULES in parts else place


def _is_gone(package: Package, gone: set[tuple[str, str]]) -> bool:
    """Whether the upper layer hides just this package of set-up's."""
    if package.manager == "npm":
        path = f"{package.place}/{package.name}".split("/")
        return any(("/".join(path[:depth]), path[depth]) in gone for depth in range(1, len(path)))
    names = (manifests.dist_info(os.fsencode(name)) for place, name in gone if place == package.place)
    told = {package._replace(name=name, version=version) for name, version in filter(None, names)}
    return any(one.key == package.key and one.version == package.version for one in told)
