"""Checkpoints: the workspace's tree at the end of a step, as a commit in the store."""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox import packs
from sandbox.errors import RevisionNotFound, WorkspaceError
from sandbox.fold import Folder, Inexact
from sandbox.ignores import Ignores
from sandbox.installs import Installs
from sandbox.objects import EMPTY_TREE
from sandbox.rewind import Rewound, rewind
from sandbox.trees import COMPARED, patch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.objects import Objects
    from sandbox.spec import FileChange, Install
    from sandbox.store import Store
    from sandbox.workspace import Workspace

_WHO = "DreamDock <dreamdock@localhost>"
_TREE = re.compile(rb"tree ([0-9a-f]{40})\n")


@dataclass(frozen=True)
class Fold:
    """A tree in the store, and what of the workspace isn't in it."""

    tree: str
    inexact: tuple[Inexact, ...]


@dataclass(frozen=True)
class Checkpoint:
    """One step's end: the commit, its tree, and how it differs from the checkpoint before.

    `patch` is what `git apply` takes, nothing where it would be too large; `inexact` names what the tree doesn't hold.
    `shell` is a blob: the working directory and declarations that the next command starts from, "" where no command has
    run yet. `installs` are the dependencies that came and went, `unlooked` names what wasn't looked through for them.
    """

    commit: str
    tree: str
    changes: tuple[FileChange, ...]
    patch: bytes
    inexact: tuple[Inexact, ...]
    shell: str = ""
    installs: tuple[Install, ...] = ()
    unlooked: tuple[str, ...] = ()


class Checkpointer:
    """Makes the checkpoints of one open workspace, one pack each. Not for several threads.

    `parent` is the last checkpoint of the run, on a workspace that was created from its tree; else the base.
    With a `run_id` they are kept, and `parent` is, until that run is dropped from the store.
    """

    def __init__(self, store: Store, workspace: Workspace, *, parent: str | None = None, run_id: str = "") -> None:
        base = workspace.base
        self._git_dir = git_dir = store.git_dir(base.project)
        self._objects = store.objects(base.project)
        self._workspace = workspace
        self._parent = parent or base.commit
        self._tree = self.tree_of(self._parent)
        self._shell = ""
        self._ignores = Ignores(workspace.pristine.rules, git_dir, workspace.room / "rules")
        self._folder = Folder(self._objects, base.tree, workspace.upper, self._ignores, workspace.marks)
        below = workspace.layer.installs if workspace.layer else ()
        self._installs = Installs(self._objects, workspace.upper, below, marks=workspace.marks)
        self._run_id = run_id
        if run_id and not packs.is_kept(git_dir, run_id):
            packs.keep(self._objects, git_dir, run_id, self._parent)

    def limit(self, most_bytes: int) -> None:
        """Let checkpoints from now on add so many bytes to the store, before compression; else they raise QuotaFull."""
        self._objects.limit(most_bytes)

    def fold(self) -> Fold:
        """Store the workspace's tree as it is now and return it; no process may be running in it.

        Raises WorkspaceError, DiskFull, WorkspaceFull.
        """
        with self._all_or_nothing():
            return self._fold()

    def checkpoint(self, *, note: str, held: AbstractContextManager[bytes] | None = None) -> Checkpoint:
        """Commit the workspace as it is now on top of the last checkpoint.

        `note` is the commit's message: it carries the journal's head. `held` lets nothing run in the workspace while it
        is read, and says what the shell's state is then; see `Shell.held`.
        Raises WorkspaceError, DiskFull, WorkspaceFull; the checkpoint before stays the last one.
        """
        with self._all_or_nothing():
            with held or nullcontext(b"") as shell:
                fold = self._fold()
                diff, changes = patch(self._objects, self._tree, fold.tree, most=COMPARED)
                installs, unlooked = self._installs.step(self._folder.left_out, self._tree, fold.tree, changes)
            commit = self._commit(fold.tree, note)
            state = self._objects.put(b"blob", shell, present=self._shell) if shell else ""
            kept = self._kept(commit, state)
        if kept is not None:
            packs.advance(self._objects, self._git_dir, self._run_id, kept)
        self._installs.keep()
        self._parent, self._tree, self._shell = commit, fold.tree, state
        return Checkpoint(commit, fold.tree, changes, diff, fold.inexact, state, installs, unlooked)

    @property
    def objects(self) -> Objects:
        """Where it reads and stores; for the thread that makes the checkpoints."""
        return self._objects

    def diff(self, old: str, new: str) -> tuple[bytes, tuple[FileChange, ...]]:
        """Return what differs between two trees of the project; see `trees.patch`. Raises WorkspaceError."""
        return patch(self._objects, old, new, most=COMPARED)

    def rewind(self, commit: str) -> Rewound:
        """Take a workspace in which nothing runs to a checkpoint of its project; the next one goes on top of that.

        Raises RevisionNotFound, before anything has changed; WorkspaceError, DiskFull: then it can only be removed.
        """
        tree = self.tree_of(commit)
        notes = rewind(self._workspace, self._objects, self._ignores, tree)
        self._folder.forget()
        self._installs.forget()
        self._parent, self._tree = commit, tree
        return Rewound(commit, tree, notes)

    def tree_of(self, commit: str) -> str:
        """Return a checkpoint's tree. Raises RevisionNotFound."""
        try:
            found = _TREE.match(self._objects.read(commit))
        except WorkspaceError as error:
            raise RevisionNotFound(f"the store has no checkpoint {commit}", cause=error.cause) from error
        if found is None:
            raise RevisionNotFound(f"{commit} is no checkpoint")
        return found[1].decode()

    def shell_of(self, oid: str) -> bytes:
        """Return the shell's state that a checkpoint names, nothing for "". Raises WorkspaceError."""
        return self._objects.read(oid) if oid else b""

    def _fold(self) -> Fold:
        self._workspace.require_within()
        tree, inexact = self._folder.fold()
        self._workspace.require_kept()
        if tree == EMPTY_TREE:
            self._objects.put(b"tree", b"")
        return Fold(tree, inexact)

    def _commit(self, tree: str, note: str) -> str:
        stamp = f"{_WHO} {int(time.time())} +0000"
        text = f"tree {tree}\nparent {self._parent}\nauthor {stamp}\ncommitter {stamp}\n\n{note}\n"
        return self._objects.put(b"commit", text.encode("utf-8", "backslashreplace"))

    def _kept(self, commit: str, state: str) -> packs.Link | None:
        """Put what will keep the checkpoint: in the same pack, which costs a step next to nothing."""
        blobs = [state] if state else []
        return packs.link(self._objects, self._git_dir, self._run_id, commit, blobs) if self._run_id else None

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Write what was put meanwhile; after a failure nothing of it is remembered, and the next try starts afresh."""
        try:
            yield
            self._objects.flush()
        except BaseException:
            self._objects.forget()
            self._folder.forget()
            raise
