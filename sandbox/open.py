"""The one way to a sandbox: a workspace, a container over it and its checkpoints, opened and closed together."""

from __future__ import annotations

import logging
import secrets
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from sandbox import engine
from sandbox.checkpoints import Checkpointer
from sandbox.container import Container
from sandbox.errors import ChannelLost, SandboxError, WorkspaceError
from sandbox.merging import Merged, before, merging
from sandbox.mounts import may_mount
from sandbox.pristine import pristine
from sandbox.putting import as_put, put
from sandbox.slot import Slot
from sandbox.spec import JOB_UID
from sandbox.workspace import Workspace, lower_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sandbox.checkpoints import Checkpoint
    from sandbox.layer import Layer
    from sandbox.objects import Entry
    from sandbox.pool import Claimed, Pool
    from sandbox.rewind import Rewound
    from sandbox.spec import BackgroundProcess, Base, CommandResult, FileChange, SandboxSpec
    from sandbox.store import Store


_log = logging.getLogger(__name__)


class Sandbox:
    """An open sandbox. One thread uses it; `kill` may be called from any other."""

    def __init__(
        self,
        container: Container,
        workspace: Workspace,
        checkpointer: Checkpointer,
        again: Callable[[], Container] | None = None,
    ) -> None:
        """Take the parts. `again` starts another container where only that shows the workspace anew."""
        self._container = container
        self._workspace = workspace
        self._checkpointer = checkpointer
        self._again = again
        self._replacing = threading.Lock()
        self._killed = self._paused = False

    @property
    def container_id(self) -> str:
        """The engine's id of the container; a rewind may replace it where the engine mounts the workspace."""
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

        `note` is the commit's message. Raises WorkspaceError, DiskFull, ChannelLost, and WorkspaceFull where the engine
        mounts the workspace and more lies there than may; then the checkpoint before stays the last one.
        """
        return self._checkpointer.checkpoint(note=note, held=self._container.shell.held())

    def snapshot(self) -> str:
        """Store the workspace's tree as it is and return it, with every process stopped meanwhile.

        The next checkpoint is still compared with the last one. Raises WorkspaceError, DiskFull, ChannelLost.
        """
        with self._container.shell.held():
            return self._checkpointer.fold().tree

    def diff(self, old: str, new: str) -> tuple[bytes, tuple[FileChange, ...]]:
        """Return how two trees of the project differ: a patch, nothing where it's too large, and the list of files."""
        return self._checkpointer.diff(old, new)

    def merge(self, base: str, theirs: str) -> Merged:
        """Bring what differs between two trees of the project into the workspace: all of it, or nothing.

        Processes run on meanwhile. Raises WorkspaceError, before anything has changed; ChannelLost, also where a part
        is done that can't be taken back.
        """
        ours, objects, shell = self.snapshot(), self._checkpointer.objects, self._container.shell
        found = merging(objects, base, ours, theirs)
        if found.conflicts or not found.edits:
            return Merged(found.conflicts)
        try:
            put(shell, objects, found.edits)
            failure = "" if as_put(objects, self.snapshot(), found.edits) else "something wrote to the same files"
        except WorkspaceError as error:
            failure = ": ".join(filter(None, (error.message, error.cause)))
        if failure:
            self._take_back(ours, before(objects, ours, found.edits))
        return Merged(failure=failure)

    def _take_back(self, tree: str, edits: Mapping[bytes, Entry | None]) -> None:
        """Have paths as they were in a tree. Raises ChannelLost where that fails."""
        objects = self._checkpointer.objects
        try:
            put(self._container.shell, objects, edits)
            if as_put(objects, self.snapshot(), edits):
                return
            cause = f"it isn't {tree} again"
        except WorkspaceError as error:
            cause = error.message
        raise ChannelLost("the workspace is half merged", cause=cause)

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
            if self._again is None:
                self._container.shell.reset(state)
                rewound = self._checkpointer.rewind(checkpoint)
                _require_seen(self._container, self._workspace)
            else:
                self._container.close()
                rewound = self._checkpointer.rewind(checkpoint)
                self._replace(self._again(), state)
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
        with self._replacing:
            self._killed = True
            container = self._container
        container.kill()

    def _replace(self, container: Container, state: bytes) -> None:
        with self._replacing:
            self._container, killed, paused = container, self._killed, self._paused
        if killed:
            raise ChannelLost("the sandbox is gone", cause="it was ended on request")
        if paused:
            container.pause()
        if state:
            container.shell.reset(state)

    def pause(self) -> None:
        """Freeze every process of the container, from any thread; see `Container.pause`."""
        self._pausing(wanted=True).pause()

    def resume(self) -> None:
        """Let them run again."""
        self._pausing(wanted=False).resume()

    def _pausing(self, *, wanted: bool) -> Container:
        """Return the container of now; one that takes its place does as is wanted."""
        with self._replacing:
            self._paused = wanted
            return self._container


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
    run_id: str = "",
) -> Iterator[Sandbox]:
    """Open a sandbox on a commit, or on `tree` in place of its tree; when it's closed only its checkpoints stay.

    `root` is the directory of all workspaces. The first checkpoint is compared with `tree`, the first command starts
    from `shell` (see `Checkpoint.shell`). `layer` is what set-up made (see `SetUp.layer`); the caller holds it.
    What it starts from and its checkpoints are kept in the store until the run of `run_id` is dropped there.
    A container of `pool` is taken where it has one of this image and policy ready, else one is started. Where the
    engine mounts the workspace, one is ready for the commit and the layer, and none for another `tree`.
    Raises EngineUnavailable, ImageMissing, ImageUnusable, PolicyRefused, WorkspaceError, DiskFull.
    """
    opening = _Opening(spec, store, base, root, tree, shell, layer, run_id)
    box = (opening.ahead(pool) if pool is not None else None) or opening.cold()
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
    run_id: str

    def cold(self) -> Sandbox:
        """Start a container on an empty room: as which of the host's users it runs is known then."""
        slot = Slot.make(self.root, secrets.token_hex(8), size_mb=self.spec.limits.workspace_mb)
        started: list[Container] = []
        workspace: Workspace | None = None
        try:
            if may_mount():
                started.append(Container.start(self.spec, workspace=slot.merged))
                workspace = self._prepared(slot, started[0].uid)
                return self._joined(started[0], workspace)
            workspace = self._prepared(slot, self._uid)
            started.append(self._over(workspace))
            return self._joined(started[0], workspace)
        except BaseException:
            with suppress(SandboxError):  # The first error is the one to tell.
                for container in started:
                    container.close()
            with suppress(SandboxError):
                slot.remove()
            if workspace is not None:
                workspace.pristine.held.release()
            raise

    def ahead(self, pool: Pool) -> Sandbox | None:
        """Claim a container that was started ahead; None where there is none."""
        if may_mount():
            claimed = pool.claim(self.spec)
            return self._warm(claimed) if claimed is not None else None
        if self.tree not in (None, self.base.tree):  # Its changes would have to lie there since before the start.
            return None
        below = pristine(self.store, self.base, self.root / "pristine", self._uid)
        try:  # Held by us before the pool may give it up.
            claimed = pool.claim(self.spec, lower_of(below, self.layer))
            return self._warm(claimed) if claimed is not None else None
        finally:
            below.held.release()

    def _warm(self, claimed: Claimed) -> Sandbox | None:
        """Use a container that was started ahead; None where something is wrong with it: nothing of it stays then."""
        workspace: Workspace | None = None
        try:
            workspace = self._prepared(claimed.slot, claimed.container.uid)
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

    @cached_property
    def _uid(self) -> int:
        """The host's user that the job will be; asking takes 20 ms."""
        return JOB_UID + engine.shift()

    def _prepared(self, slot: Slot, uid: int) -> Workspace:
        return Workspace.prepare(
            self.store,
            self.base,
            self.root,
            name=slot.room.name,
            uid=uid,
            tree=self.tree,
            layer=self.layer,
            slot=slot,
            size_mb=self.spec.limits.workspace_mb,
        )

    def _over(self, workspace: Workspace) -> Container:
        """Start a container over a workspace that the engine mounts."""
        place, owner = workspace.merged, workspace.uid
        return Container.start(self.spec, workspace=place, overlay=workspace.volume, owner=owner)

    def _joined(self, container: Container, workspace: Workspace) -> Sandbox:
        """Let the container see the workspace."""
        parent = _parent(self.store, self.base, self.tree)
        checkpointer = Checkpointer(self.store, workspace, parent=parent, run_id=self.run_id)
        checkpointer.limit(self.spec.limits.checkpoints_mb << 20)
        if state := checkpointer.shell_of(self.shell):
            container.shell.reset(state)
        if not workspace.mounting:
            return Sandbox(container, workspace, checkpointer, partial(self._over, workspace))
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
