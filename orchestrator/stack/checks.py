"""What `dreamdock doctor` checks on this machine: each check does the thing, rather than reading that it could."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.holdings import Holdings
from orchestrator.journal import presence, signing
from orchestrator.journal.connection import connect, redis_url
from orchestrator.stack import dream_checks, redis_checks
from orchestrator.stack.check import HostCheck, tried
from sandbox import engine, images, probe
from sandbox.disk import mount_disk, unmount_disk
from sandbox.mounts import may_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.settings import Settings

_SMALL_MB = 16
_REMOTE_SECONDS = 30.0
FREE_BYTES = 2_000_000_000
TRIAL_BYTES = 4_000_000
_OVERLAY = "redirect_dir=on,metacopy=off,index=off,xino=off"


def host_checks(settings: Settings) -> Iterator[HostCheck]:
    """Try everything that runs depend on; each result comes as soon as it's known. Raises nothing."""
    checks: tuple[tuple[str, Callable[[Settings], HostCheck]], ...] = (
        ("engine", _engine),
        ("base image", _image),
        ("cgroup limits", _limits),
        ("overlay mounts", _overlay),
        ("own disks", _own_disk),
        ("disk", _disk),
        ("redis", redis_checks.writes),
        ("persistence", redis_checks.persistence),
        ("eviction", redis_checks.eviction),
        ("clock", redis_checks.clock),
        ("checkpoint remote", _remote),
        ("signer", _signer),
        ("workers", _workers),
        ("keeper", _keeper),
        ("dreams", dream_checks.dreams),
    )
    for name, check in checks:
        yield tried(name, partial(check, settings))


def _engine(_settings: Settings) -> HostCheck:
    info = engine.ping()
    found = f"{info.name} {info.version} (API {info.api_version}), storage {info.storage_driver}"
    found += f", cgroup v{info.cgroup_version}" + (f", users shifted by {info.shift}" if info.shift else "")
    return HostCheck("engine", ok=True, found=found)


def _image(settings: Settings) -> HostCheck:
    if settings.image is not None:
        images.check(images.named(settings.image))
        return HostCheck("base image", ok=True, found=f"{settings.image} (configured)")
    name = images.find(images.BASE)
    return HostCheck("base image", ok=name is not None, found=name or "not built yet", remedy="dreamdock up")


def _limits(settings: Settings) -> HostCheck:
    """Start a container with limits and let it read them from inside."""
    image = images.named(settings.image or images.BASE)
    lacking = probe.lacking_limits(image)
    found = "memory, pids and cpu bite" if not lacking else f"not enforced: {', '.join(lacking)}"
    remedy = "enable these cgroup controllers for the engine (docker info shows warnings)"
    return HostCheck("cgroup limits", ok=not lacking, found=found, remedy=remedy)


def _overlay(settings: Settings) -> HostCheck:
    """Mount a small overlay with the workspace's options, change a file through it, and take it down again."""
    name = "overlay mounts"
    if os.geteuid() != 0:
        return _not_tried(name)
    if not may_mount():
        return _volume(settings, name)
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


def _not_tried(name: str) -> HostCheck:
    found = "not tried: only root may mount, and workers run as root"
    return HostCheck(name, ok=True, found=found, remedy="sudo dreamdock doctor")


def _own_disk(settings: Settings) -> HostCheck:
    """Make a run's own disk of the size that runs get, fill a smaller one, and take both down again."""
    name = "own disks"
    if os.geteuid() != 0:
        return _not_tried(name)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.state_dir) as scratch:
        place = Path(scratch)
        began = time.monotonic()
        mount_disk(place.parent, settings.sandbox.workspace_mb, place)
        seconds = time.monotonic() - began
        unmount_disk(place)
        mount_disk(place.parent, _SMALL_MB, place)
        try:
            refused = _fill(place / "filler", 2 * _SMALL_MB)
        finally:
            unmount_disk(place)
    found = f"one of {settings.sandbox.workspace_mb} MiB takes {seconds * 1000:.0f} ms"
    return HostCheck(name, ok=refused, found=found if refused else "one took more than its size")


