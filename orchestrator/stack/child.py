"""One supervised process: started, its output logged, started again when it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

from orchestrator.stack.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 5.0
"""A child that lived this long is started again after the first delay when it ends."""
LOG_BYTES = 5_000_000
LOG_FILES = 3


@dataclass(frozen=True)
class Program:
    """What to keep running."""

    name: str
    argv: tuple[str, ...]
    user: tuple[int, int] | None = None
    """Its uid and gid; None for the supervisor's own."""
    grace_seconds: float = 10.0
    """How long it may take to end when asked to."""
    ready: Callable[[], bool] | None = field(default=None, compare=False)
    """Asked after each start; what comes later in the order isn't started before it says yes."""


@dataclass
class Backoff:
    """How long to wait before the next start, seconds."""

    delay: float = FIRST_DELAY_SECONDS

    def after(self, lived: float) -> float:
        """Return the wait after a child that lived so long; each quick end doubles the next wait, up to the cap."""
        if lived >= STEADY_SECONDS:
            self.delay = FIRST_DELAY_SECONDS
        now, self.delay = self.delay, min(self.delay * 2, LONGEST_DELAY_SECONDS)
        return now


class Child:
    """A program that is kept running; `log` takes what it prints, and when it starts and ends."""

    def __init__(self, program: Program, log: logging.Logger) -> None:
        self.program = program
        self._log = log
        self._backoff = Backoff()
        self._process: subprocess.Popen[str] | None = None
        self._identity: Identity | None = None
        self._began = 0.0
        self._due = 0.0
        self._ready = False

    @property
    def identity(self) -> Identity | None:
        """The running process, or None."""
        return self._identity

    @property
    def seconds_until_due(self) -> float:
        """How long until it may be started (again); 0 or less when it's time."""
        return self._due - time.monotonic()

    def is_ready(self) -> bool:
        """Whether what comes later may be started; asked until the first yes after each start."""
        self._ready = self._ready or self.program.ready is None or self.program.ready()
        return self._ready

    def start(self) -> None:
        """Start it. The kernel kills it when the supervisor dies, however that happens."""
        argv = ["setpriv", "--pdeathsig=KILL"]
        if self.program.user:
            uid, gid = self.program.user
            argv += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        argv += self.program.argv
        self._began, self._ready = time.monotonic(), False
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            self._ended(str(error))
            return
        self._identity = Identity.of(self._process.pid)
        self._log.info("--- started, pid %d", self._process.pid)
        threading.Thread(target=self._copy, args=(self._process,), daemon=True).start()

    def reap(self) -> bool:
        """Return whether it has ended since it was last asked; its next start is then due after the back-off."""
        if self._process is None or self._process.poll() is None:
            return False
        self._ended(f"exit code {self._process.returncode}")
        return True

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def make_end(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._log.warning("--- killed: it didn't end within %.0f s", self.program.grace_seconds)
            self._process.kill()
            self._process.wait()
        self.reap()

    def _ended(self, why: str) -> None:
        wait = self._backoff.after(time.monotonic() - self._began)
        self._log.info("--- ended: %s", why)
        self._process = self._identity = None
        self._due = time.monotonic() + wait

    def _copy(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self._log.info("%s", line.rstrip("\n"))


def open_log(folder: Path, name: str, owner: tuple[int, int]) -> logging.Logger:
    """Return a logger that writes lines to `folder/name.log`, rotated by size, readable by the state's owner alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = _OwnedLog(folder / f"{name}.log", owner)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.Logger(f"{__name__}.{name}")  # noqa: LOG001  # Its own, not the tree's: nothing else may write here.
    logger.addHandler(handler)
    return logger


class _OwnedLog(RotatingFileHandler):
    def __init__(self, path: Path, owner: tuple[int, int]) -> None:
        self._owner = owner
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, errors="replace")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchown(descriptor, *self._owner)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding="utf-8", errors="replace", line_buffering=True)
