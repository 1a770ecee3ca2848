"""Whether the policy is in force: what PID 1 sees of its own container, compared with what the engine was told.

Engines pass over settings that they don't know, some without a word. So these files of the kernel's are read before
anything else has run in a container: from the host (`sandbox.outside`), or as its first words tell them where that
can't be. They also tell which user of the host the job's is. Pure but for one look at which paths the kernel here has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox.errors import PolicyRefused
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CGROUP = "/sys/fs/cgroup"
STATUS, _MOUNTS, _LIMITS = "/proc/1/status", "/proc/1/mountinfo", "/proc/1/limits"
UIDS, GIDS, _NETWORK = "/proc/1/uid_map", "/proc/1/gid_map", "/proc/net/dev"
SHM_FORCED = "/proc/sys/kernel/shm_rmid_forced"
_MEMORY = (f"{CGROUP}/memory.max", f"{CGROUP}/memory/memory.limit_in_bytes")
_SWAP, _BOTH = f"{CGROUP}/memory.swap.max", f"{CGROUP}/memory/memory.memsw.limit_in_bytes"
_PIDS = (f"{CGROUP}/pids.max", f"{CGROUP}/pids/pids.max")
_CPU = (f"{CGROUP}/cpu.max", f"{CGROUP}/cpu/cpu.cfs_quota_us", f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us")
PROCESS = {
    STATUS: "status",
    _MOUNTS: "mountinfo",
    _LIMITS: "limits",
    UIDS: "uid_map",
    GIDS: "gid_map",
    _NETWORK: "net/dev",
}
"""Those of them that are of PID 1, and their names in its directory in /proc."""
SEEN = (*PROCESS, SHM_FORCED, *_MEMORY, _SWAP, _BOTH, *_PIDS, *_CPU)
"""The files whose text is compared, of cgroup v2 and of v1; those that aren't there are left out."""

_EMPTY = ("tmpfs", "devtmpfs")  # An empty directory, or /dev/null.
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_ULIMITS = {"core": "Max core file size", "nofile": "Max open files", "nproc": "Max processes"}


class _Mount(NamedTuple):
    """What is mounted on a place last: its kind, whether it's read-only, its own options, its size in KiB, if any."""

    kind: str
    read_only: bool
    options: str = ""
    size_kb: int = 0


def require(settings: Mapping[str, Any], seen: Mapping[str, str]) -> None:
    """Raise PolicyRefused for the first rule of `settings` that isn't in force by what was `seen`, text by path."""
    for rule, wanted, found in _differences(settings, seen):
        if wanted != found:
            raise PolicyRefused(
                f"the engine doesn't enforce a rule of the policy: {rule}",
                rule=rule,
                cause=f"it was asked for {wanted or 'none'}, and inside it is {found or 'none'}",
                hint="dreamdock doctor tells which engine it is; docs/operating.md says what each one needs",
            )


def host_id(seen: Mapping[str, str], inside: int) -> int:
    """Return the host's user and group that `inside` is. Raises PolicyRefused where it's none, or two different ones.

    With the engine's userns-remap it's another one; without, it's the same.
    """
    users, groups = (_mapped(seen.get(path, ""), inside) for path in (UIDS, GIDS))
    if users is None or users != groups:
        raise PolicyRefused(
            f"the engine doesn't give the job a user and a group of one number: {users}, {groups}",
            rule="user",
            cause=f"the user namespace has to map {inside} for both, from the same start",
            hint="give the remapped user the same range of 65536 ids in /etc/subuid and /etc/subgid",
        )
    return users


