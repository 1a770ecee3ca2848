"""Takes what the base's rules ignore (environments, build output, caches), and HOME, from one upper layer to the next.

Both layers are unmounted and belong to the worker meanwhile. Whole directories are renamed; copied is only what still
lies in the base, under a directory of it that the run has moved. In the next layer that may be back at its place, and
the kernel refuses to show two that come from the same one ("stale file handle"): hence what was moved loses every mark
of where it came from.
The old layer was written by the run: as in the fold, entries are reached relative to open directories and no link is
followed.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from sandbox.git import printable
from sandbox.installed import inside, opened
from sandbox.materialise import USER, Marks, is_whiteout
from sandbox.objects import EMPTY_TREE, GITLINK, Entry, Objects
from sandbox.pristine import RESERVED
from sandbox.upper import make_home

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from sandbox.ignores import Ignores
    from sandbox.workspace import Workspace

_DEEPEST = 200  # Directories inside each other; a checkpoint takes no more either.
_LONGEST = 3000  # Bytes of a path that git is asked about.
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Place(NamedTuple):
    """Where the walk is: the path, the trees of the base and of the new layer there, the base's path below it.

    `wanted` is None where the new tree has something else than a directory, `lower` where nothing of the base shines.
    """

    path: bytes
    own: str
    wanted: str | None
    lower: bytes | None
    depth: int


class Survivors:
    """What survives one rewind: from the workspace's layer to `new`, which holds the difference of base and `tree`."""

    def __init__(self, objects: Objects, ignores: Ignores, workspace: Workspace, new: Path, tree: str) -> None:
        self._objects = objects
        self._ignores = ignores
        self._workspace = workspace
        self._new = new
        self._tree = tree
        self._lower = workspace.pristine.tree
        self._marks = workspace.marks
        self._lost: list[str] = []

    def move(self) -> tuple[str, ...]:
        """Move them; return those whose place the new tree needs for something else, in order.

        Raises OSError, WorkspaceError.
        """
        with _opened(self._workspace.upper) as old, self._workspace.lower() as self._lower:
            self._walk(old, _Place(b"", self._workspace.base.tree, self._tree, b"", 0))
            self._move_home(old)
        return tuple(sorted(self._lost))

    def _walk(self, here: int | None, place: _Place) -> None:
        """Look at a directory of the old layer, or for None at one that only the base holds, under another name."""
        own = self._objects.tree(place.own)
        wanted = {} if place.wanted is None else self._objects.tree(place.wanted)
        present = {} if here is None else self._listed(here, place)
        shining = self._shining(place, present)
        found = {name: folder for name, folder in (present | shining).items() if folder is not None}
        self._ignores.ask(place.path + name + b"/" * folder for name, folder in found.items() if name not in own)
        for name, folder in found.items():
            known, there = own.get(name), wanted.get(name)
            if known is None and self._ignores.covers(place.path + name + b"/" * folder):
                if place.wanted is None or there is not None:
                    self._lost.append(printable(place.path + name))
                else:
                    self._take(None if name in shining else here, name, place)
            elif folder and place.depth < _DEEPEST and not (known and known.mode == GITLINK):
                blocked = place.wanted is None or (there is not None and not there.is_tree)
                below = place._replace(own=_tree(known), wanted=None if blocked else _tree(there))
                self._enter(None if name in shining else here, name, below)

    def _listed(self, here: int, place: _Place) -> dict[bytes, bool | None]:
        """Return the names of the old layer, and whether each is a directory; None for those that only hide something.

        Git's own data and the reserved names count as hidden, and so does what is too long.
        """
        found: dict[bytes, bool | None] = {}
        with os.scandir(here) as listing:
            for item in listing:
                name = os.fsencode(item.name)
                reserved = name.lower() == b".git" or (not place.path and name in RESERVED)
                passed = reserved or len(place.path + name) > _LONGEST
                hidden = passed or is_whiteout(item.stat(follow_symlinks=False))
                found[name] = None if hidden else item.is_dir(follow_symlinks=False)
        return found

    def _shining(self, place: _Place, present: dict[bytes, bool | None]) -> dict[bytes, bool | None]:
        """Return the names that show in a moved directory of the base because the base has them, as `_listed` does."""
        if place.lower is None or place.lower == place.path.rstrip(b"/"):
            return {}
        try:
            with self._base(place.lower) as source, os.scandir(source) as listing:
                items = {os.fsencode(item.name): item.is_dir(follow_symlinks=False) for item in listing}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {name: folder for name, folder in items.items() if name not in present and name.lower() != b".git"}

    def _enter(self, here: int | None, name: bytes, place: _Place) -> None:
        path, depth = place.path + name + b"/", place.depth + 1
        if here is None:
            self._walk(None, place._replace(path=path, lower=_joined(place.lower, name), depth=depth))
            return
        with _opened(name, here) as inner:
            lower = _continued(self._marks, inner, name, place.lower)
            self._walk(inner, place._replace(path=path, lower=lower, depth=depth))

    def _take(self, here: int | None, name: bytes, place: _Place) -> None:
        with self._made(place.path) as target:
            if here is None:
                with self._base(place.lower or b"") as source:
                    self._copy(source, name, target)
                return
            os.rename(name, name, src_dir_fd=here, dst_dir_fd=target)
            if stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode):
                self._detach(target, name, place)
            else:
                _forget_origin(self._marks, target, name)

    def _move_home(self, old: int) -> None:
        """Take HOME along, or make it anew where the run has put something else there."""
        try:
            with _opened(b".dreamdock", old):
                pass
        except OSError:
            make_home(self._new, self._workspace.uid)
        else:
            self._take(old, b".dreamdock", _Place(b"", EMPTY_TREE, EMPTY_TREE, b"", 0))

    def _detach(self, folder: int, name: bytes, place: _Place) -> None:
        """Make a directory hold by itself what it shows of another one of the base; `place` is its parent's."""
        with _opened(name, folder) as here:
            marks = os.listxattr(here)
            lower, path = _continued(self._marks, here, name, place.lower), place.path + name
            below = place._replace(path=path + b"/", lower=lower, depth=place.depth + 1)
            with os.scandir(here) as listing:
                items = {os.fsencode(item.name): item.is_dir(follow_symlinks=False) for item in listing}
            if self._marks.impure in marks:
                for inner in [inner for inner, is_folder in items.items() if not is_folder]:
                    _forget_origin(self._marks, here, inner)
            for inner in [inner for inner, is_folder in items.items() if is_folder and place.depth < _DEEPEST]:
                self._detach(here, inner, below)
            if lower == path:
                return
            if lower is not None:
                self._fill(here, items, lower)
            for mark in {self._marks.redirect, self._marks.origin}.intersection(marks):
                os.removexattr(here, mark)

    def _fill(self, here: int, present: Collection[bytes], lower: bytes) -> None:
        """Copy what a directory of the base has and a moved one doesn't; nothing is hidden there any more."""
        for name in present:
            if is_whiteout(os.stat(name, dir_fd=here, follow_symlinks=False)):
                os.unlink(name, dir_fd=here)
        try:
            with self._base(lower) as source:
                for name in map(os.fsencode, os.listdir(source)):  # noqa: PTH208  # A descriptor, not a path.
                    if name not in present:
                        self._copy(source, name, here)
        except (FileNotFoundError, NotADirectoryError):
            pass  # The base has no such directory: nothing shone through.

    def _copy(self, source: int, name: bytes, target: int) -> None:
        """Copy a file, a link or a directory of the base, with the job as its owner."""
        mode = os.stat(name, dir_fd=source, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        elif stat.S_ISDIR(mode):
            os.mkdir(name, stat.S_IMODE(mode), dir_fd=target)
            with _opened(name, source) as inner, _opened(name, target) as made:
                for below in map(os.fsencode, os.listdir(inner)):  # noqa: PTH208  # As above.
                    self._copy(inner, below, made)
        else:
            from_file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(from_file, "rb") as content, os.fdopen(os.open(name, flags, dir_fd=target), "wb") as copy:
                shutil.copyfileobj(content, copy)
                os.fchmod(copy.fileno(), stat.S_IMODE(mode))
        uid = self._workspace.uid
        os.chown(name, uid, uid, dir_fd=target, follow_symlinks=False)

    @contextmanager
    def _base(self, path: bytes) -> Iterator[int]:
        """Open a directory of what lies below: step by step, for a link in it may lead to the host's files."""
        with opened(self._lower) as top, inside(top, path) as folder:
            yield folder

    @contextmanager
    def _made(self, path: bytes) -> Iterator[int]:
        """Open a directory of the new layer by its path (it ends in a slash), made where the new tree has none."""
        here = os.open(self._new, _FOLDER)
        try:
            for name in path.split(b"/")[:-1]:
                inner = self._entered(here, name)
                os.close(here)
                here = inner
            yield here
        finally:
            os.close(here)

    def _entered(self, here: int, name: bytes) -> int:
        hides = False
        try:
            hides = is_whiteout(os.stat(name, dir_fd=here, follow_symlinks=False))
            if not hides:
                return os.open(name, _FOLDER, dir_fd=here)
            os.unlink(name, dir_fd=here)
        except FileNotFoundError:
            pass
        os.mkdir(name, 0o755, dir_fd=here)
        inner = os.open(name, _FOLDER, dir_fd=here)
        os.fchmod(inner, 0o755)
        os.fchown(inner, self._workspace.uid, self._workspace.uid)
        if hides:
            os.setxattr(inner, self._marks.opaque, b"y")
        return inner


def _continued(marks: Marks, folder: int, name: bytes, lower: bytes | None) -> bytes | None:
    """Return the path in the base that a directory of the upper layer continues, None for none."""
    there = os.listxattr(folder)
    if marks.opaque in there and os.getxattr(folder, marks.opaque) == b"y":
        return None
    target = os.getxattr(folder, marks.redirect) if marks.redirect in there else name
    return target.strip(b"/") if target.startswith(b"/") else _joined(lower, target)


def _forget_origin(marks: Marks, folder: int, name: bytes) -> None:
    try:
        os.removexattr(b"/proc/self/fd/%d/%s" % (folder, name), marks.origin, follow_symlinks=False)
    except OSError as error:
        # A link can't have a user's attribute, and so has none.
        if error.errno != errno.ENODATA and (error.errno, marks) != (errno.EPERM, USER):
            raise


def _joined(folder: bytes | None, name: bytes) -> bytes | None:
    if folder is None:
        return None
    return folder + b"/" + name if folder else name


def _tree(entry: Entry | None) -> str:
    return entry.oid if entry is not None and entry.is_tree else EMPTY_TREE


@contextmanager
def _opened(path: Path | bytes, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
