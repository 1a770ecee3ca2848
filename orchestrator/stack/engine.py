"""A container engine for this machine: the one that answers, else Debian's, installed and started."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UnavailableError
from orchestrator.stack import packages
from orchestrator.stack.identity import Identity
from orchestrator.stack.process import run_told
from sandbox import engine

if TYPE_CHECKING:
    from orchestrator.stack.report import Reporter

_PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
_CGROUPS = "/sys/fs/cgroup"
_SYSTEMD = Path("/run/systemd/system")
_START_SECONDS = 60.0
_PAUSE_SECONDS = 0.1
_GAVE_UP = "failed to start daemon"
_BY_HAND = "sudo apt-get install --no-install-recommends docker.io && sudo service docker start"


def ensure_engine(reporter: Reporter, *, log: Path) -> None:
    """Return once an engine answers; `log` takes the daemon's output where this starts it by hand.

    Installing and starting one takes root: callers that are not root start themselves again through sudo.
    Raises UnavailableError (what to type) where it may not be installed or doesn't come up.
    """
    if engine.answers():
        return
    if engine.address() != engine.DEFAULT_ADDRESS:
        cause = f"DOCKER_HOST names {engine.address()}, so no other engine is started"
        raise UnavailableError(
            "the container engine doesn't answer", cause=cause, hint="start it, or unset DOCKER_HOST"
        )
    if os.geteuid() != 0:
        raise _not_root(Path(engine.DEFAULT_ADDRESS.removeprefix("unix://")))
    if _daemon() is None:
        packages.install(["docker.io"], reporter, why="run sealed containers")
    if engine.answers():
        return  # The package's own start-up was quicker.
    with reporter.step("starting the Docker daemon"):
        _start(log)
    reporter.line("the Docker daemon runs; it stays up when DreamDock goes down")


def stale_pid_file(path: Path, program: str) -> bool:
    """Whether a pid file names no living `program`: a daemon that crashed left it, and it may stop the next one."""
    try:
        pid = int(path.read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return path.exists()
    return name != program or Identity.of(pid) is None  # A zombie has a name too.


def _daemon() -> str | None:
    """Return the daemon's program; /usr/sbin isn't on everyone's PATH."""
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def _not_root(socket: Path) -> UnavailableError:
    if socket.exists() and not os.access(socket, os.W_OK):
        cause, hint = f"{socket} belongs to root and its group", "sudo usermod -aG docker $USER, then log in again"
        return UnavailableError("no right to use the container engine", cause=cause, hint=hint)
    cause = "it has to be started as root, and there is no password-less sudo"
    return UnavailableError("no container engine answers", cause=cause, hint=_BY_HAND)


def _start(log: Path) -> None:
    """Start the daemon, through systemd where it runs, and wait until it answers."""
    hint = f"look into {log}"
    if _SYSTEMD.is_dir():
        hint = "journalctl -u docker"
        run_told(("systemctl", "start", "docker"), _ignore, failed="the Docker daemon can't be started", hint=hint)
    else:
        for path, program in _PID_FILES.items():
            if stale_pid_file(path, program):
                path.unlink()
        if not next(iter(_PID_FILES)).exists():  # Else one is on its way up.
            _start_by_hand(log)
    deadline = time.monotonic() + _START_SECONDS
    while not engine.answers():
        last = "" if _SYSTEMD.is_dir() else _last_line(log)
        if time.monotonic() > deadline or _GAVE_UP in last:
            cause = last or f"it didn't answer within {_START_SECONDS:.0f} s"
            raise UnavailableError("the Docker daemon doesn't come up", cause=cause, hint=hint)
        time.sleep(_PAUSE_SECONDS)


def _start_by_hand(log: Path) -> None:
    if not os.path.ismount(_CGROUPS):  # In a container, or with a minimal init; the daemon refuses to start without.
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", _CGROUPS], check=False)
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("wb") as output:  # What an earlier try said must not be taken for this one's.
        daemon = ["setsid", "--fork", _daemon() or "dockerd"]
        subprocess.run(daemon, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=False)


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][-300:] if lines else ""


def _ignore(_line: str) -> None:
    pass
