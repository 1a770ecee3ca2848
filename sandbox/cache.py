"""Directories that are made once, shared by whoever needs them, and given up least recently used first.

<root>/<name>/        an entry: whole, never changed again; `bytes` in it is what it takes on disk
<root>/<name>.lock    held shared by who uses the entry, alone by who removes it; its time is the last use
<root>/<name>.making  held by who makes it
<root>/<name>.part    one being made, or what a killed maker left
<root>/<name>.gone    one being removed, or what a killed remover left
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from sandbox.errors import DiskFull, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIZE = "bytes"
_PART, _GONE = ".part", ".gone"


@dataclass(frozen=True)
class Held:
    """An entry in use, which nobody evicts until it is released or the process ends."""

    path: Path
    lock: IO[str]

    def release(self) -> None:
        """Let go of the entry; its last use is now."""
        if not self.lock.closed:
            os.utime(self.lock.fileno())
            self.lock.close()


def hold(root: Path, name: str, make: Callable[[Path], None]) -> Held:
    """Return an entry below `root`, in use by the caller; `make` fills an empty directory if it isn't there.

    Several may ask at once: one makes it, the others wait. Raises OSError, WorkspaceError, and what `make` raises.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = root / name
    lock = _shared(place)
    try:
        if not place.is_dir():
            with locked(root / f"{name}.making"):
                if not place.is_dir():
                    _make(place, make)
    except BaseException:
        lock.close()
        raise
    return Held(place, lock)


def hold_too(place: Path) -> Held:
    """Return an entry that somebody else has in use now, in use by the caller too. Raises OSError, WorkspaceError."""
    lock = _shared(place)
    if not place.is_dir():
        lock.close()
        raise WorkspaceError(f"it's gone from the cache: {place}")
    return Held(place, lock)


def evict(
    root: Path, quota_bytes: int, *, in_use: Callable[[str], bool] | None = None, dry_run: bool = False
) -> dict[str, int]:
    """Remove entries, the least recently used first, until what stays takes `quota_bytes` at most.

    Returns their names, and the bytes of each; `dry_run` only tells.

    One that is held, or that `in_use` knows of (the default: a mounted overlay has it below), stays and counts.
    What killed makers and removers left goes too. Raises OSError, WorkspaceError.
    """
    if not root.is_dir():
        return {}
    with locked(root.with_name(f"{root.name}.lock")):
        if not dry_run:
            _clear(root)
        places = [item for item in root.iterdir() if not item.suffix and item.is_dir()]
        sizes = {place: size_of(place) for place in places}
        total = sum(sizes.values())
        evicted: dict[str, int] = {}
        for place in sorted(places, key=_last_use):
            if total <= quota_bytes:
                break
            if _evicted(place, in_use or is_mounted, dry_run=dry_run):
                total -= sizes[place]
                evicted[place.name] = sizes[place]
        return evicted


def is_mounted(name: str) -> bool:
    """Whether a mounted overlay has an entry below it: a killed worker's lock is gone, its mount may not be yet."""
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        lower = line.partition("lowerdir=")[2].partition(",")[0]
        if name in re.split(r"[:/]", lower):
            return True
    return False


def size_of(place: Path) -> int:
    """Return the bytes that an entry takes on disk: measured once, it never changes."""
    try:
        return int((place / _SIZE).read_text())
    except (FileNotFoundError, ValueError):  # Made before sizes were kept, or written on a full disk.
        size = disk_bytes(place)
        (place / _SIZE).write_text(str(size))
        return size


def disk_bytes(path: Path) -> int:
    """Return the bytes of disk that a directory takes, whatever it holds; a mount below counts nothing.

    Raises WorkspaceError.
    """
    done = subprocess.run(["du", "-sxB1", "--", path], capture_output=True, check=False)
    if not done.stdout:
        cause = done.stderr.decode(errors="replace").strip()[:300]
        raise WorkspaceError(f"can't measure {path}", cause=cause)
    return int(done.stdout.split(b"\t", 1)[0])  # Also where an entry vanished meanwhile, which du minds.


def remove_tree(path: Path) -> None:
    """Delete a directory that may hold anything, never crossing into a mount. Raises WorkspaceError."""
    # Python's own walk recurses, and a run can nest directories deeper than that goes.
    done = subprocess.run(["rm", "-rf", "--one-file-system", "--", path], capture_output=True, check=False)
    if done.returncode != 0:
        raise WorkspaceError(f"can't remove {path}", cause=done.stderr.decode(errors="replace").strip()[:300])


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory that may hold anything, with owners, modes, times, holes and attributes; no link is followed.

    Raises WorkspaceError, DiskFull.
    """
    argv = ["cp", "-a", "--no-target-directory", "--", str(source), str(target)]
    done = subprocess.run(argv, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
    if done.returncode != 0:
        cause = done.stderr.decode(errors="backslashreplace").strip()[:300]
        if "No space left" in cause:
            hint = "free some space, then try again"
            raise DiskFull(f"the disk is full: copying to {target}", cause=cause, hint=hint)
        raise WorkspaceError(f"can't copy {source}", cause=cause)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, by the name of a file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(place: Path, make: Callable[[Path], None]) -> None:
    part = place.with_name(place.name + _PART)
    remove_tree(part)
    try:
        part.mkdir(mode=0o700)
        make(part)
        (part / _SIZE).write_text(str(disk_bytes(part)))
        part.rename(place)
    except BaseException:
        remove_tree(part)
        raise


def _evicted(place: Path, in_use: Callable[[str], bool], *, dry_run: bool) -> bool:
    with _alone(place) as alone:
        if not alone or in_use(place.name):
            return False
        if dry_run:
            return True
        gone = place.with_name(place.name + _GONE)
        remove_tree(gone)
        place.rename(gone)  # In one go: killed from here on, what is left is no entry.
        remove_tree(gone)
        place.with_name(f"{place.name}.making").unlink(missing_ok=True)
        place.with_name(f"{place.name}.lock").unlink()
        return True


def _clear(root: Path) -> None:
    for left in [item for item in root.iterdir() if item.suffix in (_PART, _GONE)]:
        with _alone(left.with_suffix("")) as alone:
            if alone:
                remove_tree(left)


def _shared(place: Path) -> IO[str]:
    while True:
        lock = place.with_name(f"{place.name}.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_SH)
        if _is_current(lock):
            os.utime(lock.fileno())
            return lock
        lock.close()


@contextmanager
def _alone(place: Path) -> Iterator[bool]:
    """Hold an entry's lock alone; whether that could be had at once."""
    with place.with_name(f"{place.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = _is_current(lock)
        except BlockingIOError:
            alone = False
        yield alone


def _is_current(lock: IO[str]) -> bool:
    """Whether the lock's file is still the one that others open; an eviction removes it."""
    return os.fstat(lock.fileno()).st_nlink > 0


def _last_use(place: Path) -> int:
    return place.with_name(f"{place.name}.lock").stat().st_mtime_ns
