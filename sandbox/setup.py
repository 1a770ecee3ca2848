"""Set-up: what a run needs from outside, fetched before it in a container of its own, and kept as a layer.

<root>/layers/<hash>/tree      what the commands produced, read-only from then on
<root>/layers/<hash>/record.json   what they printed, and how long they took
<root>/layers/<hash>.turn      held by who makes the layer
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from sandbox import engine, images
from sandbox.cache import hold, remove_tree
from sandbox.container import Container
from sandbox.errors import ChannelLost, SetupFailed, WorkspaceError
from sandbox.layer import Layer, settle
from sandbox.mounts import may_mount
from sandbox.objects import disk_error
from sandbox.policy import SETUP_CA, SETUP_TMP
from sandbox.shell import one_line
from sandbox.spec import JOB_UID
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.exec_shell import ExecShell
    from sandbox.shell import Shell
    from sandbox.spec import Base, CommandResult, SetupSpec
    from sandbox.store import Store

LOG_CHARACTERS = 16_000
"""Longest log of a set-up; of a longer one the last part is kept."""

_COMMAND_CHARACTERS = 8_000
_LAST_LINES = 3
_LINE_CHARACTERS = 300
_POLL_S = 0.1
_CA_BYTES = 4 << 20


class SetUp:
    """One run's set-up. One thread asks for the layer; `kill` may be called from any other."""

    def __init__(self, spec: SetupSpec, store: Store, base: Base, root: Path) -> None:
        """Prepare nothing yet; `root` is the directory of all workspaces."""
        self._spec = spec
        self._store = store
        self._base = base
        self._root = root.resolve()
        self._container: Container | None = None
        self._killed = threading.Event()
        self._made = False

    def layer(self) -> Layer:
        """Return the layer of these commands on this commit: from the cache, else made now, and held by the caller.

        Several workers may ask at once: one makes it, the others wait. A failure leaves nothing.
        Raises SetupFailed, ChannelLost when it was killed, and what opening a sandbox raises.
        """
        images.check(self._spec.image)
        with contextlib.closing(engine.client()) as client:
            image = str(client.api.inspect_image(self._spec.image)["Id"])
        spec = self._spec.model_copy(update={"image": image})
        uid = JOB_UID + engine.shift()
        folder, name = self._root / "layers", _name(spec, self._base, uid)
        try:
            with self._turn(folder, name):
                held = hold(folder, name, partial(self._make, spec, uid))
            return Layer.read(held, cached=not self._made)
        except OSError as error:
            raise disk_error(error, "keeping what set-up made") from error

    def kill(self) -> None:
        """End it at once, from any thread: `layer` raises ChannelLost."""
        self._killed.set()
        if (container := self._container) is not None:
            container.kill()

    @contextlib.contextmanager
    def _turn(self, folder: Path, name: str) -> Iterator[None]:
        """Wait until nobody else makes this layer, which may take minutes, unless it's killed meanwhile."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"{name}.turn"
        while True:
            with path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass
                else:
                    if os.fstat(lock.fileno()).st_nlink:  # Else it was somebody's before, who is done.
                        try:
                            yield
                        finally:
                            path.unlink()
                        return
            if self._killed.wait(_POLL_S):
                raise ChannelLost("the set-up was ended", cause="it was ended on request")

    def _make(self, spec: SetupSpec, uid: int, part: Path) -> None:
        name = f"setup-{secrets.token_hex(6)}"
        size_mb = spec.limits.workspace_mb
        workspace = Workspace.prepare(self._store, self._base, self._root, name=name, uid=uid, size_mb=size_mb)
        try:
            began = time.monotonic()
            log = self._run(spec, workspace)
            seconds = time.monotonic() - began
            workspace.keep(part / "tree")
        finally:
            workspace.remove()
        _clear(part / "tree" / ".dreamdock")
        settle(self._store.objects(self._base.project), self._base.tree, part, log=log, seconds=seconds)
        self._made = True

    def _run(self, spec: SetupSpec, workspace: Workspace) -> str:
        place, owner = workspace.merged, workspace.uid
        container = Container.start(spec, workspace=place, overlay=workspace.volume, owner=owner)
        self._container = container
        try:
            if self._killed.is_set():  # Just before there was something to end.
                container.kill()
            workspace.mount()
            if workspace.mounting and not container.shell.sees(place):
                raise WorkspaceError("the set-up container doesn't see the workspace", hint="dreamdock doctor")
            return _carry_out(container.shell, spec)
        finally:
            self._container = None
            container.close()


def _name(spec: SetupSpec, base: Base, uid: int) -> str:
    told = [base.project, base.commit, spec.image, list(spec.commands), spec.network, uid]
    told += [] if may_mount() else ["by the engine"]  # Its overlays read other marks.
    return hashlib.sha256(json.dumps(told).encode("utf-8", "surrogatepass")).hexdigest()[:16]  # Tells a run nothing.


def _carry_out(shell: Shell | ExecShell, spec: SetupSpec) -> str:
    """Run the commands and return their log. Raises SetupFailed."""
    shell.exec(["mkdir", "-p", SETUP_TMP])
    if spec.ca_bundle is not None:
        shell.write(SETUP_CA, _certificates(spec.ca_bundle))
    deadline = time.monotonic() + spec.seconds
    log = ""
    for command in spec.commands:
        result = shell.run(command, timeout_s=max(deadline - time.monotonic(), 0.001))
        log = (log + _told(command, result))[-LOG_CHARACTERS:]
        if result.exit_code != 0 or result.timed_out:
            lines = [one_line(line)[:_LINE_CHARACTERS] for line in _text(result).splitlines() if line.strip()]
            raise SetupFailed(
                f"a set-up command failed: {one_line(command)}",
                command=command,
                exit_code_inside=None if result.timed_out else result.exit_code,
                log=log,
                cause=": ".join(filter(None, (_how(result, spec.seconds), " | ".join(lines[-_LAST_LINES:])))),
            )
    return log


def _certificates(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_CA_BYTES)
    except OSError as error:
        raise WorkspaceError(
            f"the certificates for set-up can't be read: {path}", cause=str(error), hint="mend setup.ca_bundle"
        ) from error


def _told(command: str, result: CommandResult) -> str:
    text = _text(result)
    cut = text[-_COMMAND_CHARACTERS:]
    more = "" if len(cut) == len(text) else f"[{len(text) - len(cut)} characters before this]\n"
    end = "" if not cut or cut.endswith("\n") else "\n"
    return f"$ {command}\n{more}{cut}{end}[{_how(result)}, {result.duration_s:.1f} s]\n"


def _how(result: CommandResult, seconds: float | None = None) -> str:
    if result.timed_out:
        return "out of time" if seconds is None else f"set-up took longer than {seconds:g} s"
    return f"exit code {result.exit_code}" if result.signal is None else f"ended by signal {result.signal}"


def _text(result: CommandResult) -> str:
    return result.output.decode("utf-8", "backslashreplace")


def _clear(reserved: Path) -> None:
    """Leave only HOME of what is ours. Nothing runs there any more, but what did was a stranger's."""
    if reserved.is_symlink() or not reserved.is_dir():
        remove_tree(reserved)
        return
    for item in reserved.iterdir():
        if item.name != "home" or item.is_symlink() or not item.is_dir():
            remove_tree(item)
