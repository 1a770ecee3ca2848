"""The system calls of a workspace: bind, slot, overlay, unmount.

Called directly instead of through mount(8), which costs a process each and rewrites relative paths.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

from sandbox.errors import WorkspaceError
from sandbox.git import printable
from sandbox.objects import disk_error

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _NOATIME, _BIND = 1, 2, 4, 8, 32, 1024, 4096
_SHARED = 1 << 20
_CLONE_FS = 0x200
_GET_FLAGS, _SET_FLAGS, _TOP_OF_TREES = 0x80086601, 0x40086602, 0x00020000  # FS_IOC_…, FS_TOPDIR_FL
_NOT_MOUNTED, _BUSY, _DENIED = 22, 16, 1  # EINVAL, EBUSY, EPERM
_SYS_ADMIN = 21
# Ours, whatever the kernel was built with: renamed directories are recorded, copies are whole, nothing else is stored.
# Nobody waits for the disk either (a job's fsync, an unmount): a layer doesn't outlive the machine, checkpoints do.
_OPTIONS = "redirect_dir=on,metacopy=off,index=off,xino=off,volatile"
_USER_OPTIONS = "userxattr,index=off,xino=off,volatile"  # It excludes redirect_dir and metacopy.


def may_mount() -> bool:
    """Whether this process may mount; one that may not leaves it to the engine."""
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> _SYS_ADMIN & 1)


def volume_options(root: Path, *, lower: str, upper: str, work: str) -> str:
    """Return the options by which the engine's local volume driver mounts the overlay that `mount_overlay` would.

    The attributes that it stores are those that can be read without the right to mount; so no directory of a lower
    layer can be renamed. Paths are absolute. Raises WorkspaceError where `root` can't be named in options.
    """
    if set(",:\\ \t\n") & set(str(root)):
        cause = f"{printable(str(root))} has a comma, a colon, a space or a backslash in it"
        raise WorkspaceError("the engine can't mount the workspace", cause=cause, hint="move DREAMDOCK_STATE_DIR")
    below = ":".join(str(root / part) for part in lower.split(":"))
    return f"lowerdir={below},upperdir={root / upper},workdir={root / work},{_USER_OPTIONS},nosuid,nodev"


def bind_closed(path: Path) -> None:
    """Make a directory a mount of its own on which no set-uid bit, device or program works. Raises WorkspaceError."""
    _mount(str(path), str(path), None, _BIND, "")
    try:
        _mount(None, str(path), None, _REMOUNT | _BIND | _NOSUID | _NODEV | _NOEXEC, "")
    except WorkspaceError:
        unmount(path)
        raise


def mount_device(device: Path, place: Path, kind: str, options: str) -> None:
    """Mount a block device, closed as `bind_closed` does it. Raises WorkspaceError."""
    _mount(str(device), str(place), kind, _NOSUID | _NODEV | _NOEXEC | _NOATIME, options)


def mount_overlay(root: Path, *, lower: str, upper: str = "", work: str = "", merged: str) -> None:
    """Mount an overlay whose four directories are named relative to `root`, so that the mount table names nothing else.

    The names are ours: no comma, and a colon only between two lower layers. Without `upper` and `work` there have to be
    two, and nothing can be written. Raises WorkspaceError.
    """
    data = f"lowerdir={lower}" + (f",upperdir={upper},workdir={work},{_OPTIONS}" if upper else ",redirect_dir=follow")
    failed: list[BaseException] = []

    def in_root() -> None:
        # The current directory belongs to the process; a thread of its own can have another one.
        try:
            _unshare()
            os.chdir(root)
            _mount("workspace", merged, "overlay", _NOSUID | _NODEV, data)
        except (OSError, WorkspaceError) as error:
            failed.append(error)

    thread = threading.Thread(target=in_root)
    thread.start()
    thread.join()
    for error in failed:
        raise disk_error(error, "mounting the workspace") if isinstance(error, OSError) else error


def mount_slot(path: Path) -> None:
    """Make a directory a place whose later mounts show in the container that gets it. Raises WorkspaceError.

    It is an empty file system of its own, so that the container's mount table names nothing of the host, and nobody
    can write where the workspace isn't mounted.
    """
    _mount("slot", str(path), "tmpfs", _RDONLY | _NOSUID | _NODEV | _NOEXEC, "size=4k,mode=0755")
    try:
        share(path)
    except WorkspaceError:
        unmount(path)
        raise


def mount_memory(path: Path) -> None:
    """Make a directory a small file system in memory, for files whose place nobody shall see. Raises WorkspaceError."""
    _mount("slot", str(path), "tmpfs", _NOSUID | _NODEV | _NOEXEC, "size=256k,mode=0755")


def spread(path: Path) -> None:
    """Let ext4 put each directory that is made in this one elsewhere on the disk; other file systems do as they please.

    Ext4 looks at every file that was deleted near by in the last minutes before it makes one. Where layers come and go
    in one place, that takes ten times as long as the rest.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            flags = bytearray(8)
            fcntl.ioctl(folder, _GET_FLAGS, flags)
            flags[2] |= _TOP_OF_TREES >> 16
            fcntl.ioctl(folder, _SET_FLAGS, flags)
    finally:
        os.close(folder)


def require_written(path: Path) -> None:
    """Raise OSError where something that was written to the file system at `path` was lost on the way to its disk.

    Takes 10 microseconds for an overlay: a volatile one waits for nothing, and remembers what has failed below it.
    Any other writes what is left to be written first.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc().syncfs(folder) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(folder)


def share(path: Path) -> None:
    """Let what is mounted at or below a mount point later show in the container that got it. Raises WorkspaceError."""
    _mount(None, str(path), None, _SHARED, "")


def unmount(path: Path) -> bool:
    """Unmount; False when nothing was mounted there.

    Raises WorkspaceError when a process still uses it: detached lazily, it would stay for that process to write to.
    """
    if _libc().umount2(os.fsencode(path), 0) == 0:
        return True
    code = ctypes.get_errno()
    if code == _NOT_MOUNTED or not path.exists() or (code == _DENIED and not path.is_mount()):
        return False
    if code == _BUSY:
        raise WorkspaceError(
            f"the workspace is still in use: {printable(str(path))}",
            cause="a process survived that has a file or its working directory there",
            hint=f"find it with: fuser -vm {printable(str(path))}",
        )
    raise disk_error(OSError(code, os.strerror(code)), "unmounting the workspace")


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str) -> None:
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    if _libc().mount(*arguments, ctypes.c_ulong(flags), data.encode()) == 0:
        return
    code = ctypes.get_errno()
    hint = "the worker needs root, and a file system that overlays can be put on (ext4, xfs, btrfs)"
    raise WorkspaceError("the workspace can't be mounted", cause=os.strerror(code), hint=hint)


def _unshare() -> None:
    if _libc().unshare(_CLONE_FS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
