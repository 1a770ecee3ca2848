"""The one way to a sandbox: a workspace, a container over it and its checkpoints, opened and closed together."""

from __future__ import annotations

import logging
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.checkpoints import Checkpointer
from sandbox.container import Container
from sandbox.errors import SandboxError, WorkspaceError
from sandbox.spec import JOB_UID
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sandbox.checkpoints import Checkpoint
    from sandbox.layer import Layer
    from sandbox.pool import Claimed, Pool
    from sandbox.rewind import Rewound
    from sandbox.slot import Slot
    from sandbox.spec import BackgroundProcess, Base, CommandResult, SandboxSpec
    from sandbox.store import Store


_log = logging.getLogger(__name__)


class Sandbox:
    """An open sandbox. One thread uses it; `kill` may be called from any other."""

    def __init__(self, container: Container, workspace: Workspace, checkpointer: Checkpointer) -> None:
        self._container = container
        self._workspace = workspace
        self._checkpointer = checkpointer

    @property
    def container_id(self) -> str:
        """The engine's id of the container."""
        return self._container.id

    @property
    def image_id(self) -> str:
        """The image that it was started from, by content: `sha256:` and 64 hex digits."""
        return self._container.image_id

    @property
    def fallback(self) -> str:
        """Why and how commands don't go through the resident runner; empty where they do."""
        return self._container.fallback

    def run(self, command: str, *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a command of the resident shell; see `Shell.run`."""
        return self._container.shell.run(command, timeout_s=timeout_s, stdin=stdin)

    def exec(self, argv: Sequence[str], *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a program at the top of the workspace, without the shell's state; see `Shell.exec`."""
        return self._container.shell.exec(argv, timeout_s=timeout_s, stdin=stdin)

    def background(self) -> tuple[BackgroundProcess, ...]:
        """Return what commands left running; see `Shell.background`."""
        return self._container.shell.background()

    def stop(self, pid: int) -> bool:
        """End a process that was left running, with its descendants; see `Shell.stop`."""
        return self._container.shell.stop(pid)

    def read(self, path: str, *, limit: int, offset: int | None = None) -> bytes:
        """Return a file's content, or a page of it, at most `limit` bytes; see `Shell.read`."""
        return self._container.shell.read(path, limit=limit, offset=offset)

    def write(self, path: str, data: bytes) -> None:
        """Replace or make a file; see `Shell.write`."""
        self._container.shell.write(path, data)

    def checkpoint(self, *, note: str) -> Checkpoint:
        """Commit the workspace as it is, with every process of the job stopped meanwhile.

        `note` is the commit's message. Raises WorkspaceError, DiskFull, ChannelLost; then the checkpoint before stays
        the last one.
        """
        return self._checkpointer.checkpoint(note=note, held=self._container.shell.held())

    def rewind(self, checkpoint: str, *, shell: str = "") -> Rewound:
        """Go back to a checkpoint of the same project: its files, and the working directory and environment of `shell`.

        `checkpoint` is its commit, `shell` its state of the shell; without one the next command starts afresh. Every
        process is ended, /tmp emptied, and what the base's rules ignore survives. The next checkpoint goes on top.
        Raises RevisionNotFound, before anything has changed; ChannelLost, WorkspaceError, DiskFull: then the container
        has been ended, and the checkpoints are as they were.
        """
        self._checkpointer.tree_of(checkpoint)
        state = self._checkpointer.shell_of(shell)
        try:
            self._container.shell.reset(state)
            rewound = self._checkpointer.rewind(checkpoint)
            _require_seen(self._container, self._workspace)
        except BaseException:
            with suppress(SandboxError):  # The first error is the one to tell.
                self._container.kill()
            raise
        return rewound

    def close(self) -> None:
        """Remove the container and the workspace. Raises EngineUnavailable, WorkspaceError."""
        try:
            self._container.close()
        finally:
            self._workspace.remove()

    def kill(self) -> None:
        """End the container at once, from any thread: a call that waits raises ChannelLost."""
        self._container.kill()

    def pause(self) -> None:
        """Freeze every process of the container, from any thread; see `Container.pause`."""
        self._container.pause()

    def resume(self) -> None:
        """Let them run again."""
        self._container.resume()


@contextmanager
def open_sandbox(
    spec: SandboxSpec,
    store: Store,
    base: Base,
    root: Path,
    *,
    tree: str | None = None,
    shell: str = "",
    layer: Layer | None = None,
    pool: Pool | None = None,
) -> Iterator[Sandbox]:
    """Open a sandbox on a commit, or on `tree` in place of its tree; when it's closed only its checkpoints stay.

    `root` is the directory of all workspaces. The first checkpoint is compared with `tree`, the first command starts
    from `shell` (see `Checkpoint.shell`). `layer` is what set-up made (see `SetUp.layer`); the caller holds it.
    A container of `pool` is taken where it has one of this image and policy ready, else one is started.
    Raises EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused, WorkspaceError, DiskFull.
    """
    opening = _Opening(spec, store, base, root, tree, shell, layer)
    claimed = pool.claim(spec) if pool is not None else None
    box = opening.warm(claimed) if claimed is not None else None
    box = box or opening.cold()
    try:
        yield box
    finally:
        try:
            box.close()
        except WorkspaceError as error:  # The container is gone, the work isn't: what is left, the keeper finds.
            _log.warning("a workspace can't be removed: %s (%s)", error.message, error.cause)


@dataclass(frozen=True)
class _Opening:
    """What a sandbox is opened on."""

    spec: SandboxSpec
    store: Store
    base: Base
    root: Path
    tree: str | None
    shell: str
    layer: Layer | None

    def cold(self) -> Sandbox:
        workspace = self._prepared(None)
        container: Container | None = None
        try:
            container = Container.start(self.spec, workspace=workspace.merged)
            return self._joined(container, workspace)
        except BaseException:
            with suppress(SandboxError):  # The first error is the one to tell.
                if container is not None:
                    container.close()
            workspace.remove()
            raise

    def warm(self, claimed: Claimed) -> Sandbox | None:
        """Use a container that was started ahead; None where something is wrong with it: nothing of it stays then."""
        workspace: Workspace | None = None
        try:
            workspace = self._prepared(claimed.slot)
            return self._joined(claimed.container, workspace)
        except BaseException as error:
            with suppress(SandboxError):  # What is left, the keeper finds.
                claimed.remove()
            if workspace is not None:
                workspace.pristine.held.release()
            if not isinstance(error, SandboxError):
                raise
            _log.warning("a container that was started ahead can't be used: %s (%s)", error.message, error.cause)
            return None

    def _prepared(self, slot: Slot | None) -> Workspace:
        return Workspace.prepare(
            self.store,
            self.base,
            self.root,
            name=secrets.token_hex(8),
            uid=JOB_UID,
            tree=self.tree,
            layer=self.layer,
            slot=slot,
        )

    def _joined(self, container: Container, workspace: Workspace) -> Sandbox:
        """Let the container see the workspace."""
        checkpointer = Checkpointer(self.store, workspace, parent=_parent(self.store, self.base, self.tree))
        if state := checkpointer.shell_of(self.shell):
            container.shell.reset(state)
        workspace.mount()
        _require_seen(container, workspace)
        return Sandbox(container, workspace, checkpointer)


def _require_seen(container: Container, workspace: Workspace) -> None:
    if not container.shell.sees(workspace.merged):
        cause = "what is mounted after a container's start doesn't reach it"
        raise WorkspaceError("the container doesn't see the workspace", cause=cause, hint="dreamdock doctor")


def _parent(store: Store, base: Base, tree: str | None) -> str:
    """Return the commit that the first checkpoint goes on: the base, or one that holds the tree to go on from."""
    if tree is None or tree == base.tree:
        return base.commit
    who = "DreamDock <dreamdock@localhost> 0 +0000"
    text = f"tree {tree}\nparent {base.commit}\nauthor {who}\ncommitter {who}\n\nThe tree that a sandbox started from\n"
    objects = store.objects(base.project)
    commit = objects.put(b"commit", text.encode())
    objects.flush()
    return commit
