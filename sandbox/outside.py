"""What this host's kernel says of PID 1 of a container: the files that are seen inside, past the image's programs.

Read below one open directory of /proc, so that all is of one process; the limits from the host's own cgroup mounts.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sandbox import sealed
from sandbox.cgroup import UNIFIED, folders

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROLLERS = {"": UNIFIED, "memory": "memory", "pids": "pids", "cpu": "cpu", "cpu,cpuacct": "cpu"}
_IDS = {"Uid": sealed.UIDS, "Gid": sealed.GIDS, "Groups": sealed.GIDS}


def seen(pid: int, container_id: str, inside: Mapping[str, str]) -> dict[str, str]:
    """Return the text of `sealed.SEEN` by path: as it's seen from here, and what isn't as `inside` tells it.

    That is everything where this process doesn't see the container's, or may not look at it. What belongs to the
    container's namespace of IPC can't be seen from outside at all.
    """
    limits = _limits(pid, container_id)
    process = _process(pid, container_id)
    told = {
        path: text
        for path, text in inside.items()
        if not (limits if path.startswith(sealed.CGROUP) else process and path in sealed.PROCESS)
    }
    return told | limits | process


def _process(pid: int, container_id: str) -> dict[str, str]:
    """Return what the kernel shows of the process; nothing where it isn't the container's, or hides some of it."""
    try:
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if container_id not in _text(folder, "cgroup"):
                return {}
            found = {path: _text(folder, name) for path, name in sealed.PROCESS.items()}
        finally:
            os.close(folder)
    except OSError:
        return {}
    return found | {sealed.STATUS: _as_inside(found)}


def _limits(pid: int, container_id: str) -> dict[str, str]:
    places = folders(pid, container_id)
    found = {}
    for path in sealed.SEEN:
        if path.startswith(sealed.CGROUP):
            below = PurePosixPath(path).relative_to(sealed.CGROUP)
            place = places.get(_CONTROLLERS["" if len(below.parts) == 1 else below.parts[0]])
            if place is not None and (file := place / below.name).is_file():
                found[path] = file.read_text("utf-8")
    return found


def _as_inside(found: Mapping[str, str]) -> str:
    """Return a process's status with the ids of its own user namespace in place of ours."""
    lines = []
    for line in found[sealed.STATUS].splitlines():
        name, colon, value = line.partition(":\t")
        if name in _IDS:
            value = "\t".join(_inside(int(word), found[_IDS[name]]) for word in value.split())
        lines.append(name + colon + value)
    return "\n".join(lines) + "\n"


def _inside(number: int, ids: str) -> str:
    for line in ids.splitlines():
        first, outside, count = (int(word) for word in line.split())
        if outside <= number < outside + count:
            return str(first + number - outside)
    return f"{number} outside"


def _text(folder: int, name: str) -> str:
    with os.fdopen(
        os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder), encoding="utf-8", errors="replace"
    ) as file:
        return file.read()
