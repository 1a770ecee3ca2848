"""Whether the engine's limits really reach a container, and what an image has: asked from inside one."""

from __future__ import annotations

from typing import Any

from sandbox import engine
from sandbox.errors import EngineUnavailable, ImageMissing

_MEMORY_BYTES = 64 << 20
_PIDS = 33
_NANO_CPUS = 500_000_000
_ROOT = "/sys/fs/cgroup"
_SCRIPT = f"""
first() {{ for file; do [ -r "$file" ] && exec cat "$file"; done; echo none; }}
(first {_ROOT}/memory.max {_ROOT}/memory/memory.limit_in_bytes)
(first {_ROOT}/pids.max {_ROOT}/pids/pids.max)
(first {_ROOT}/cpu.max {_ROOT}/cpu/cpu.cfs_quota_us {_ROOT}/cpu,cpuacct/cpu.cfs_quota_us)
"""

_RUNNER = """
python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null || echo "no python3 (3.8 or later)"
command -v bash >/dev/null || echo "no bash"
"""


def lacking_runner(image: str) -> str:
    """Start a small container, and return which of what the resident runner needs an image doesn't have.

    Takes about half a second. Raises EngineUnavailable.
    """
    import docker  # noqa: PLC0415  # As in `lacking_limits`.

    sealed: dict[str, Any] = {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "user": "65534:65534"}
    sealed |= {"entrypoint": ["/bin/sh", "-c"], "labels": {"dreamdock": "probe"}, "mem_limit": _MEMORY_BYTES}
    try:
        output = engine.printed(image, [_RUNNER], **sealed)
    except docker.errors.APIError as error:
        return f"it can't be started: {error.explanation}"
    except docker.errors.DockerException as error:
        raise EngineUnavailable("a container can't be started", cause=str(error), hint="docker info") from error
    return ", ".join(output.decode(errors="replace").split("\n")[:-1])


def lacking_limits(image: str) -> tuple[str, ...]:
    """Start a small container with limits, and return which of memory, pids and cpu its cgroup doesn't have.

    Takes about half a second. Raises EngineUnavailable, ImageMissing.
    """
    import docker  # noqa: PLC0415  # 70 ms that only doctor pays.

    try:
        output = engine.printed(
            image,
            ["sh", "-c", _SCRIPT],
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            user="65534:65534",
            mem_limit=_MEMORY_BYTES,
            pids_limit=_PIDS,
            nano_cpus=_NANO_CPUS,
            labels={"dreamdock": "probe"},
        )
    except docker.errors.ImageNotFound as error:
        raise ImageMissing(f"no image {image}", cause=str(error.explanation), hint="dreamdock up") from error
    except docker.errors.DockerException as error:
        raise EngineUnavailable(
            "a container with limits can't be started", cause=str(error), hint="docker info"
        ) from error
    found = dict(zip(("memory", "pids", "cpu"), output.decode(errors="replace").splitlines(), strict=False))
    expected = {"memory": str(_MEMORY_BYTES), "pids": str(_PIDS), "cpu": "50000"}
    return tuple(name for name, value in expected.items() if found.get(name, "none").split(" ")[0] != value)
