"""The policy: what the engine is told about a sandbox, and what people are told about it. Pure; no I/O.

`container_settings` is the complete body of the engine's "create container" request. What isn't named here is the
engine's default, and nothing else in the project adds to it, but that in an image without Python the entry point is a
shell that waits (`sandbox.exec_shell`). `describe` says the same in words.
For Podman, `sandbox.podman` says the same in its words; `sandbox.sealed` sees inside whether it came about.
Docker 20.10 and later, Podman 4.3 and later (through its Docker-compatible socket); cgroup v1 and v2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.sealed import SEEN
from sandbox.spec import HOME, JOB_UID, WORKSPACE, SetupSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sandbox.spec import Limits, SandboxSpec

LABEL, SANDBOX = "dreamdock", "sandbox"
"""Every container that DreamDock makes carries this label; a sandbox's with this value."""

RUN_LABEL = "dreamdock.run"
"""The label that says which run a sandbox belongs to."""

PLACE_LABEL = "dreamdock.workspace"
"""The label that says where the workspace of a container lies, where the engine mounts it and can't tell."""

HOSTNAME = "sandbox"

_NONE = "none: no interface but an own loopback; only local, IP and netlink sockets can be made at all"
_BRIDGED = "on, the engine's bridge: all that this host reaches; only while set-up runs, before any model or agent"

BOOT = """
import marshal, os, sys
ours, theirs = os.pipe()
child = os.fork()
if not child:
    with open(theirs, "wb") as file:
        marshal.dump(compile(sys.argv[1], "runner", "exec", dont_inherit=True), file)
    os._exit(0)
os.close(theirs)
del sys.argv[1]
with open(ours, "rb") as file:
    code = marshal.load(file)
os.waitpid(child, 0)
exec(code)
"""
"""Runs its first argument. It's compiled in a child, which takes the 3 MB along that a compiler needs."""

INTERPRETER = ("python3", "-I", "-S", "-c", BOOT)
"""How PID 1 starts: Python, apart from the environment and from installed packages."""

RUN_MB = 16
SHM_MB = 64
"""Sizes of /run and /dev/shm in MiB, at most."""

TMPFS_SHARE, SHM_SHARE, RUN_SHARE = 4, 8, 16
"""Which part of the memory limit these may fill at most: files in memory outlive a process that memory ran out for."""

