"""Puts the difference between two trees into a fresh upper layer, so that the overlay shows exactly the second one."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from sandbox.objects import EMPTY_TREE, EXECUTABLE, GITLINK, LINK, TREE, Entry, Objects

if TYPE_CHECKING:
    from pathlib import Path


class Marks(NamedTuple):
    """The names of the attributes by which an overlay marks directories and files of its upper layer."""

    opaque: str
    redirect: str
    origin: str
    impure: str


TRUSTED = Marks(*(f"trusted.overlay.{name}" for name in Marks._fields))
"""Those that take CAP_SYS_ADMIN to see: where the worker mounts."""

USER = Marks(*(f"user.overlay.{name}" for name in Marks._fields))
"""Those of an overlay mounted with `userxattr`. The kernel keeps them from what is written through the overlay."""


def materialise(
    objects: Objects,
    base_tree: str,
    tree: str,
    upper: Path,
    uid: int,
    *,
    shared: frozenset[bytes] = frozenset(),
    marks: Marks = TRUSTED,
) -> None:
    """Fill an empty upper layer, owned by `uid`, that isn't mounted yet.

    `shared` are the base's directories that set-up put something in, which stays. Raises OSError, WorkspaceError.
    """
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _Writer(objects, uid, shared, marks).fill(root, base_tree, tree, b"")
    finally:
        os.close(root)


def is_whiteout(status: os.stat_result) -> bool:
    """Whether this is how an upper layer hides a name of the base."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class _Writer:
    def __init__(self, objects: Objects, uid: int, shared: frozenset[bytes], marks: Marks) -> None:
        self._marks = marks
        self._objects = objects
        self._uid = uid
        self._shared = shared

    def fill(self, here: int, base: str, wanted: str, path: bytes) -> None:
        before, after = self._objects.tree(base), self._objects.tree(wanted)
        for name in {name for name, _ in before.items() ^ after.items()}:
            was, now = before.get(name), after.get(name)
            if now is None and path + name in self._shared:
                now = Entry(TREE, EMPTY_TREE)
            if now is None:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=here)
            elif now.is_tree or now.mode == GITLINK:
                self._folder(here, name, was, now, path)
            else:
                self._file(here, name, now)

    def _folder(self, here: int, name: bytes, was: Entry | None, now: Entry, path: bytes) -> None:
        os.mkdir(name, 0o755, dir_fd=here)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        try:
            os.fchmod(inner, 0o755)
            os.fchown(inner, self._uid, self._uid)
            continued = was is not None and was.is_tree and now.is_tree
            if was is not None and not continued:
                os.setxattr(inner, self._marks.opaque, b"y")
            if now.is_tree:
                before = was.oid if was is not None and continued else EMPTY_TREE
                self.fill(inner, before, now.oid, path + name + b"/")
        finally:
            os.close(inner)

    def _file(self, here: int, name: bytes, now: Entry) -> None:
        data = self._objects.read(now.oid)
        if now.mode == LINK:
            os.symlink(data, name, dir_fd=here)
            os.chown(name, self._uid, self._uid, dir_fd=here, follow_symlinks=False)
            return
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=here)
        with open(file, "wb") as target:  # noqa: PTH123  # Opened relative to a directory, by descriptor.
            target.write(data)
            os.fchmod(target.fileno(), 0o755 if now.mode == EXECUTABLE else 0o644)
            os.fchown(target.fileno(), self._uid, self._uid)
