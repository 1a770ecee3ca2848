"""The policy in Podman's words: what its Docker-compatible door reads otherwise, or passes over. Pure.

Of a create request Podman 4.3 ignores the masked paths and the name servers of a container without a network; it
copies the host's /etc/hosts, mounts a writable /var/tmp, refuses owners of temporary file systems (so /run is root's,
and can't be written), and takes the seccomp profile as a file's name. `sandbox.sealed` sees inside what came of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sandbox.policy import HOSTNAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECCOMP = "seccomp="
_OWNER = re.compile(r",[ug]id=\d+")
_TOLD = {"/etc/hosts": f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost\n"}
_UNCONNECTED = {"/etc/resolv.conf": "nameserver 127.0.0.1\nsearch .\noptions ndots:1\n"}


def translated(settings: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body of the create request, and the files that it names: text by name, to lie in `folder`."""
    host = dict(settings["HostConfig"])
    files: dict[str, str] = {}
    options = []
    for option in host["SecurityOpt"]:
        if option.startswith(_SECCOMP) and option != f"{_SECCOMP}unconfined":
            files["seccomp.json"] = option.removeprefix(_SECCOMP)
            options.append(f"{_SECCOMP}{folder / 'seccomp.json'}")
        else:
            options.append(option)
    if host["MaskedPaths"]:
        options.append("mask=" + ":".join(dict.fromkeys(map(_nameable, host["MaskedPaths"]))))
    host["SecurityOpt"] = options
    tmpfs = {path: _OWNER.sub("", told) + ",notmpcopyup" for path, told in host["Tmpfs"].items()}
    if host["ReadonlyRootfs"]:
        tmpfs.setdefault("/var/tmp", "ro,nosuid,nodev,noexec,size=4k")  # noqa: S108  # A path inside.
    host["Tmpfs"] = tmpfs
    told = _TOLD | (_UNCONNECTED if host["NetworkMode"] == "none" else {})
    files |= {place.rpartition("/")[2]: text for place, text in told.items()}
    host["Mounts"] = [*host["Mounts"], *(_file(folder / place.rpartition("/")[2], place) for place in told)]
    return {**settings, "HostConfig": host}, files


def _nameable(path: str) -> str:
    """Return what is masked for a path: a colon can't be said, so its directory is where it has one."""
    while ":" in path:
        path = path.rpartition("/")[0]
    return path


def _file(source: Path, place: str) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": place, "ReadOnly": True}
