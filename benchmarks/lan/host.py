"""A host: an engine and a stack of its own, which end when its power does, on a disk that stays."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import docker

from benchmarks.lan.namespaces import Box
from sandbox.policy import RUN_LABEL
from sandbox.slot import told
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND: Final = str(Path(sys.executable).with_name("dreamdock"))
DISK: Final = Path("/run/host")
"""Where each host has its disk, as it sees it: every host has the same paths, as hosts of one set-up do."""

_BOOT_S: Final = 60.0
_BOOT: Final = """
mount -t tmpfs tmpfs /run && mkdir {disk} && mount --bind {folder} {disk} && hostname {name}
while :; do {engine} >>{disk}/engine.log 2>&1; sleep 1; done
"""


class Host:
    """Its folder is its disk; `number` ends its address, and its stack has `environ` beside a bare environment."""

    def __init__(self, folder: Path, mark: str, *, number: int, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.number = number
        self.name = f"host-{number}"
        self.environ = dict(environ)
        self.changed = False
        """Whether its stack was started otherwise than it is by itself."""
        self._mark = f"{mark}-{number}"
        self.box = Box("pid", "mount", "mount-proc", "net", "uts")

    @property
    def engine_data(self) -> Path:
        """The folder of its engine's images and containers."""
        return self.folder / "engine"

    def power_on(self) -> None:
        """Switch it on, from the main thread; its engine comes up by itself."""
        self.engine_data.mkdir(parents=True, exist_ok=True)
        socket = f"unix://{DISK / 'docker.sock'}"
        engine = ["dockerd", "--data-root", str(DISK / "engine"), "--cgroup-parent", f"/{self._mark}"]
        engine += [
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "-H",
            "unix:///run/docker.sock",
            "-H",
            socket,
        ]
        quoted = {"folder": shlex.quote(str(self.folder)), "name": self.name, "engine": shlex.join(engine)}
        (self.folder / "docker.sock").unlink(missing_ok=True)
        self.box.switch_on("sh", "-c", _BOOT.format(disk=DISK, **quoted), environ=self._environ())

    def wait_for_engine(self) -> None:
        """Wait until its engine answers."""
        deadline = time.monotonic() + _BOOT_S
        while True:
            with suppress(docker.errors.DockerException), closing(self.engine()) as client:
                client.ping()
                return
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / "engine.log").read_text()[-2000:])
            time.sleep(0.05)

    def power_off(self) -> None:
        """Take its power: every process ends at once, and what was in memory is gone."""
        self.box.switch_off()

    def end_engine(self) -> None:
        """Let its engine write down what it has, and end."""
        self.run("sh", "-c", "kill $(cat /run/docker.pid); while [ -e /run/docker.pid ]; do sleep 0.05; done")

    def up(self, **environ: str) -> None:
        """Start its stack as a person would, with `environ` beside its own."""
        self.changed = bool(environ)
        self.run(COMMAND, "up", **environ)

    def down(self) -> None:
        """Stop its stack as a person would: runs under way are released."""
        self.run(COMMAND, "down")

    def restart(self, **environ: str) -> None:
        """Stop its stack, and start it with `environ` beside its own."""
        self.down()
        self.up(**environ)

    def rename(self, name: str) -> None:
        """Call it so from its stack's next start on."""
        self.run("hostname", name)

    def run(self, *argv: str, **environ: str) -> str:
        """Run a command on it to its end and return what it said; it has to succeed."""
        done = subprocess.run(
            self.box.inside(*argv),
            env=self._environ() | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {shlex.join(argv)}: {done.stdout}{done.stderr}{self.logs()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run `dreamdock … --json` on it and return its one document."""
        return json.loads(self.run(COMMAND, *arguments, "--json"))

    def engine(self, *, timeout_s: float = 30) -> docker.DockerClient:
        """Return a client of its engine; the caller closes it."""
        return docker.DockerClient(f"unix://{self.folder / 'docker.sock'}", version="auto", timeout=timeout_s)

    def containers(self) -> list[dict[str, Any]]:
        """Return its containers, whatever state they are in, as its engine lists them."""
        with closing(self.engine()) as client:
            return list(client.api.containers(all=True))

    def owner(self, container: Mapping[str, Any]) -> str:
        """Return the run that a listed container is for; empty for one that waits for its run."""
        place = next((mount["Source"] for mount in container["Mounts"] if mount["Destination"] == WORKSPACE), "")
        claimed = told(self.folder / Path(place).parent.relative_to(DISK)) if place else {}
        return str(claimed.get(RUN_LABEL) or container["Labels"].get(RUN_LABEL, ""))

    def logs(self) -> str:
        """Return the last lines of each of its logs."""
        found = [*(self.folder / "state" / "logs").glob("*"), self.folder / "engine.log"]
        return "".join(f"\n{file}\n{file.read_text(errors='replace')[-1500:]}" for file in found if file.is_file())

    def _environ(self) -> dict[str, str]:
        bare = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(DISK), "PYTHONDONTWRITEBYTECODE": "1"}
        own = {"DREAMDOCK_STATE_DIR": str(DISK / "state"), "DREAMDOCK_RUNTIME_DIR": "/run/dreamdock"}
        return bare | own | self.environ
