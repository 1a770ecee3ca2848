"""What the hosts of a team share: a Redis, and a git server for checkpoints, on a box of their own."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Final

from benchmarks.lan.namespaces import Box
from benchmarks.lan.network import address
from orchestrator.journal.connection import ping
from orchestrator.stack.redis_server import embedded_program

if TYPE_CHECKING:
    from pathlib import Path

NUMBER: Final = 10
PASSWORD: Final = "lan"  # noqa: S105  # Of a Redis in a namespace; without one it refuses others' addresses.
_START_S: Final = 10.0


class Services:
    """Redis on port 6379, and on a unix socket in the folder, which crosses networks; git on port 9418."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = Box("pid", "mount", "mount-proc", "net", "uts")
        self.redis_url = f"redis://:{PASSWORD}@{address(NUMBER)}:6379"
        self.local_redis_url = f"unix://:{PASSWORD}@{folder / 'redis' / 'redis.sock'}"
        self.remote = f"git://{address(NUMBER)}/checkpoints.git"
        self.repository = folder / "git" / "checkpoints.git"
        """The same, as this machine sees it."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def switch_on(self) -> None:
        """Switch the box on, from the main thread."""
        subprocess.run(["git", "init", "--quiet", "--bare", str(self.repository)], check=True)
        self.box.switch_on("sleep", "infinity")

    def start(self) -> None:
        """Start both, once the box is connected."""
        self.serve("redis", *redis_argv(6379, self.folder / "redis"))
        base = str(self.repository.parent)
        git = ["git", "daemon", "--reuseaddr", "--export-all", "--enable=receive-pack", f"--base-path={base}", base]
        self.serve("git", *git)
        deadline = time.monotonic() + _START_S
        while not ping(self.local_redis_url):
            if time.monotonic() > deadline:
                raise TimeoutError("Redis doesn't come up")
            time.sleep(0.02)

    def serve(self, name: str, *argv: str) -> None:
        """Start one more service, from the main thread; its output goes into the folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            argv = tuple(self.box.inside(*argv))
            self._running[name] = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def kill(self, name: str) -> None:
        """Kill a service, as the kernel would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def is_served(self, name: str) -> bool:
        """Whether a service was started, and not killed."""
        return name in self._running

    def switch_off(self) -> None:
        """End everything on the box."""
        self.box.switch_off()
        for process in self._running.values():
            process.wait()


def redis_argv(port: int, folder: Path) -> list[str]:
    """Return the command line of a Redis on the box, with its files and a unix socket in a folder."""
    folder.mkdir(exist_ok=True)
    own = ["--bind", address(NUMBER), "--port", str(port), "--unixsocket", str(folder / "redis.sock")]
    kept = ["--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "no"]
    return [str(embedded_program()), *own, *kept, "--requirepass", PASSWORD]
