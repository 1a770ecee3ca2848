"""Where this host's kernel keeps the cgroups of a container: by what it says of PID 1, and where they're mounted here.

Nothing of the container's own root is looked at. A worker elsewhere (in a pid namespace, without the host's cgroups)
finds nothing.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

UNIFIED = ""
"""The name of cgroup v2's one hierarchy, beside those of v1's controllers; where both are used, both are found."""


def folders(pid: int, container_id: str) -> dict[str, Path]:
    """Return the directories of a container's cgroups by controller.

    `pid` is PID 1 of the container as the engine numbers it: elsewhere that may be another process. So only a cgroup
    that is named after the container counts.
    """
    try:
        memberships = Path(f"/proc/{pid}/cgroup").read_text("utf-8").splitlines()
        mounts = _mounts(Path("/proc/self/mountinfo").read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return {}
    found = {}
    for line in memberships if container_id else ():
        _, controllers, path = line.split(":", 2)
        own = _named(PurePosixPath(path), container_id)
        for controller in controllers.split(","):
            for root, place in mounts.get(controller, ()):
                if own is not None and own.is_relative_to(root) and (place / own.relative_to(root)).is_dir():
                    found[controller] = place / own.relative_to(root)
    return found


def _named(path: PurePosixPath, container_id: str) -> PurePosixPath | None:
    """Return the part of a path that ends with the container's name: the engine may have put PID 1 further below."""
    return next((part for part in (*reversed(path.parents), path) if container_id in part.name), None)


def _mounts(text: str) -> dict[str, list[tuple[PurePosixPath, Path]]]:
    """Return which part of each hierarchy is mounted where."""
    found: dict[str, list[tuple[PurePosixPath, Path]]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        kind, _, options = after.split(" ", 2)  # What is mounted may have no name.
        names = {"cgroup": options.split(","), "cgroup2": [UNIFIED]}.get(kind, [])
        for name in names:
            found.setdefault(name, []).append((PurePosixPath(root), Path(place)))
    return found
