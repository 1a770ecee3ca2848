"""A workspace's room without a workspace yet: a container can be started on it before it's known for what.

What `sandbox.workspace` shows of a room, but for the layers: its disk is there, and empty. Whoever holds its lock owns
it, in whatever process.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from sandbox.cache import locked, remove_tree
from sandbox.disk import mount_disk, unmount_disk
from sandbox.errors import WorkspaceError
from sandbox.mounts import bind_closed, may_mount, mount_slot, unmount
from sandbox.objects import disk_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Slot:
    """A room that is ours, and in it an empty disk, and an empty place that a container can get as its workspace."""

    room: Path
    lock: IO[str]

    @classmethod
    def make(cls, root: Path, name: str, *, size_mb: int) -> Slot:
        """Make a room below a root of workspaces, with a disk of `size_mb` MiB.

        Where this process may not mount, it's a room in which only the engine can show a workspace, on the host's disk.
        Raises WorkspaceError, DiskFull; then nothing of it stays.
        """
        room = root.resolve() / "open" / name
        try:
            slot = cls(room, _claim(room))
            try:
                if mounting := may_mount():
                    bind_closed(room)
                    make_disk(room, size_mb)
                else:
                    disk(room).mkdir()
                slot.merged.mkdir()
                if mounting:
                    mount_slot(slot.merged)
            except BaseException:
                with suppress(WorkspaceError):  # The first error is the one to tell.
                    slot.remove()
                raise
        except OSError as error:
            raise disk_error(error, "making the workspace") from error
        return slot

    @property
    def merged(self) -> Path:
        """The place that the container gets."""
        return self.room / "merged"

    def tell(self, labels: Mapping[str, str]) -> None:
        """Write down whose it is now: the engine can't change a container's labels. Raises OSError."""
        (self.room / "labels").write_text(json.dumps(dict(labels)))

    def remove(self) -> None:
        """Unmount and delete it, and let go of it. Raises WorkspaceError when a process still uses it."""
        remove_room(self.room)
        self.lock.close()


def make_disk(room: Path, size_mb: int) -> None:
    """Give a room an empty disk. Raises OSError, WorkspaceError, DiskFull."""
    place = disk(room)
    place.mkdir(exist_ok=True)
    mount_disk(room.parent, size_mb, place)


def disk(room: Path) -> Path:
    """Return where a room's disk is mounted."""
    return room / "disk"


def told(room: Path) -> dict[str, str]:
    """Return what was written down of a room's owner; nothing where nobody has it yet, or it's gone."""
    try:
        return {str(key): str(value) for key, value in json.loads((room / "labels").read_text()).items()}
    except (OSError, ValueError):
        return {}


def is_abandoned(room: Path) -> bool:
    """Whether no living process has a room."""
    try:
        with (room / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True  # Its removal was cut short.
    except BlockingIOError:
        return False
    return True


def remove_room(room: Path) -> None:
    """Unmount and delete a room. Raises WorkspaceError when a process still uses it."""
    if not room.is_dir():
        return
    for place in (room / "lower", room / "engine", room / "merged"):
        while unmount(place):  # Two lie on `merged`; and more, if a worker was killed between two mounts and came back.
            pass
    unmount_disk(disk(room))
    while unmount(room):
        pass
    remove_tree(room)


def _claim(room: Path) -> IO[str]:
    room.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(room.parent.with_name("open.lock")):  # A sweep never sees a room without its lock.
        room.mkdir(mode=0o700)
        lock = (room / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
