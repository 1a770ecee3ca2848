"""The one way to a sandbox: a workspace, a container over it and its checkpoints, opened and closed together."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sandbox.checkpoints import Checkpointer
from sandbox.container import Container
from sandbox.mounts import share
from sandbox.spec import JOB_UID
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base, CommandResult, SandboxSpec
    from sandbox.store import Store


class Sandbox:
    """An open sandbox. One thread uses it; `kill` may be called from any other."""

    def __init__(self, container: Container, checkpointer: Checkpointer) -> None:
        self._container = container
        self._checkpointer = checkpointer

    @property
    def container_id(self) -> str:
        """The engine's id of the container."""
        return self._container.id

    @property
    def image_id(self) -> str:
        """The image that it was started from, by content: `sha256:` and 64 hex digits."""
        return self._container.image_id

    def run(self, command: str, *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a command of the resident shell; see `Shell.run`."""
        return self._container.shell.run(command, timeout_s=timeout_s, stdin=stdin)

    def exec(self, argv: Sequence[str], *, timeout_s: float | None = None, stdin: bytes = b"") -> CommandResult:
        """Run a program at the top of the workspace, without the shell's state; see `Shell.exec`."""
        return self._container.shell.exec(argv, timeout_s=timeout_s, stdin=stdin)

    def read(self, path: str, *, limit: int) -> bytes:
        """Return a file's content, at most `limit` bytes; see `Shell.read`."""
        return self._container.shell.read(path, limit=limit)

    def write(self, path: str, data: bytes) -> None:
        """Replace or make a file; see `Shell.write`."""
        self._container.shell.write(path, data)

    def checkpoint(self, *, note: str) -> Checkpoint:
        """Commit the workspace as it is, with every process of the job stopped meanwhile.

        `note` is the commit's message. Raises WorkspaceError, DiskFull, ChannelLost; then the checkpoint before stays
        the last one.
        """
        with self._container.shell.held():
            return self._checkpointer.checkpoint(note=note)

    def kill(self) -> None:
        """End the container at once, from any thread: a call that waits raises ChannelLost."""
        self._container.kill()


@contextmanager
def open_sandbox(
    spec: SandboxSpec, store: Store, base: Base, root: Path, *, tree: str | None = None
) -> Iterator[Sandbox]:
    """Open a sandbox on a commit, or on `tree` in place of its tree; when it's closed only its checkpoints stay.

    `root` is the directory of all workspaces. The first checkpoint is compared with `tree`.
    Raises EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused, WorkspaceError, DiskFull.
    """
    workspace = Workspace.create(store, base, root, name=secrets.token_hex(8), uid=JOB_UID, tree=tree)
    try:
        share(workspace.merged)
        checkpointer = Checkpointer(store, workspace, parent=_parent(store, base, tree))
        container = Container.start(spec, workspace=workspace.merged)
        try:
            yield Sandbox(container, checkpointer)
        finally:
            container.close()
    finally:
        workspace.remove()


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
