"""A run's workspace: an overlay with a cached pristine checkout below, and above it all that the run changed.

<root>/pristine/<hash>/        the checkouts, shared
<root>/open/<name>/            0700, a mount of its own without set-uid, devices or programs
    lock                       held by the process that opened it: tells when that was killed
    upper/  work/              the overlay's own
    rules/                     the base's ignore files, once they are asked
    merged/                    what the container sees as /workspace
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from sandbox.errors import WorkspaceError
from sandbox.git import printable
from sandbox.materialise import materialise
from sandbox.mounts import bind_closed, mount_overlay, unmount
from sandbox.objects import disk_error
from sandbox.pristine import Pristine, locked, pristine, remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.spec import Base
    from sandbox.store import Store

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Workspace:
    """A mounted workspace: `merged` is what the container gets, `upper` is what checkpoints read."""

    base: Base
    room: Path
    pristine: Pristine
    lock: IO[str]

    @property
    def merged(self) -> Path:
        """The directory that shows base and changes as one."""
        return self.room / "merged"

    @property
    def upper(self) -> Path:
        """The directory that holds the changes."""
        return self.room / "upper"

    @classmethod
    def create(cls, store: Store, base: Base, root: Path, *, name: str, uid: int, tree: str | None = None) -> Workspace:
        """Mount a workspace at the base's tree, or at `tree`; everything in it belongs to `uid`.

        What an earlier process left under the same name is removed first.
        Raises WorkspaceError, DiskFull; then nothing of it stays.
        """
        cls.discard(root, name)
        # The mount table names directories relative to the root, and overlays need the two to be one path.
        root = root.resolve()
        lower = pristine(store, base, root / "pristine", uid)
        room = root / "open" / name
        try:
            workspace = cls(base, room, lower, _claim(room))
        except OSError as error:
            raise disk_error(error, "making the workspace") from error
        try:
            workspace._fill(store, root, uid, tree)
        except BaseException as error:
            with suppress(WorkspaceError):  # The first error is the one to tell.
                workspace.remove()
            if isinstance(error, OSError):
                raise disk_error(error, "making the workspace") from error
            raise
        return workspace

    @classmethod
    def discard(cls, root: Path, name: str) -> None:
        """Unmount and delete what is left of a workspace by that name. Raises WorkspaceError when it's in use."""
        if not _NAME.fullmatch(name):
            raise WorkspaceError(f"{printable(name)!r} can't name a workspace", hint="use letters, digits, - and _")
        _remove(root.resolve() / "open" / name)

    @staticmethod
    def sweep(root: Path) -> list[str]:
        """Remove what killed workers left below a root and return its names; what is still in use stays."""
        folder = root.resolve() / "open"
        if not folder.is_dir():
            return []
        removed = []
        with locked(folder.with_name("open.lock")):
            for room in sorted(item for item in folder.iterdir() if item.is_dir() and _is_abandoned(item)):
                with suppress(WorkspaceError):
                    _remove(room)
                    removed.append(room.name)
        return removed

    def unmount(self) -> None:
        """Take the workspace out of sight; its layers stay. Raises WorkspaceError when a process still uses it."""
        unmount(self.merged)
        unmount(self.room)

    def remove(self) -> None:
        """Unmount and delete all but the cached checkout. Raises WorkspaceError when a process still uses it."""
        _remove(self.room)
        self.lock.close()

    def _fill(self, store: Store, root: Path, uid: int, tree: str | None) -> None:
        bind_closed(self.room)
        for folder in (self.upper, self.room / "work", self.merged):
            folder.mkdir()
        os.chown(self.upper, uid, uid)
        self.upper.chmod(0o755)
        if tree is not None:
            materialise(store.objects(self.base.project), self.base.tree, tree, self.upper, uid)
        self._make_home(uid)
        place = f"open/{self.room.name}"
        mount_overlay(
            root,
            lower=f"pristine/{self.pristine.name}/tree",
            upper=f"{place}/upper",
            work=f"{place}/work",
            merged=f"{place}/merged",
        )

    def _make_home(self, uid: int) -> None:
        reserved = self.upper / ".dreamdock"
        for folder, mode in ((reserved, 0o755), (reserved / "home", 0o700)):
            folder.mkdir()
            folder.chmod(mode)
            os.chown(folder, uid, uid)


def _claim(room: Path) -> IO[str]:
    room.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(room.parent.with_name("open.lock")):  # A sweep never sees a room without its lock.
        room.mkdir(mode=0o700)
        lock = (room / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _is_abandoned(room: Path) -> bool:
    try:
        with (room / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True  # Its removal was cut short.
    except BlockingIOError:
        return False
    return True


def _remove(room: Path) -> None:
    if not room.is_dir():
        return
    unmount(room / "merged")
    while unmount(room):  # Twice, if a worker was killed between two mounts and came back.
        pass
    remove_tree(room)