ENVIRONMENT = {
    "HOME": HOME,
    "USER": HOSTNAME,
    "LOGNAME": HOSTNAME,
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""All that is set beside what the image sets: no secret, nothing of the host's environment."""

SETUP_TMP = f"{WORKSPACE}/.dreamdock/tmp"
SETUP_CA = f"{WORKSPACE}/.dreamdock/ca.pem"
"""Where a set-up container has its temporary files, on disk, and the operator's certificates: gone after it."""

SETUP_ENVIRONMENT = {
    "TMPDIR": SETUP_TMP,  # Packages are unpacked there; memory would be too small.
    "PIP_NO_CACHE_DIR": "1",  # Else each package lies in the layer twice.
    "PIP_BREAK_SYSTEM_PACKAGES": "1",  # The system's packages are read-only; this lets `pip install --user` go on.
}
"""All that set-up has beside ENVIRONMENT, before what the operator names."""

CA_VARIABLES = (
    *("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"),
    "NODE_EXTRA_CA_CERTS",
)
"""How tools are told of the operator's certificates."""

MASKED_PATHS = (
    # What the engines mask by default.
    *(
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/scsi",
    ),
    *("/proc/sched_debug", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
    # What tells of the host: its disks, modules, boot parameters, devices, kernel addresses, locks, identity.
    *("/proc/buddyinfo", "/proc/bus", "/proc/cmdline", "/proc/config.gz", "/proc/consoles", "/proc/devices"),
    *("/proc/diskstats", "/proc/dma", "/proc/driver", "/proc/fs", "/proc/iomem", "/proc/ioports", "/proc/irq"),
    *("/proc/kallsyms", "/proc/key-users", "/proc/kmsg", "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags"),
    *(
        "/proc/locks",
        "/proc/mdstat",
        "/proc/misc",
        "/proc/modules",
        "/proc/mtrr",
        "/proc/pagetypeinfo",
        "/proc/partitions",
    ),
    *("/proc/pressure", "/proc/slabinfo", "/proc/softirqs", "/proc/swaps", "/proc/sys/kernel/random/boot_id"),
    *("/proc/sysrq-trigger", "/proc/tty", "/proc/vmallocinfo", "/proc/zoneinfo"),
    *("/sys/block", "/sys/bus", "/sys/class", "/sys/dev", "/sys/devices/LNXSYSTM:00", "/sys/devices/pci0000:00"),
    *(
        "/sys/devices/platform",
        "/sys/devices/pnp0",
        "/sys/devices/virtual",
        "/sys/hypervisor",
        "/sys/kernel/boot_params",
    ),
    *("/sys/kernel/btf", "/sys/kernel/debug", "/sys/kernel/iommu_groups", "/sys/kernel/notes", "/sys/kernel/security"),
    *(
        f"/sys/fs/{kind}"
        for kind in ("bcachefs", "bpf", "btrfs", "erofs", "ext4", "f2fs", "fuse", "nfs", "pstore", "xfs")
    ),
    *("/sys/kernel/slab", "/sys/kernel/tracing", "/sys/kernel/vmcoreinfo", "/sys/module", "/sys/power"),
)
"""Covered by an empty file or directory. A path that the kernel doesn't have is passed over."""

READONLY_PATHS = ("/proc/sys", "/proc/sysvipc")
"""Read-only beside all of /sys; the rest of /proc belongs to root, which nobody inside is."""


def container_settings(
    spec: SandboxSpec,
    *,
    workspace: Path,
    runner_source: str,
    seccomp: str,
    volumes: Sequence[str] = (),
    overlay: str = "",
) -> dict[str, Any]:
    """Return the body of the engine's "create container" request.

    `workspace` is the host's directory that appears at /workspace, `runner_source` the text of the runner (it goes
    into the command line, never into a mount), `seccomp` the text of the profile. `volumes` are the paths that the
    image declares as volumes: the engine would put writable directories of the host's disk there; memory covers them.
    With `overlay`, the options of such a mount, the engine mounts it itself, and takes it away with the container.
    """
    limits = spec.limits
    memory = limits.memory_mb * 1024 * 1024
    tmp_mb, shm_mb, run_mb = temporary_mb(limits)
    tmpfs = {
        "/tmp": _tmpfs(tmp_mb, "mode=1777"),  # noqa: S108  # A path inside the sandbox.
        "/run": _tmpfs(run_mb, f"mode=0700,uid={JOB_UID},gid={JOB_UID}"),
    }
    tmpfs |= {path: _tmpfs(run_mb, "mode=1777") for path in volumes if path not in {*tmpfs, WORKSPACE}}
    return {
        "Image": spec.image,
        "Entrypoint": [*INTERPRETER, runner_source, str(limits.pids), *SEEN],
        "Cmd": [],
        "User": f"{JOB_UID}:{JOB_UID}",
        "WorkingDir": "/",
        "Env": [f"{name}={value}" for name, value in environment(spec).items()],
        "Hostname": HOSTNAME,
        "Labels": {**spec.labels, LABEL: SANDBOX} | ({PLACE_LABEL: str(workspace)} if overlay else {}),
        "Healthcheck": {"Test": ["NONE"]},  # An image's own would be run by the engine, outside our channel.
        # The channel is the container's own streams. When the worker's end closes, the runner leaves.
        "Tty": False,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            **_network(spec),
            "Privileged": False,
            "CapDrop": ["ALL"],
            "CapAdd": [],
            "GroupAdd": [],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp}"],
            "MaskedPaths": list(MASKED_PATHS),
            "ReadonlyPaths": list(READONLY_PATHS),
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "PidMode": "",
            "UTSMode": "",
            "ReadonlyRootfs": True,
            "Mounts": [_overlay(overlay) if overlay else _bind(workspace)],
            "Tmpfs": tmpfs,
            "ShmSize": shm_mb * 1024 * 1024,
            "Devices": [],
            "Sysctls": {"kernel.shm_rmid_forced": "1"},  # Shared memory ends with its last process, as all memory does.
            "Memory": memory,
            "MemorySwap": memory,  # Memory and swap together: none.
            "CpuPeriod": 100_000,
            "CpuQuota": round(limits.cpus * 100_000),
            "PidsLimit": limits.pids,
            "Ulimits": [
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "nofile", "Soft": limits.files, "Hard": limits.files},
                {
                    "Name": "nproc",
                    "Soft": 20000,
                    "Hard": 20000,
                },  # Counted per uid over all sandboxes; pids is the limit.
            ],
            "Init": False,  # `kill -9 -1` would end the engine's init, and the container with it.
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},  # A log driver would also store what goes over the channel.
        },
    }


