"""The image of a repository's own Dockerfile, built by the engine outside our policy, where the operator allows it.

Its commands are a stranger's. They run as root in the engine's own containers, with its network, and see the base
commit's files; no variable, credential or file of this host goes along. Memory and time are bounded, processes and disk
are not. Two builds of the same at once are harmless.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tarfile
import tempfile
import threading
from typing import IO, TYPE_CHECKING, Any

from sandbox import engine, images
from sandbox.errors import ChannelLost, ImageUnusable, PolicyRefused, SandboxError
from sandbox.git import printable
from sandbox.objects import EXECUTABLE, GITLINK, LINK, disk_error
from sandbox.trees import files

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.objects import Objects
    from sandbox.spec import Base
    from sandbox.store import Store

RULE = "allow_weaker_repo_build"
"""The setting that allows it."""

LOG_CHARACTERS = 16_000
"""Longest log of a build that is kept."""

_AGAIN = "mend the Dockerfile and commit it; docker build shows the whole log"


class RepoImage:
    """One run's image. One thread asks for it; `kill` may be called from any other."""

    def __init__(self, store: Store, base: Base, path: str, root: Path) -> None:
        """Build nothing yet. `path` is the Dockerfile's in the base commit, `root` a directory for temporary files."""
        self._store = store
        self._base = base
        self._path = path
        self._root = root
        self._failed = f"the image of {printable(path)} can't be built"
        self._lock = threading.Lock()
        self._response: Any = None
        self._ended: SandboxError | None = None
        self._said = ""
        self.built = False
        """Whether `name` built it, rather than found it."""

    @property
    def log(self) -> str:
        """What the engine said while it built, shortened: the last part of what is longer."""
        return self._said

    def name(self, *, allowed: bool, seconds: float, memory_mb: int) -> str:
        """Return the image's name, after building it if the engine doesn't have it.

        `memory_mb` is what one of its commands may use, in MiB, without swap. Raises PolicyRefused where it isn't
        allowed, ChannelLost when it was killed, ImageUnusable when it can't be built within `seconds`,
        EngineUnavailable, DiskFull.
        """
        if not allowed:
            cause = f"{RULE} is off on this worker; the operator may set it to true"
            raise PolicyRefused("the repository's own Dockerfile may not be built", rule=RULE, cause=cause)
        name = images.repo_image(self._base, self._path)
        if images.facts(name) is not None:
            return name
        late = ImageUnusable(self._failed, cause=f"it took longer than {seconds:g} s", hint=_AGAIN)
        timer = threading.Timer(seconds, self._end, [late])
        timer.daemon = True
        self.built = True
        try:
            with tempfile.TemporaryFile(dir=self._root) as context:
                pack(self._store.objects(self._base.project), self._base.tree, context)
                context.seek(0)
                timer.start()
                self._build(name, context, seconds, memory_mb << 20)
        except OSError as error:
            raise disk_error(error, "laying out what the Dockerfile is built from") from error
        finally:
            timer.cancel()
        return name

    def kill(self) -> None:
        """End it at once, from any thread: `name` raises ChannelLost."""
        self._end(ChannelLost("the build of the image was ended", cause="it was ended on request"))

    def _build(self, name: str, context: IO[bytes], seconds: float, memory: int) -> None:
        with contextlib.closing(engine.client(timeout_s=seconds + 60)) as client:
            client.api.hooks["response"].append(self._began)
            client.api.auth = _without_credentials
            options: dict[str, Any] = {"rm": True, "forcerm": True, "decode": True, "use_config_proxy": False}
            options |= {"fileobj": context, "custom_context": True, "dockerfile": self._path, "tag": name}
            options |= {"container_limits": {"memory": memory, "memswap": memory}}
            try:
                images.follow(lambda: client.api.build(**options), self._hear, failed=self._failed, hint=_AGAIN)
            except Exception as error:
                if self._ended is not None:  # And that is why the engine fell silent.
                    raise self._ended from error
                raise
            finally:
                self._let_go()
        if self._ended is not None:
            raise self._ended
        if images.facts(name) is None:
            raise ImageUnusable(self._failed, cause="the engine made no image and doesn't say why", hint=_AGAIN)

    def _hear(self, line: str) -> None:
        self._said = f"{self._said}{line}\n"[-LOG_CHARACTERS:]

    def _began(self, response: Any, *_arguments: Any, **_options: Any) -> None:
        """Keep the engine's answer: a build ends when nobody listens any more."""
        with self._lock:
            self._response = response
            if self._ended is not None:
                _hang_up(response)

    def _let_go(self) -> None:
        with self._lock:
            if self._response is not None:
                self._response.close()
            self._response = None

    def _end(self, why: SandboxError) -> None:
        with self._lock:
            self._ended = self._ended or why
            if self._response is not None:
                _hang_up(self._response)


def pack(objects: Objects, tree: str, target: IO[bytes]) -> None:
    """Write a commit's files as a tar: its bytes as they are committed, no filter, no attribute, no submodule."""
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, entry in files(objects, tree):
            if entry.mode == GITLINK:
                continue
            data = objects.read(entry.oid)
            item = tarfile.TarInfo(os.fsdecode(path))
            if entry.mode == LINK:
                item.type, item.linkname, item.mode = tarfile.SYMTYPE, os.fsdecode(data), 0o777
                tar.addfile(item)
                continue
            item.size, item.mode = len(data), 0o755 if entry.mode == EXECUTABLE else 0o644
            tar.addfile(item, io.BytesIO(data))


def _without_credentials(request: Any) -> Any:
    """Take the operator's registry log-ins back: a stranger's FROM would pull with them."""
    request.headers.pop("X-Registry-Config", None)
    return request


def _hang_up(response: Any) -> None:
    with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(response.raw.fileno())) as stream:
        stream.shutdown(socket.SHUT_RDWR)