def _differences(settings: Mapping[str, Any], seen: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield each rule's name, what was asked for and what was found."""
    host = settings["HostConfig"]
    status = dict(line.split(":\t", 1) for line in seen.get(STATUS, "").splitlines() if ":\t" in line)
    user, group = settings["User"].split(":")
    yield "user", user, " ".join(sorted(set(status.get("Uid", "").split())))
    yield "group", group, " ".join(sorted({*status.get("Gid", "").split(), *status.get("Groups", "").split()}))
    if host["CapDrop"] == ["ALL"] and not host["CapAdd"]:
        for name in _CAPABILITIES:
            yield "capabilities", f"{name} 0", f"{name} {status.get(name, '?').lstrip('0') or '0'}"
    if "no-new-privileges" in host["SecurityOpt"]:
        yield "no-new-privileges", "1", status.get("NoNewPrivs", "")
    if not any("unconfined" in option for option in host["SecurityOpt"] if option.startswith("seccomp=")):
        yield "seccomp", "filter", {"2": "filter"}.get(status.get("Seccomp", ""), "")
    if host["NetworkMode"] == "none":
        yield "network", "lo", " ".join(re.findall(r"^\s*(\S+):", seen.get(_NETWORK, ""), re.MULTILINE))
    if host["Sysctls"].get("kernel.shm_rmid_forced"):
        yield "sysctl", "1", seen.get(SHM_FORCED, "").strip()
    yield from _limits(host, seen)
    yield from _mounted(host, dict(_mounts(seen.get(_MOUNTS, ""))))


def _limits(host: Mapping[str, Any], seen: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if memory := host["Memory"]:
        yield "memory", str(memory), _first(seen, *_MEMORY)
        swap = {"0": "0", str(host["MemorySwap"]): "0"}  # v1 counts both together.
        yield "swap", "0", swap.get(_first(seen, _SWAP, _BOTH), "more")
    if host["PidsLimit"]:
        yield "pids", str(host["PidsLimit"]), _first(seen, *_PIDS)
    if host["CpuQuota"]:
        yield "cpu", str(host["CpuQuota"]), _first(seen, *_CPU)
    for limit in host["Ulimits"]:
        line = re.search(rf"^{_ULIMITS[limit['Name']]} +(\S+) +(\S+)", seen.get(_LIMITS, ""), re.MULTILINE)
        yield f"ulimit {limit['Name']}", f"{limit['Soft']} {limit['Hard']}", " ".join(line.groups()) if line else ""


def _mounted(host: Mapping[str, Any], mounts: Mapping[str, _Mount]) -> Iterator[tuple[str, str, str]]:
    nothing = _Mount("", read_only=False)
    if host["ReadonlyRootfs"]:
        yield "root file system", "read-only", "read-only" if mounts.get("/", nothing).read_only else "writable"
    for volume in (mount["VolumeOptions"] for mount in host["Mounts"] if mount["Type"] == "volume"):
        found = mounts.get(WORKSPACE, nothing).options
        wanted = [part for part in volume["DriverConfig"]["Options"]["o"].split(",") if "dir=" in part]
        yield "workspace", ",".join(wanted), ",".join(part for part in found.split(",") if part in wanted)
    for path, options in host["Tmpfs"].items():
        size = re.search(r"size=(\d+)m", options)
        place = mounts.get(path, nothing)
        yield "tmpfs", f"{path} on tmpfs", f"{path} on {place.kind or 'the image'}"
        if size:
            yield "tmpfs", f"{path} of {int(size[1]) * 1024} KiB", f"{path} of {place.size_kb} KiB"
    shm = mounts.get("/dev/shm", nothing)  # noqa: S108  # A path inside.
    yield "shared memory", f"{host['ShmSize'] // 1024} KiB", f"{shm.size_kb} KiB"
    for path in host["MaskedPaths"]:
        above = next((part for part in (Path(path), *Path(path).parents) if str(part) in mounts), Path("/"))
        if mounts.get(str(above), nothing).kind not in _EMPTY and Path(path).exists():
            yield "masked paths", f"{path} covered", f"{path} open"


def _mounts(text: str) -> Iterator[tuple[str, _Mount]]:
    for line in text.splitlines():
        fields = line.split(" ")  # What is mounted may have no name.
        middle = fields.index("-")
        size = re.search(r"(?:^|,)size=(\d+)k", fields[middle + 3])
        read_only = "ro" in fields[5].split(",")
        yield fields[4], _Mount(fields[middle + 1], read_only, fields[middle + 3], int(size[1]) if size else 0)


def _first(seen: Mapping[str, str], *paths: str) -> str:
    """Return the first word of the first of these files that was there."""
    return next((seen[path].split(maxsplit=1)[0] for path in paths if seen.get(path, "").strip()), "")


def _mapped(text: str, inside: int) -> int | None:
    for line in text.splitlines():
        first, outside, count = (int(word) for word in line.split())
        if first <= inside < first + count:
            return outside + inside - first
    return None
