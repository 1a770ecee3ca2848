"""Checkpoints: the workspace's tree at the end of a step, as a commit in the store."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.errors import RevisionNotFound, WorkspaceError
from sandbox.fold import Folder, Inexact
from sandbox.ignores import Ignores
from sandbox.objects import EMPTY_TREE
from sandbox.trees import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.spec import FileChange
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

    `patch` is what `git apply` takes; `inexact` names what the tree doesn't hold.
    """

    commit: str
    tree: str
    changes: tuple[FileChange, ...]
    patch: bytes
    inexact: tuple[Inexact, ...]


class Checkpointer:
    """Makes the checkpoints of one open workspace, one pack each. Not for several threads.

    `parent` is the last checkpoint of the run, on a workspace that was created from its tree; else the base.
    """

    def __init__(self, store: Store, workspace: Workspace, *, parent: str | None = None) -> None:
        base = workspace.base
        git_dir = store.git_dir(base.project)
        self._objects = store.objects(base.project)
        self._base = base
        self._parent = parent or base.commit
        self._tree = self._tree_of(self._parent)
        ignores = Ignores(workspace.pristine.rules, git_dir, workspace.room / "rules")
        self._folder = Folder(self._objects, base.tree, workspace.upper, ignores)

    def fold(self) -> Fold:
        """Store the workspace's tree as it is now and return it; no process may be running in it.

        Raises WorkspaceError, DiskFull.
        """
        with self._all_or_nothing():
            return self._fold()

    def checkpoint(self, *, note: str) -> Checkpoint:
        """Commit the workspace as it is now on top of the last checkpoint; no process may be running in it.

        `note` is the commit's message: it carries the journal's head.
        Raises WorkspaceError, DiskFull; the checkpoint before stays the last one.
        """
        with self._all_or_nothing():
            fold = self._fold()
            commit = self._commit(fold.tree, note)
            diff, changes = patch(self._objects, self._tree, fold.tree)
        self._parent, self._tree = commit, fold.tree
        return Checkpoint(commit, fold.tree, changes, diff, fold.inexact)

    def _fold(self) -> Fold:
        tree, inexact = self._folder.fold()
        if tree == EMPTY_TREE:
            self._objects.put(b"tree", b"")
        return Fold(tree, inexact)

    def _commit(self, tree: str, note: str) -> str:
        stamp = f"{_WHO} {int(time.time())} +0000"
        text = f"tree {tree}\nparent {self._parent}\nauthor {stamp}\ncommitter {stamp}\n\n{note}\n"
        return self._objects.put(b"commit", text.encode("utf-8", "backslashreplace"))

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

    def _tree_of(self, commit: str) -> str:
        try:
            found = _TREE.match(self._objects.read(commit))
        except WorkspaceError as error:
            raise RevisionNotFound(f"the store has no checkpoint {commit}", cause=error.cause) from error
        if found is None:
            raise RevisionNotFound(f"{commit} is no checkpoint")
        return found[1].decode()
