"""Mounts a file as a disk, through a loop device that goes back by itself when the disk is unmounted.

Called directly instead of through mount(8), which costs a process and looks for the device's node in a /dev that a
container may not have.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from sandbox.errors import WorkspaceError
from sandbox.mounts import mount_device

CONTROL: Final = Path("/dev/loop-control")
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A  # LOOP_CTL_GET_FREE, LOOP_CONFIGURE (Linux 5.8)
_AUTOCLEAR = 4  # Once nothing has it open or mounted, the device is free again.
# struct loop_config: descriptor, block size, struct loop_info64 (flags at its 13th word), 64 reserved bytes.
_CONFIG = struct.Struct("=II 52x I 176x 64x")
_MAJOR = 7
_TRIES = 64
HINT: Final = "the worker needs root, loop devices (modprobe loop) and mkfs.ext4 (Debian: e2fsprogs)"


def mount_image(file: int, place: Path, *, options: str) -> None:
    """Mount the ext4 file system in an open file on `place`; no set-uid bit, device or program works on it.

    Raises WorkspaceError; then the file isn't in use.
    """
    number, descriptor = _taken(file)
    try:
        mount_device(_node(number), place, "ext4", options)
    finally:
        os.close(descriptor)


def _taken(file: int) -> tuple[int, int]:
    """Return the number of a free loop device that was given the file, and a descriptor that holds it."""
    try:
        control = os.open(CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise WorkspaceError("there are no loop devices", cause=f"{CONTROL}: {error.strerror}", hint=HINT) from error
    try:
        for _ in range(_TRIES):
            number = fcntl.ioctl(control, _GET_FREE)
            device = os.open(_node(number), os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(file, 0, _AUTOCLEAR))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # Else somebody was faster.
                    raise
            else:
                return number, device
    except OSError as error:
        cause = f"{error.filename or 'LOOP_CONFIGURE'}: {error.strerror}"
        raise WorkspaceError("no loop device can be had", cause=cause, hint=HINT) from error
    finally:
        os.close(control)
    raise WorkspaceError("no loop device can be had", cause="others take each one first", hint=HINT)


def _node(number: int) -> Path:
    """Return the device's node; made where /dev isn't the kernel's own and doesn't show it."""
    path = Path(f"/dev/loop{number}")
    if not path.exists():
        with suppress(FileExistsError):
            os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))
    return path