def _fill(path: Path, most_mb: int) -> bool:
    """Write up to so many MiB; whether that was refused before."""
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(most_mb):
                file.write(bytes(1 << 20))
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def _volume(settings: Settings, name: str) -> HostCheck:
    """Let the engine mount a workspace, as it does for a worker that may not, and change a file through it."""
    from sandbox.attack.opening import opened  # noqa: PLC0415  # Only here, and it brings the whole sandbox.

    with opened(images.named(settings.image or images.BASE), settings.state_dir / "attack") as box:
        box.write("file", b"above")
        works = [change.path for change in box.checkpoint(note="doctor").changes] == ["file"]
    found = (
        "this process may not mount; the engine does: rewinds are colder, the base's directories can't be renamed, and "
        "workspace_mb is held against what is there when a step ends"
    )
    return HostCheck(name, ok=works, found=found if works else "a write went astray")


def _disk(settings: Settings) -> HostCheck:
    """Write some MB and wait until they are on the disk."""
    name, remedy = "disk", "free some disk space, or move DREAMDOCK_STATE_DIR"
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.state_dir) as file:
            began = time.monotonic()
            file.write(os.urandom(TRIAL_BYTES))
            file.flush()
            os.fsync(file.fileno())
            seconds = time.monotonic() - began
    except PermissionError as error:
        return HostCheck(name, ok=False, found=str(error), remedy="sudo dreamdock doctor")
    except OSError as error:
        return HostCheck(name, ok=False, found=str(error), remedy=remedy)
    free = shutil.disk_usage(settings.state_dir).free
    found = f"{free / 1e9:.1f} GB free in {settings.state_dir}; {TRIAL_BYTES / 1e6:.0f} MB synced in {seconds:.2f} s"
    return HostCheck(name, ok=free >= FREE_BYTES, found=found, remedy=remedy)


def _remote(settings: Settings) -> HostCheck:
    """Push something to the checkpoint remote, fetch it and delete it, with the rights of this process."""
    name, remote = "checkpoint remote", Holdings(settings).remote
    if remote is None:
        return HostCheck(name, ok=True, found="none is set: a run goes on on the host that it was submitted on")
    patience = threading.Timer(_REMOTE_SECONDS, remote.kill)
    patience.start()
    began = time.monotonic()
    try:
        remote.try_out()
    finally:
        patience.cancel()
    took = time.monotonic() - began
    return HostCheck(name, ok=True, found=f"{remote.shown}: pushed, fetched and deleted in {took:.1f} s")


def _signer(settings: Settings) -> HostCheck:
    """Sign something with this machine's key, and check it as a verifier does."""
    own = signing.own_key(settings.state_dir)
    if own is None:
        found = "no key yet: this machine's first worker makes it"
        return HostCheck("signer", ok=True, found=found, remedy="dreamdock up")
    private = settings.state_dir / "signer" / "key"
    if private.exists() and not os.access(private, os.R_OK):
        found = f"{own.text}, not tried: its private half is the workers' alone"
        return HostCheck("signer", ok=True, found=found, remedy="sudo dreamdock doctor")
    signer = signing.Signer.existing(settings.state_dir)
    if signer is None:
        found = f"the private half of {own.text} is gone: the next worker makes another key"
        return HostCheck("signer", ok=False, found=found, remedy=f"put {private} back, or dreamdock up")
    run_id, head = "0" * 12, signing.Head(1, "0" * 64)
    key = signing.pinned(settings.state_dir, settings.signers).get(signer.key.id)
    works = key is not None and key.has_signed(signer.sign(run_id, head), run_id, head)
    more = f"; {len(settings.signers)} pinned beside it" if settings.signers else ""
    return HostCheck("signer", ok=works, found=f"signs as {signer.key.text}{more}", remedy="dreamdock audit --show-key")


def _workers(settings: Settings) -> HostCheck:
    return _processes(settings, "worker", "workers")


def _keeper(settings: Settings) -> HostCheck:
    return _processes(settings, "keeper", "keeper")


def _processes(settings: Settings, kind: str, name: str) -> HostCheck:
    """Ask who has said within the last seconds that it's alive; on any host."""
    with connect(redis_url(settings)) as client:
        alive = presence.alive(client, kind)
    found = ", ".join(f"{one.host}:{one.pid}" for one in alive) or f"no {kind} is alive"
    if strange := presence.strangers(alive, version("dreamdock")):
        return HostCheck(
            name, ok=False, found=f"{found}; {'; '.join(strange)}", remedy="upgrade one host after the other"
        )
    return HostCheck(
        name, ok=bool(alive), found=found, remedy=f"dreamdock up, then look into {settings.state_dir}/logs"
    )
