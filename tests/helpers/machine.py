"""A machine of a test's own, in namespaces: an engine and a stack, which start at its boot and end when its power goes.

It has its own processes, mounts and network; its disk and what stands for its /run are folders. As an init system
would, it starts again what ends.
"""

from __future__ import annotations

import gc
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import docker
from disturbed import LEASE_S, Disturbed, processes

from benchmarks.stack import Stack
from orchestrator import api, settings
from orchestrator.journal.connection import ping, redis_url
from orchestrator.stack.up import environment, make_folders
from sandbox.images import base_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

_BOOT: Final = """
for place in /run/docker /run/containerd; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
while :; do {engine} >>{disk}/engine.log 2>&1; sleep 1; done &
while :; do {stack} >>{disk}/stack.log 2>&1; sleep 1; done
"""
_BOOT_S: Final = 90.0


class Machine:
    """Its disk is a folder with the engine's data, which outlives it, and a folder with the state."""

    def __init__(self, engine_data: Path, folder: Path, **chosen: object) -> None:
        self._disk, self._run = folder / "disk", Path(tempfile.mkdtemp(prefix="ddm-"))  # Sockets need short names.
        self._disk.mkdir()
        self._address = f"unix://{self._run / 'docker.sock'}"
        self.settings = settings.load(state_dir=self._disk / "state", runtime_dir=self._run / "dreamdock", **chosen)
        self.environ = environment(self.settings) | {"DOCKER_HOST": self._address}
        self._cgroup = f"/dreamdock-test-{self.settings.stack_id}"
        engine = [
            *("dockerd", "--data-root", str(engine_data), "--exec-root", str(self._run / "engine")),
            *("--pidfile", str(self._run / "engine.pid"), "--host", self._address, "--cgroup-parent", self._cgroup),
            *("--bridge=none", "--iptables=false"),
        ]
        stack = [sys.executable, "-m", "orchestrator.stack.supervisor"]
        self._boot = _BOOT.format(engine=shlex.join(engine), stack=shlex.join(stack), disk=self._disk)
        self._init: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Switch it on, and wait for its engine and its Redis."""
        self._run.mkdir(exist_ok=True)
        make_folders(self.settings)
        own = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net"]
        self._init = subprocess.Popen([*own, "sh", "-c", self._boot], env=self.environ, stdin=subprocess.DEVNULL)
        self.wait_for_engine()
        while not ping(redis_url(self.settings)):
            time.sleep(0.05)

    def wait_for_engine(self) -> None:
        """Wait until its engine answers."""
        deadline = time.monotonic() + _BOOT_S
        while True:
            with suppress(docker.errors.DockerException), closing(docker.DockerClient(self._address)) as client:
                client.ping()
                return
            assert time.monotonic() < deadline, (self._disk / "engine.log").read_text()[-2000:]
            time.sleep(0.05)

    def cut(self) -> None:
        """Take its power: every process ends at once, and what was in memory is gone."""
        if self._init is not None:
            self._init.kill()
            self._init.wait()
            self._init = None
            deadline = time.monotonic() + 10
            while processes(str(self._run)):
                assert time.monotonic() < deadline, "it is still on"
                time.sleep(0.01)
        shutil.rmtree(self._run, ignore_errors=True)

    def dockerd(self) -> int:
        """Return its engine's pid, as it is here."""
        names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in processes(f"--pidfile\0{self._run}")}
        return next(pid for pid, name in names.items() if name == "dockerd")

    def load_image(self) -> None:
        """Have the base image in its engine, from this machine's."""
        with closing(docker.from_env()) as ours, closing(docker.DockerClient(self._address)) as client:
            if not client.images.list(base_image()):
                client.images.load(ours.images.get(base_image()).save(named=base_image()))

    def forget(self) -> None:
        """Remove what the kernel keeps of its containers' limits: at a real machine's end they go by themselves."""
        for parent in Path("/sys/fs/cgroup").glob(f"**{self._cgroup}"):
            for folder in sorted(parent.rglob("*/"), reverse=True):
                folder.rmdir()
            parent.rmdir()


@contextmanager
def on_own_machine(
    engine_data: Path, folder: Path, random: Random, tree: str | None
) -> Iterator[tuple[Disturbed, Machine]]:
    """Have a machine of its own, and a run on it that the block begins; after it the run ends well."""
    machine = Machine(engine_data, folder, lease_seconds=LEASE_S, workers=1, warm=random.randint(0, 1))
    try:
        machine.boot()
        machine.load_image()
        with (
            closing(api.connect(machine.settings)) as door,
            closing(Disturbed(Stack(machine.settings, machine.environ, door), folder, random)) as run,
        ):
            yield run, machine
            run.ends()
            run.check(tree)
    finally:
        machine.cut()
        machine.forget()
        gc.collect()  # The engine's SDK leaves sockets open where it's cut off; they aren't to be told of later.
