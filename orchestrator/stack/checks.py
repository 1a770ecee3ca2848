"""What `dreamdock doctor` checks on this machine: each check does the thing, rather than reading that it could."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DreamdockError
from orchestrator.journal import presence
from orchestrator.journal.connection import available, connect, redis_url
from sandbox import engine, images, probe
from sandbox.errors import EngineUnavailable, SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.settings import Settings

FREE_BYTES = 2_000_000_000
CLOCK_SECONDS = 2.0
_OVERLAY = "redirect_dir=on,metacopy=off,index=off,xino=off"


@dataclass(frozen=True)
class HostCheck:
    """One thing that was tried: what was found, and what to type where it isn't as it should be."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def host_checks(settings: Settings) -> Iterator[HostCheck]:
    """Try everything that runs depend on; each result comes as soon as it's known. Raises nothing."""
    checks: tuple[tuple[str, Callable[[Settings], HostCheck]], ...] = (
        ("engine", _engine),
        ("base image", _image),
        ("cgroup limits", _limits),
        ("overlay mounts", _overlay),
        ("disk", _disk),
        ("redis", _redis),
        ("clock", _clock),
        ("workers", _workers),
        ("keeper", _keeper),
    )
    for name, check in checks:
        try:
            yield check(settings)
        except EngineUnavailable as error:
            found = "not tried: only root and the group docker may ask the engine"
            barred = os.geteuid() != 0 and engine.is_there()
            told = found if barred else f"{error.message}: {error.cause}"
            yield HostCheck(name, ok=barred, found=told, remedy="sudo dreamdock doctor" if barred else error.hint)
        except (DreamdockError, SandboxError) as error:
            yield HostCheck(name, ok=False, found=f"{error.message}: {error.cause}".rstrip(": "), remedy=error.hint)
        except OSError as error:
            yield HostCheck(name, ok=False, found=str(error), remedy="dreamdock up")


def _engine(_settings: Settings) -> HostCheck:
    info = engine.ping()
    found = f"{info.version} (API {info.api_version}), storage {info.storage_driver}, cgroup v{info.cgroup_version}"
    return HostCheck("engine", ok=True, found=found)


def _image(settings: Settings) -> HostCheck:
    if settings.image is not None:
        images.check(settings.image)
        return HostCheck("base image", ok=True, found=f"{settings.image} (configured)")
    name = images.find_base()
    return HostCheck("base image", ok=name is not None, found=name or "not built yet", remedy="dreamdock up")


def _limits(settings: Settings) -> HostCheck:
    """Start a container with limits and let it read them from inside."""
    image = settings.image or images.base_image()
    lacking = probe.lacking_limits(image)
    found = "memory, pids and cpu bite" if not lacking else f"not enforced: {', '.join(lacking)}"
    remedy = "enable these cgroup controllers for the engine (docker info shows warnings)"
    return HostCheck("cgroup limits", ok=not lacking, found=found, remedy=remedy)


def _overlay(settings: Settings) -> HostCheck:
    """Mount a small overlay with the workspace's options, change a file through it, and take it down again."""
    name = "overlay mounts"
    if os.geteuid() != 0:
        return HostCheck(
            name,
            ok=True,
            found="not tried: only root may mount, and workers run as root",
            remedy="sudo dreamdock doctor",
        )
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.state_dir) as scratch:
        lower, upper, work, merged = (Path(scratch) / part for part in ("lower", "upper", "work", "merged"))
        for folder in (lower, upper, work, merged):
            folder.mkdir()
        (lower / "file").write_text("below")
        options = f"lowerdir={lower},upperdir={upper},workdir={work},{_OVERLAY}"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            remedy = "put DREAMDOCK_STATE_DIR on a file system that overlayfs can write to (ext4, xfs)"
            return HostCheck(name, ok=False, found=done.stderr.strip(), remedy=remedy)
        try:
            (merged / "file").write_text("above")
            works = (lower / "file").read_text() == "below" and (upper / "file").read_text() == "above"
        finally:
            subprocess.run(["umount", str(merged)], check=True)
    return HostCheck(name, ok=works, found="mounted, written through, unmounted" if works else "a write went astray")


def _disk(settings: Settings) -> HostCheck:
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=settings.state_dir) as file:
        file.write(b"x" * 4096)
    free = shutil.disk_usage(settings.state_dir).free
    found = f"{free / 1e9:.1f} GB free in {settings.state_dir}"
    return HostCheck(
        "disk", ok=free >= FREE_BYTES, found=found, remedy="free some disk space, or move DREAMDOCK_STATE_DIR"
    )


def _redis(settings: Settings) -> HostCheck:
    url = redis_url(settings)
    with available(), connect(url) as client:
        answer: Any = client.config_get("appendonly", "maxmemory-policy")
        server: Any = client.info("server")
    policy, appends = answer.get("maxmemory-policy"), answer.get("appendonly")
    found = f"{server.get('valkey_version') or server.get('redis_version')}, appendonly {appends}, {policy}"
    remedy = "CONFIG SET appendonly yes, CONFIG SET maxmemory-policy noeviction, and the same in its configuration file"
    return HostCheck("redis", ok=(appends, policy) == ("yes", "noeviction"), found=found, remedy=remedy)


def _clock(settings: Settings) -> HostCheck:
    """Leases count by Redis's clock, reports by this machine's."""
    with available(), connect(redis_url(settings)) as client:
        seconds, microseconds = client.time()
    apart = abs(time.time() - (int(seconds) + int(microseconds) / 1e6))
    found = f"{apart:.2f} s apart from Redis"
    return HostCheck("clock", ok=apart <= CLOCK_SECONDS, found=found, remedy="set the clocks: timedatectl set-ntp true")


def _workers(settings: Settings) -> HostCheck:
    return _processes(settings, "worker", "workers")


def _keeper(settings: Settings) -> HostCheck:
    return _processes(settings, "keeper", "keeper")


def _processes(settings: Settings, kind: str, name: str) -> HostCheck:
    """Ask who has said within the last seconds that it's alive; on any host."""
    with connect(redis_url(settings)) as client:
        alive = presence.alive(client, kind)
    found = ", ".join(f"{one.host}:{one.pid}" for one in alive) or f"no {kind} is alive"
    return HostCheck(
        name, ok=bool(alive), found=found, remedy=f"dreamdock up, then look into {settings.state_dir}/logs"
    )
