"""A package index of the test's own, where containers on the engine's bridge reach it."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pip

from sandbox import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIOCGIFADDR = 0x8915


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files on the bridge's own address, each folder in it as a list of links; yield the URL."""
    gateway = _bridge_address()
    with ThreadingHTTPServer((gateway, 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{gateway}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _bridge_address() -> str:
    """Return this host's own address on the engine's default bridge."""
    with contextlib.closing(engine.client()) as client:
        options = client.networks.get("bridge").attrs["Options"]
    name = options["com.docker.network.bridge.name"].encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", name))
    return socket.inet_ntoa(answer[20:24])


def pip_archive(folder: Path) -> Path:
    """Return an archive of this environment's pip, which runs as it is: the base image has none."""
    package, archive = Path(pip.__file__).parent, folder / "pip.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in package.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                target.write(path, path.relative_to(package.parent))
    return archive


def wheel(folder: Path, name: str, version: str, source: str) -> Path:
    """Return a wheel with one module."""
    path, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr(f"{name}.py", source)
        target.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        target.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        target.writestr(f"{info}/RECORD", "")
    return path
