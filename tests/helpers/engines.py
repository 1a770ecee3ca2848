"""Container engines of the tests' own: Podman behind its Docker-compatible door, and a Docker daemon that remaps users.

Each has a folder of its own for everything, no network, and is ended by the id of its process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import engine
from sandbox.images import base_image
from sandbox.mounts import unmount

if TYPE_CHECKING:
    from collections.abc import Iterator

START_S = 60.0
PODMAN = ("podman", "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "none")
# Without a bridge a daemon removes the machine's docker0, another daemon's too: it has a network of its own.
DOCKER = ("unshare", "--net", "dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false")


@contextlib.contextmanager
def podman() -> Iterator[str]:
    """Yield the address of a Podman service that has the base image."""
    with _folder() as folder:
        storage = ("--root", str(folder / "store"), "--runroot", str(folder / "run"))
        address = f"unix://{folder}/engine.sock"
        with _served(address, [*PODMAN, *storage, "system", "service", "--time", "0", address], folder):
            yield address


@contextlib.contextmanager
def remapping_docker() -> Iterator[str]:
    """Yield the address of a Docker daemon with userns-remap that has the base image."""
    with _folder() as folder:
        places = (f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid")
        address = f"unix://{folder}/engine.sock"
        with _served(address, [*DOCKER, *places, "--userns-remap=default", "-H", address], folder):
            yield address


@contextlib.contextmanager
def at(address: str) -> Iterator[None]:
    """Let DOCKER_HOST name an engine while the block runs."""
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = address
    try:
        yield
    finally:
        del os.environ["DOCKER_HOST"]
        if before is not None:
            os.environ["DOCKER_HOST"] = before


@contextlib.contextmanager
def _served(address: str, argv: list[str], folder: Path) -> Iterator[None]:
    log = folder / "log"
    with contextlib.closing(engine.client(timeout_s=300)) as ours, log.open("wb") as output:
        environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        try:
            with at(address):
                deadline = time.monotonic() + START_S
                while not engine.answers():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                with contextlib.closing(engine.client(timeout_s=300)) as theirs:
                    theirs.api.load_image(ours.api.get_image(base_image(), chunk_size=1 << 20))
            yield
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="dde-"))
    folder.chmod(0o711)  # The remapped root has to pass.
    try:
        yield folder
    finally:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):  # Podman's watchers of ended commands stay for five minutes.
            with contextlib.suppress(OSError):
                if f"{folder}/" in entry.read_bytes().decode(errors="replace"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for place in reversed([place for place in mounts if place.startswith(f"{folder}/")]):
            unmount(Path(place))
        shutil.rmtree(folder)
