"""A run's own disk: a file system of bounded size in a sparse file, so that who fills it fills nobody else's.

The kernel refuses what goes beyond, bytes and number of files alike, at the moment it is written, and `df` inside tells
how much is left. It takes 0.2 MB and 5 ms to make. Nothing but the kernel ever writes to the file, so no run can forge
what is mounted; it has no journal, because it doesn't outlive its run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox.cache import remove_tree
from sandbox.errors import DiskFull, WorkspaceError
from sandbox.loop import HINT, mount_image
from sandbox.mounts import unmount

if TYPE_CHECKING:
    from pathlib import Path

# No share for root: what a job writes to an overlay counts as root's, so that it would be no reserve.
_MAKE = ("-q", "-F", "-m", "0", "-O", "^has_journal,^resize_inode", "-i", "16384")
_LAZY = ("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0")
# Without noinit_itable the kernel would fill the tables of files in the background, 1.6 % of the size, with nothing.
# Without barriers nobody waits for the host's disk.
_OPTIONS = "noinit_itable,barrier=0,errors=remount-ro"


def mount_disk(folder: Path, size_mb: int, place: Path) -> None:
    """Make a disk of `size_mb` MiB in `folder` and mount it on `place`, closed as `bind_closed` does it.

    No set-uid bit, device or program works on it. Its file has no name, so that it goes with the mount, however that
    ends; `folder` has to be on another mount than what is unmounted right after the disk, because the kernel lets go of
    the file a moment later. Raises OSError, WorkspaceError, DiskFull (the host's); then nothing stays.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size_mb << 20)
        _make(file.fileno())
        mount_image(file.fileno(), place, options=_OPTIONS)
    with suppress(FileNotFoundError):
        (place / "lost+found").rmdir()
    place.chmod(0o700)


def unmount_disk(place: Path) -> None:
    """Unmount a disk, and with that delete it. Raises WorkspaceError when a process still uses it."""
    if place.is_mount():
        with suppress(WorkspaceError):  # What is deleted first isn't written to the file in the end.
            for item in place.iterdir():
                remove_tree(item)
    while unmount(place):
        pass


def mkfs() -> str | None:
    """Return where mkfs.ext4 is; it needn't be on the PATH of who isn't root by login."""
    return shutil.which("mkfs.ext4", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


def _make(file: int) -> None:
    program = mkfs()
    if program is None:
        raise WorkspaceError("mkfs.ext4 isn't installed", hint=HINT)
    argv = [program, *_MAKE, *_LAZY, f"/proc/self/fd/{file}"]
    done = subprocess.run(argv, capture_output=True, check=False, pass_fds=[file], env=os.environ | {"LC_ALL": "C"})
    if done.returncode != 0:
        cause = " ".join(done.stderr.decode(errors="replace").split())[:300]
        if "No space left" in cause:
            hint = "free some space, then try again"
            raise DiskFull("the disk is full: making a disk for the workspace", cause=cause, hint=hint)
        raise WorkspaceError("a disk for the workspace can't be made", cause=cause, hint=HINT)
