"""A run's own disk: a file system of bounded size in a sparse file, so that who fills it fills nobody else's.

The kernel refuses what goes beyond, bytes and number of files alike, at the moment it is written; what is used is told
by one system call. It takes 0.3 MB and 7 ms to make. Nothing but the kernel ever writes to the file, so no run can
forge what is mounted; it has no journal, because it doesn't outlive its run.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox.errors import WorkspaceError
from sandbox.mounts import unmount

if TYPE_CHECKING:
    from pathlib import Path

# A twentieth is root's alone: a run that filled its disk can still be rewound on it.
_MAKE = ("mkfs.ext4", "-q", "-F", "-m", "5", "-O", "^has_journal,^resize_inode", "-i", "16384")
_LAZY = ("-E", "lazy_itable_init=1,nodiscard,root_owner=0:0")
# Without noinit_itable the kernel would fill the tables of files in the background, 1.6 % of the size, with nothing.
_OPTIONS = "loop,nosuid,nodev,noexec,noatime,noinit_itable,errors=remount-ro"
_HINT = "the worker needs root, loop devices and mkfs.ext4 (Debian: e2fsprogs)"


def mount_disk(image: Path, size_mb: int, place: Path) -> None:
    """Make a disk of `size_mb` MiB in the file `image` and mount it on `place`, closed as `bind_closed` does it.

    No set-uid bit, device or program works on it. Raises OSError, WorkspaceError; then neither file nor mount stays.
    """
    try:
        with image.open("wb") as file:
            file.truncate(size_mb << 20)
        image.chmod(0o600)
        _run(*_MAKE, *_LAZY, str(image))
        _run("mount", "-t", "ext4", "-o", _OPTIONS, str(image), str(place))
    except BaseException:
        image.unlink(missing_ok=True)
        raise
    with suppress(FileNotFoundError):
        (place / "lost+found").rmdir()
    place.chmod(0o700)


def unmount_disk(image: Path, place: Path) -> None:
    """Unmount a disk and delete its file. Raises WorkspaceError when a process still uses it."""
    while unmount(place):  # The kernel gives the loop device back by itself.
        pass
    image.unlink(missing_ok=True)


def used_bytes(place: Path) -> int:
    """Return the bytes that are used of the file system at `place`."""
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise WorkspaceError(f"{argv[0]} isn't installed", hint=_HINT) from error
    if done.returncode != 0:
        cause = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise WorkspaceError("a disk for the workspace can't be made", cause=cause, hint=_HINT)
