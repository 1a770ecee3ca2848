"""Real git servers on the loopback: git's own daemon, its HTTP backend, and ones that don't behave."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BACKEND: Final = "/usr/lib/git-core/git-http-backend"


def bare(path: Path, *config: str) -> Path:
    """Make a bare repository with some configuration, `name=value` each."""
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    for setting in ("receive.autogc=false", *config):
        subprocess.run(["git", "--git-dir", str(path), "config", *setting.split("=", 1)], check=True)
    return path


def refs(path: Path) -> dict[str, str]:
    """Return the refs of a repository, and where they are."""
    asked = ["git", "--git-dir", str(path), "for-each-ref", "--format=%(refname) %(objectname)"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in said.splitlines())


def on_server(path: Path, *args: str) -> str:
    """Run git in a repository on the server's side."""
    asked = ["git", "--git-dir", str(path), *args]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def refuse_pushes(path: Path, words: str) -> Path:
    """Let a repository refuse every push, and say something; return the hook."""
    hook = path / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\nprintf '{words}\\n' >&2\nexit 1\n")
    hook.chmod(0o755)
    return hook


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def daemon(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve the repositories below a folder with `git daemon`, pushes too; yield the address of the folder."""
    port = port or free_port()
    asked = ["git", "daemon", "--enable=receive-pack", "--export-all", "--reuseaddr", "--listen=127.0.0.1"]
    environ = os.environ | {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    process = subprocess.Popen(
        [*asked, f"--port={port}", f"--base-path={folder}", str(folder)],
        env=environ,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"git://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait()


@contextmanager
def silent() -> Iterator[str]:
    """Listen, take connections, and never say anything."""
    taken: list[socket.socket] = []
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def take() -> None:
            while not ended.is_set():
                with suppress(TimeoutError):
                    taken.append(server.accept()[0])

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield f"git://127.0.0.1:{server.getsockname()[1]}/x.git"
        finally:
            ended.set()
            thread.join()
            for one in taken:
                one.close()


@contextmanager
def over_http(folder: Path, *, login: str = "") -> Iterator[str]:
    """Serve a folder's repositories over HTTP with git's own backend; `login` is `user:password`, if it wants one."""
    given_login = f"Basic {base64.b64encode(login.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # The library's name.
            self._serve()

        def do_POST(self) -> None:  # As above.
            self._serve()

        def _serve(self) -> None:
            if not login or self.headers.get("Authorization") == given_login:
                _backend(self, folder)
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    assert shutil.which(_BACKEND)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{login + '@' if login else ''}127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _backend(asked: BaseHTTPRequestHandler, folder: Path) -> None:
    path, _, query = asked.path.partition("?")
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.receivepack",
        "GIT_CONFIG_VALUE_0": "true",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": asked.command,
        "CONTENT_TYPE": asked.headers.get("Content-Type", ""),
        "HTTP_CONTENT_ENCODING": asked.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": asked.headers.get("Git-Protocol", ""),
        "REMOTE_USER": "u",
        "REMOTE_ADDR": "127.0.0.1",
    }
    done = subprocess.run([_BACKEND], input=_body(asked), env=environ, capture_output=True, check=False)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
    status = next((value for name, value in lines if name == "Status"), "200 OK")
    asked.send_response(int(status.split()[0]))
    for name, value in lines:
        if name != "Status":
            asked.send_header(name, value)
    asked.send_header("Content-Length", str(len(body)))
    asked.end_headers()
    asked.wfile.write(body)


def _body(asked: BaseHTTPRequestHandler) -> bytes:
    if asked.headers.get("Transfer-Encoding") != "chunked":
        return asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
    parts = []
    while size := int(asked.rfile.readline(), 16):
        parts.append(asked.rfile.read(size))
        asked.rfile.readline()
    asked.rfile.readline()
    return b"".join(parts)
