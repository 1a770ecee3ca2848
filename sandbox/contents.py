"""Reads one file of a directory that a run can write to: never a link, never anything but a regular file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat


def contents(folder: int, name: bytes, size: int, limit: int) -> tuple[bytes, bool]:
    """Return what a file holds, and whether nobody can change it without a new time.

    `folder` is an open directory, `size` the bytes to expect, `limit` the most that are read. Raises OSError.
    """
    # The name may have become a link or a FIFO since it was looked at: neither is followed, neither blocks.
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            raise OSError(errno.EIO, "changed while it was read", os.fsdecode(name))
        parts = []
        left = limit
        while left and (part := os.read(file, min(left, max(size + 1, 4096)))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts), _is_at_rest(file)
    finally:
        os.close(file)


def _is_at_rest(file: int) -> bool:
    """Whether no process has the file open for writing, nor a part of it in its memory.

    Through memory that it shares with a file a process can write without the file's times ever changing again.
    The kernel grants a read lease exactly when there is no such process.
    """
    try:
        # Told of a writer that comes meanwhile with a signal that does nothing; the default one ends the process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:  # EAGAIN: there is one. Anything else: this file system can't tell.
        return False
    return True


def head(folder: int, name: bytes, limit: int) -> bytes:
    """Return the first bytes of a file, at most `limit`; nothing of what isn't a regular file, or isn't there."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(file, limit) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(file)
