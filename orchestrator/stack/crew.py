"""Several workers under one small parent: `dreamdock worker --concurrency N`. It starts again what ends."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.stack.child import Child, Program

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 20.0
"""What a worker has to release its run; as under `up`."""


def serve(number: int, options: Sequence[str] = (), *, command: Sequence[str] = ()) -> None:
    """Keep `number` workers running until SIGTERM or SIGINT, which reaches each of them.

    `options` are those of `dreamdock worker`; `command` stands for it where a test has its own.
    """
    argv = (*(command or (str(Path(sys.executable).parent / "dreamdock"), "worker")), *options)
    programs = [Program(f"worker-{count}", argv, grace_seconds=_GRACE_SECONDS) for count in range(1, number + 1)]
    children = [Child(program, _log(program.name)) for program in programs]
    ended = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: ended.set())
    while True:
        for child in children:
            child.reap()
            if child.identity is None and child.seconds_until_due <= 0:
                child.start()
        if ended.wait(_TICK_SECONDS):
            break
    for child in children:
        child.ask_to_end()
    deadline = time.monotonic() + _GRACE_SECONDS
    for child in children:
        child.make_end(deadline)


def _log(name: str) -> logging.Logger:
    """Return a logger that writes a worker's lines to standard error, under its name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    logger = logging.Logger(f"{__name__}.{name}")  # noqa: LOG001  # Its own, not the tree's.
    logger.addHandler(handler)
    return logger
