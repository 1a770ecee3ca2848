"""A direct line to a sandbox's runner: a socket taken out of PID 1, past the processes of the engine.

The runner makes a socket pair and says where. Only a process that may trace PID 1 can take its end: root on this host,
which a worker is; nobody inside. Where it can't be had, commands go over the engine's attached stream as before.
What comes over either was written inside, and is read as such.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
from typing import Any

_PIDFD_GETFD = 438
"""The system call's number, on every architecture; Linux 5.6 and later."""


def taken(pid: int, hello: dict[str, Any]) -> socket.socket | None:
    """Return our end of the line that a runner offers in its first words; None where it can't be had.

    `pid` is PID 1 of the container as the engine numbers it: elsewhere that may be another process, hence the inode.
    """
    number, inode = hello.get("line"), hello.get("inode")
    if pid <= 0 or not isinstance(number, int) or not isinstance(inode, int):
        return None
    try:
        found = _descriptor(pid, number)
        status = os.fstat(found)
    except OSError:
        return None
    if stat.S_ISSOCK(status.st_mode) and status.st_ino == inode:
        line = socket.socket(fileno=found)
        if line.family == socket.AF_UNIX and line.type == socket.SOCK_STREAM:
            return line
        line.close()
    else:
        os.close(found)
    return None


def _descriptor(pid: int, number: int) -> int:
    process = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        found: int = libc.syscall(_PIDFD_GETFD, process, ctypes.c_int(number), 0)
        if found < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        os.set_inheritable(found, False)
        return found
    finally:
        os.close(process)