def environment(spec: SandboxSpec) -> dict[str, str]:
    """Return all that is set beside what the image sets."""
    if not isinstance(spec, SetupSpec):
        return ENVIRONMENT
    certificates = dict.fromkeys(CA_VARIABLES, SETUP_CA) if spec.ca_bundle else {}
    return ENVIRONMENT | SETUP_ENVIRONMENT | certificates | spec.environment


def temporary_mb(limits: Limits) -> tuple[int, int, int]:
    """Return the sizes of /tmp, /dev/shm and /run in MiB."""
    sizes = ((limits.tmpfs_mb, TMPFS_SHARE), (SHM_MB, SHM_SHARE), (RUN_MB, RUN_SHARE))
    tmp, shm, run = (min(size, limits.memory_mb // share) for size, share in sizes)
    return tmp, shm, run


def describe(spec: SandboxSpec, *, own_disk: bool = True) -> dict[str, str]:
    """Return the policy in words, rule by rule, in the order in which a reader asks.

    `own_disk` is whether the worker may mount the workspace's own disk.
    """
    disk = f"{spec.limits.workspace_mb} MiB, for what it changes"
    limits = spec.limits
    tmp_mb, shm_mb, run_mb = temporary_mb(limits)
    return {
        "image": spec.image,
        "network": _BRIDGED if _is_bridged(spec) else _NONE,
        "user": f"{JOB_UID}:{JOB_UID}, which no account has",
        "capabilities": "none, and none can be gained (no-new-privileges)",
        "system calls": "an own list of what is allowed, 64-bit only: no namespaces, mounts, io_uring, tracing, keys",
        "root file system": "the image, read-only",
        "host files": f"the workspace at {WORKSPACE}, nothing else",
        "environment": "what the image sets, and " + ", ".join(environment(spec)),
        "host name": HOSTNAME,
        "proc and sys": f"{len(MASKED_PATHS)} paths that tell of the host are covered",
        "memory": f"{limits.memory_mb} MiB, no swap",
        "cpu": f"{limits.cpus:g} cores",
        "processes": f"{limits.pids}",
        "open files": f"{limits.files} per process",
        "temporary files": f"in memory: /tmp {tmp_mb} MiB, /dev/shm {shm_mb} MiB, /run {run_mb} MiB",
        "workspace": f"a disk of its own of {disk}" if own_disk else f"{disk}; more ends the run at the step's end",
        "checkpoints": f"{limits.checkpoints_mb} MiB in all, before compression; the run ends where it changes more",
        "time of a command": f"{limits.command_seconds:g} s unless the caller says otherwise",
        "output of a command": f"{limits.output_kb} KiB kept, head and tail",
        "logs of the engine": "none",
    }


def _bind(workspace: Path) -> dict[str, Any]:
    """Return a mount of what is, or will be, mounted on the host."""
    options = {"Propagation": "rslave"}
    return {"Type": "bind", "Source": str(workspace), "Target": WORKSPACE, "ReadOnly": False, "BindOptions": options}


def _overlay(options: str) -> dict[str, Any]:
    """Return a volume without a name: it's made and removed with its container."""
    driver = {"Name": "local", "Options": {"type": "overlay", "device": "overlay", "o": options}}
    volume = {"NoCopy": True, "DriverConfig": driver}
    return {"Type": "volume", "Source": "", "Target": WORKSPACE, "ReadOnly": False, "VolumeOptions": volume}


def _is_bridged(spec: SandboxSpec) -> bool:
    return isinstance(spec, SetupSpec) and spec.network


def _network(spec: SandboxSpec) -> dict[str, Any]:
    if _is_bridged(spec):
        return {"NetworkMode": "bridge", "Dns": [], "DnsSearch": [], "DnsOptions": []}
    # The engine would copy the host's servers and domains into resolv.conf.
    return {"NetworkMode": "none", "Dns": ["127.0.0.1"], "DnsSearch": ["."], "DnsOptions": ["ndots:1"]}


def _tmpfs(size_mb: int, options: str) -> str:
    return f"rw,exec,nosuid,nodev,size={size_mb}m,{options}"
