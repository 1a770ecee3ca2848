"""The process behind `dreamdock up`: it keeps Redis (where it's ours), the keeper, workers and one for dreams running.

`python -m orchestrator.stack.supervisor`, with its settings from the environment; `orchestrator.stack.up` starts it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import settings as settings_room
from orchestrator.errors import DreamdockError, UnavailableError
from orchestrator.journal import connection
from orchestrator.stack import redis_server
from orchestrator.stack.child import Child, Program, open_log
from orchestrator.stack.identity import Identity
from orchestrator.stack.status import Status, worker_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.settings import Settings

_TICK_SECONDS = 5.0
"""The longest sleep; ended children and signals wake it at once."""
_READY_SECONDS = 0.05
REDIS = "redis"
DREAM = "dream"


def programs(settings: Settings, owner: tuple[int, int]) -> tuple[Program, ...]:
    """Return what to run, in the order of starting; it is stopped in the opposite order, Redis last."""
    command = str(Path(sys.executable).parent / "dreamdock")
    ours = [Program(name="keeper", argv=(command, "keeper"))]
    ours += [
        Program(name=name, argv=(command, "worker"), grace_seconds=20.0) for name in worker_names(settings.workers)
    ]
    if settings.dream.days:
        ours.append(Program(name=DREAM, argv=(command, "worker", "--queue", DREAM), grace_seconds=20.0))
    if settings.redis_url:
        return tuple(ours)
    url = connection.redis_url(settings)
    user = owner if os.geteuid() == 0 and owner[0] != 0 else None
    server = Program(
        name=REDIS,
        argv=redis_server.prepare(settings, owner),
        user=user,
        grace_seconds=60.0,
        ready=lambda: connection.ping(url),
    )
    return (server, *ours)


class Supervisor:
    """Keeps programs running until it is told to stop."""

    def __init__(
        self, wanted: Sequence[Program], *, state_dir: Path, runtime_dir: Path, owner: tuple[int, int]
    ) -> None:
        logs = state_dir / "logs"
        self._children = [Child(program, open_log(logs, program.name, owner)) for program in wanted]
        self._log = open_log(logs, "supervisor", owner)
        self._runtime_dir = runtime_dir
        self._stopping = False
        self._started_all = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Start everything, restart what ends, until SIGTERM or SIGINT; then stop everything in order."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: None)  # The terminal that started it was closed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        self._log.info("started, pid %d", os.getpid())
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._stop_all()

    def _turn(self) -> None:
        """Reap what ended, start what is due, sleep until something happens."""
        for child in self._children:
            if child.reap():
                self._log.warning("%s ended, next start in %.1f s", child.program.name, child.seconds_until_due)
                self._publish()
        if Status.read(self._runtime_dir) is None:
            self._publish()  # Lost or damaged: it is how others find this process.
        pause = _TICK_SECONDS
        for child in self._children:
            if child.identity is None:
                if (wait := child.seconds_until_due) > 0:
                    pause = min(pause, wait)
                    if child.program.ready is None:
                        continue
                    break
                child.start()
                self._publish()
            if not child.is_ready():
                pause = _READY_SECONDS  # What comes after it needs it.
                break
        else:
            if not self._started_all and all(child.identity for child in self._children):
                self._started_all = True
                self._publish()
        select.select([self._wake_read], [], [], pause)
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _stop_all(self) -> None:
        self._log.info("stopping")
        users = [child for child in self._children if child.program.ready is None]
        servers = [child for child in reversed(self._children) if child.program.ready is not None]
        for group in (users, servers):
            for child in group:
                child.ask_to_end()
            began = time.monotonic()
            for child in group:
                child.make_end(began + child.program.grace_seconds)
        Status.path(self._runtime_dir).unlink(missing_ok=True)
        self._log.info("stopped")

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _publish(self) -> None:
        me = Identity.of(os.getpid())
        running = {child.program.name: child.identity for child in self._children if child.identity}
        if me:
            with suppress(OSError):  # A full disk ends nothing that runs.
                Status(supervisor=me, children=running, ready=self._started_all).write(self._runtime_dir)


def main() -> int:
    """Run with the settings of the environment."""
    logging.raiseExceptions = False  # A full disk must not end what is running because its log can't be written.
    try:
        settings = settings_room.load()
        found = settings.state_dir.stat()
        owner = (found.st_uid, found.st_gid)
        wanted = programs(settings, owner)
    except DreamdockError as error:
        sys.stderr.write(f"{error.message}: {error.cause}\n")
        return error.exit_code
    if Status.hold(settings.runtime_dir) is None:
        sys.stderr.write("another supervisor runs on this runtime directory\n")
        return UnavailableError.exit_code
    Supervisor(wanted, state_dir=settings.state_dir, runtime_dir=settings.runtime_dir, owner=owner).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
