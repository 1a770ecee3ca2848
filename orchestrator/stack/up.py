"""What `up`, `run` and `down` do with the stack: start what is missing, stop what was started."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.errors import DreamdockError, UnavailableError
from orchestrator.journal import connection, presence
from orchestrator.stack.disks import ensure_disks
from orchestrator.stack.engine import ensure_engine
from orchestrator.stack.image import ensure_image
from orchestrator.stack.packages import Rights
from orchestrator.stack.status import Status, worker_names
from sandbox import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestrator.settings import Settings
    from orchestrator.stack.report import Reporter

SUPERVISOR = (sys.executable, "-m", "orchestrator.stack.supervisor")
_UP_SECONDS = 60.0
_DIED_SECONDS = 2.0
_AT_WORK_SECONDS = 30.0
_TRIES = 4
"""Starts of one child; a healthy one needs one."""
_DOWN_SECONDS = 90.0
_PAUSE_SECONDS = 0.02
_REPUBLISHED_SECONDS = 10.0
_LOCK = "stack.lock"


def is_up(settings: Settings) -> bool:
    """Whether the supervisor runs, all is started, and Redis and (for root) the engine answer. A few milliseconds."""
    status = Status.read(settings.runtime_dir)
    if status is None or not status.ready or not status.supervisor.is_alive():
        return False
    return connection.ping(connection.redis_url(settings)) and (os.geteuid() != 0 or engine.answers())


def ensure_up(settings: Settings, reporter: Reporter, *, supervisor: Sequence[str] = SUPERVISOR) -> bool:
    """Start what is missing of engine, image, Redis, keeper and workers. Returns whether anything had to be started.

    Two at once are safe: the second waits and finds everything up. `supervisor` is the supervising process's command.
    Raises UnavailableError and the errors of the engine and the image, each with what to type.
    """
    if is_up(settings):
        return False
    make_folders(settings)
    if os.geteuid() != 0:
        _as_root(settings, supervisor)
        return True
    with locked(settings):
        if is_up(settings):
            return False
        if settings.redis_url:
            _require_redis(settings)
        ensure_engine(reporter, log=settings.state_dir / "logs" / "dockerd.log")
        ensure_disks(reporter)
        ensure_image(settings, reporter)
        status = _known(settings)
        ours = status is None or not status.supervisor.is_alive()
        if ours:
            _start(settings, supervisor)
        try:
            _wait_until_up(settings)
            _wait_until_at_work(settings)
        except UnavailableError:
            if ours and (status := Status.read(settings.runtime_dir)):
                _stop(status)  # Half a stack isn't left behind.
            raise
    if ours:
        parts = [] if settings.redis_url else ["Redis"]
        parts += ["the keeper", _count(settings.workers), *(["the dream worker"] if settings.dream.days else [])]
        what = f"{', '.join(parts[:-1])} and {parts[-1]}"
        reporter.line(f"started {what}; dreamdock down stops them")
    return True


def _require_redis(settings: Settings) -> None:
    try:
        connection.require(connection.redis_url(settings))
    except UnavailableError as error:
        hint = "start it, or mend redis_url; dreamdock doctor"
        raise UnavailableError("the configured Redis doesn't answer", cause=error.cause, hint=hint) from error


def ensure_served(settings: Settings, reporter: Reporter) -> bool:
    """Do as `ensure_up`, but start nothing where a keeper and a worker live on the configured Redis: services do."""
    return not _is_served(settings) and ensure_up(settings, reporter)


def take_down(settings: Settings) -> bool:
    """Stop everything that `ensure_up` started but the container engine. Returns whether anything ran.

    Workers are stopped first and Redis last. Raises UnavailableError where it may not, or something doesn't end.
    """
    if not settings.runtime_dir.is_dir():
        return False
    with locked(settings):
        status = _known(settings)
        running = status is not None and status.supervisor.is_alive()
        if status is not None and running:
            _stop(status)
        for name in ("supervisor.json", "supervisor.new", "redis.sock", "redis.conf"):
            (settings.runtime_dir / name).unlink(missing_ok=True)
        return running


def _is_served(settings: Settings) -> bool:
    if settings.redis_url is None or not connection.ping(connection.redis_url(settings)):
        return False
    with connection.connect(connection.redis_url(settings)) as client:
        return all(presence.alive(client, kind) for kind in ("keeper", "worker"))


def make_folders(settings: Settings) -> None:
    """Make what must be the user's own, before anything is done as root."""
    for folder in (settings.state_dir, settings.state_dir / "logs", settings.runtime_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (settings.runtime_dir / _LOCK).touch(mode=0o600)


def _known(settings: Settings) -> Status | None:
    """Return the supervisor's status; where its file is lost or damaged, wait for a living one to write it anew."""
    deadline = time.monotonic() + _REPUBLISHED_SECONDS
    while (status := Status.read(settings.runtime_dir)) is None and Status.is_held(settings.runtime_dir):
        if time.monotonic() > deadline:
            cause = f"it holds {settings.runtime_dir / 'supervisor.lock'} and doesn't say who it is"
            raise UnavailableError(
                "the stack's supervisor doesn't answer", cause=cause, hint=f"look into {settings.state_dir / 'logs'}"
            )
        time.sleep(_PAUSE_SECONDS)
    return status


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the settings in it, for a process that is to have the same ones.

    Everything else is passed on too: model keys reach the workers this way.
    """
    chosen = settings.model_dump(mode="json", include=settings.model_fields_set | {"state_dir", "runtime_dir"})
    own = {
        f"DREAMDOCK_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in chosen.items()
        if value is not None
    }
    # Root's processes must leave nothing in a checkout that belongs to somebody else.
    return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "1"}


def _start(settings: Settings, supervisor: Sequence[str]) -> None:
    """Start the supervising process in a session of its own, and not in a folder whose files could speak to it."""
    with (settings.state_dir / "logs" / "supervisor.err").open("wb") as errors:
        subprocess.run(
            ["setsid", "--fork", *supervisor],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            cwd="/",
            env=environment(settings),
            check=True,
        )


def _wait_until_up(settings: Settings) -> None:
    """Wait; give up early where the supervisor said something on its way out."""
    began = time.monotonic()
    errors = settings.state_dir / "logs" / "supervisor.err"
    while not is_up(settings):
        waited = time.monotonic() - began
        status = Status.read(settings.runtime_dir)
        said = errors.read_text(errors="replace").strip()
        gone = bool(said) and waited > _DIED_SECONDS and not (status and status.supervisor.is_alive())
        if gone or waited > _UP_SECONDS:
            cause = said.splitlines()[-1][:300] if said else f"not up within {_UP_SECONDS:.0f} s"
            raise UnavailableError("the stack doesn't come up", cause=cause, hint=f"look into {errors.parent}")
        time.sleep(_PAUSE_SECONDS)


def _wait_until_at_work(settings: Settings) -> None:
    """Wait until the keeper and every worker have said in Redis that they are alive; what can't start never does."""
    deadline = time.monotonic() + _AT_WORK_SECONDS
    tried: dict[str, set[int]] = defaultdict(set)
    with connection.connect(connection.redis_url(settings)) as client:
        while True:
            alive = [one for kind in ("keeper", "worker") for one in presence.alive(client, kind)]
            pids = {one.pid for one in alive if one.host == platform.node()}
            status = Status.read(settings.runtime_dir)
            running = {name: child.pid for name, child in status.children.items()} if status else {}
            silent = [name for name in ("keeper", *worker_names(settings.workers)) if running.get(name) not in pids]
            if not silent:
                return
            for name in silent:
                tried[name].add(running.get(name, 0))
            if time.monotonic() > deadline or any(len(tried[name]) > _TRIES for name in silent):
                log, names = settings.state_dir / "logs" / f"{silent[0]}.log", " and ".join(silent)
                raise UnavailableError(f"{names} can't start", cause=_last_words(log), hint=f"look into {log}")
            time.sleep(_PAUSE_SECONDS)


def _last_words(log: Path) -> str:
    """Return what a child said last about its failure, without the supervisor's own lines."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    said = [line.split(" ", 2)[-1] for line in lines[-20:] if " --- " not in line]
    last = next((line for line in reversed(said) if line.startswith("cause:")), said[-1] if said else "")
    return last.removeprefix("cause:").strip()[:300]


def _stop(status: Status) -> None:
    as_root = Rights.probe().as_root if os.geteuid() != 0 else ()
    if as_root is None:
        hint = f"sudo kill {status.supervisor.pid}"
        raise UnavailableError("may not stop the stack", cause="its supervisor runs as root", hint=hint)
    status.supervisor.kill(signal.SIGTERM, as_root=as_root)
    if status.supervisor.wait_gone(_DOWN_SECONDS):
        return
    status.supervisor.kill(signal.SIGKILL, as_root=as_root)  # Its children die with it.
    if not all(process.wait_gone(5.0) for process in (status.supervisor, *status.children.values())):
        raise UnavailableError("a process of the stack doesn't end", hint=f"ps -fp {status.supervisor.pid}")


def _as_root(settings: Settings, supervisor: Sequence[str]) -> None:
    """Do the same as root: workers mount overlays, and the engine belongs to root."""
    rights = Rights.probe()
    again = [sys.executable, "-m", "orchestrator.stack", *supervisor]
    if rights.as_root is None:
        folders = {"DREAMDOCK_STATE_DIR": settings.state_dir, "DREAMDOCK_RUNTIME_DIR": settings.runtime_dir}
        where = " ".join(f"{name}={shlex.quote(str(folder))}" for name, folder in folders.items())
        raise UnavailableError(
            "the stack isn't up, and may not be started from here",
            cause="workers run as root, and there is no password-less sudo",
            hint=f"sudo -E {where} {sys.executable} -m orchestrator.stack",
        )
    done = subprocess.run(
        [*rights.as_root, "-E", *again], env=environment(settings), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise _error_of(done.stdout, done.returncode)


def _error_of(answer: str, code: int) -> DreamdockError:
    """Rebuild the error that the process with root's rights ended with."""
    try:
        said = json.loads(answer)
        error: DreamdockError = DreamdockError(said["message"], cause=said["cause"], hint=said["hint"])
    except (ValueError, KeyError, TypeError):
        error = UnavailableError("the stack can't be started through sudo", cause=answer[-300:], hint="sudo -n true")
    error.exit_code = code
    return error


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Let one process at a time change the stack."""
    descriptor = os.open(settings.runtime_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
