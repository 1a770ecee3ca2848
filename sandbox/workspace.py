"""A run's workspace: an overlay with a cached pristine checkout below, and above it all that the run changed.

<root>/pristine/<hash>/        the checkouts, shared
<root>/layers/<hash>/          what set-up made, shared; above the checkout
<root>/open/<name>/            0700, a mount of its own without set-uid, devices or programs
    lock                       held by the process that has it: tells when that was killed
    labels                     whose it is, where its container was started before that was known
    disk/                      the run's own disk, of bounded size, mounted
    disk/layer/upper/, work/   the overlay's own
    disk/next-<random>/, past/ while the layer is being replaced: the one to come, the one that was
    engine/                    files that Podman is told by name: in memory
    lower/                     what lies below the changes, mounted now and then
    rules/                     the base's ignore files, once they are asked
    merged/                    what the container sees as /workspace: a slot, and on it the overlay
"""

from __future__ import annotations

import errno
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from sandbox.cache import copy_tree, disk_bytes, locked, remove_tree
from sandbox.disk import unmount_disk
from sandbox.errors import DiskFull, WorkspaceError, WorkspaceFull
from sandbox.git import printable
from sandbox.materialise import TRUSTED, USER, materialise
from sandbox.mounts import may_mount, mount_overlay, require_written, unmount
from sandbox.objects import disk_error
from sandbox.pristine import Pristine, pristine
from sandbox.slot import Slot, disk, is_abandoned, make_disk, remove_room
from sandbox.spec import Limits
from sandbox.upper import make_home, make_upper, take, upper_of, volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.layer import Layer
    from sandbox.materialise import Marks
    from sandbox.objects import Objects
    from sandbox.spec import Base
    from sandbox.store import Store

SIZE_MB = Limits().workspace_mb
"""Size of a workspace's own disk in MiB, where the caller names none."""

_FREE = "free some space in the state folder, then try again"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Workspace:
    """A mounted workspace: `merged` is what the container gets, `upper` is what checkpoints read."""

    base: Base
    room: Path
    pristine: Pristine
    lock: IO[str]
    uid: int
    size_mb: int
    layer: Layer | None = None
    mounting: bool = True
    """Whether this process mounts it; else the engine does, by `volume`, for as long as a container lives."""
    clearing: list[threading.Thread] = field(default_factory=list)

    @property
    def merged(self) -> Path:
        """The directory that shows base and changes as one."""
        return self.room / "merged"

    @property
    def upper(self) -> Path:
        """The directory that holds the changes."""
        return upper_of(self.room)

    @property
    def _disk(self) -> Path:
        return disk(self.room)

    @classmethod
    def create(
        cls,
        store: Store,
        base: Base,
        root: Path,
        *,
        name: str,
        uid: int,
        tree: str | None = None,
        layer: Layer | None = None,
        size_mb: int = SIZE_MB,
    ) -> Workspace:
        """Make a workspace as `prepare` does, and mount it."""
        workspace = cls.prepare(store, base, root, name=name, uid=uid, tree=tree, layer=layer, size_mb=size_mb)
        try:
            workspace.mount()
        except BaseException:
            with suppress(WorkspaceError):  # The first error is the one to tell.
                workspace.remove()
            raise
        return workspace

    @classmethod
    def prepare(
        cls,
        store: Store,
        base: Base,
        root: Path,
        *,
        name: str,
        uid: int,
        tree: str | None = None,
        layer: Layer | None = None,
        slot: Slot | None = None,
        size_mb: int = SIZE_MB,
    ) -> Workspace:
        """Make a workspace at the base's tree, or at `tree`; everything in it belongs to `uid`.

        It has a disk of its own of `size_mb` MiB: all that changes in it, HOME included, takes no more.

        `layer` is what set-up made for this base, below the same `root`: it shows too, and its holder keeps it.
        A container that is started on `merged` sees it as soon as it is mounted, and again when it is replaced.
        What an earlier process left under the same name is removed first.
        With a `slot` of this root it's made there, whatever `name` is, and on failure the slot stays the caller's. One
        that has its upper layer already, as a pool makes them for the base's tree, is taken as it is.
        Raises WorkspaceError, DiskFull, WorkspaceFull; then nothing of it stays.
        """
        if slot is None:
            cls.discard(root, name)
        # The mount table names directories relative to the root, and overlays need the two to be one path.
        root = root.resolve()
        lower = pristine(store, base, root / "pristine", uid)
        own = slot
        try:
            own = own or Slot.make(root, name, size_mb=size_mb)
            workspace = cls(base, own.room, lower, own.lock, uid, size_mb, layer=layer, mounting=may_mount())
            if not workspace.upper.is_dir():
                workspace._fill(store.objects(base.project), tree or base.tree)
        except BaseException as error:
            if own is not None and slot is None:
                with suppress(WorkspaceError):  # The first error is the one to tell.
                    own.remove()
            lower.held.release()
            if isinstance(error, OSError):
                raise disk_error(error, "making the workspace") from error
            raise
        return workspace

    @classmethod
    def discard(cls, root: Path, name: str) -> None:
        """Unmount and delete what is left of a workspace by that name. Raises WorkspaceError when it's in use."""
        if not _NAME.fullmatch(name):
            raise WorkspaceError(f"{printable(name)!r} can't name a workspace", hint="use letters, digits, - and _")
        remove_room(root.resolve() / "open" / name)

    @staticmethod
    def sweep(root: Path) -> list[str]:
        """Remove what killed workers left below a root and return its names; what is still in use stays."""
        folder = root.resolve() / "open"
        if not folder.is_dir():
            return []
        removed = []
        with locked(folder.with_name("open.lock")):
            for room in sorted(item for item in folder.iterdir() if item.is_dir() and is_abandoned(item)):
                with suppress(WorkspaceError):
                    remove_room(room)
                    removed.append(room.name)
        return removed

    def mount(self) -> None:
        """Show the workspace, here and in the container. Raises WorkspaceError."""
        if not self.mounting:
            return
        place = f"open/{self.room.name}"
        mount_overlay(
            self.room.parent.parent,
            lower=self._lower,
            upper=f"{place}/disk/layer/upper",
            work=f"{place}/disk/layer/work",
            merged=f"{place}/merged",
        )

    @property
    def volume(self) -> str:
        """The options of the engine's mount; empty where this process mounts. Raises WorkspaceError."""
        return "" if self.mounting else volume(self.room, self._lower)

    @property
    def marks(self) -> Marks:
        """How the overlay marks what it stores."""
        return TRUSTED if self.mounting else USER

    @contextmanager
    def lower(self) -> Iterator[Path]:
        """Show what lies below the changes while the block runs. Raises OSError, WorkspaceError."""
        if self.layer is None or not self.mounting:  # Then nothing was moved, and nobody looks.
            yield self.pristine.tree
            return
        place = self.room / "lower"
        place.mkdir(exist_ok=True)
        mount_overlay(self.room.parent.parent, lower=self._lower, merged=f"open/{self.room.name}/lower")
        try:
            yield place
        finally:
            unmount(place)

    @property
    def _lower(self) -> str:
        return lower_of(self.pristine, self.layer)

    def require_within(self) -> None:
        """Raise WorkspaceFull where the changes take more than their limit: only a disk of their own keeps them in it.

        Takes as long as listing them.
        """
        if self.mounting:
            return
        used = disk_bytes(self.upper)
        if used > self.size_mb << 20:
            raise self._full("the run's workspace takes too much", f"it takes {used >> 20} MiB, ")

    def require_kept(self) -> None:
        """Raise DiskFull where something that was written to the workspace never got to the host's disk.

        The workspace shows it then for as long as it's in memory, and something else afterwards.
        """
        self._require_kept(self.merged)

    def _require_kept(self, place: Path) -> None:
        try:
            require_written(place)
        except OSError as error:
            cause = f"the host's disk was full, or failed, while the run's own was written to: {error.strerror}"
            raise DiskFull("what was written to the workspace may be lost", cause=cause, hint=_FREE) from error

    def unmount(self) -> None:
        """Take the workspace out of sight; its layers stay. Raises WorkspaceError when a process still uses it."""
        unmount(self.merged)

    def start_over(self, objects: Objects, tree: str) -> None:
        """Put an unmounted workspace at another tree of the same base, on an empty disk, and mount it.

        Nothing of what was there survives. Raises OSError, WorkspaceError, WorkspaceFull.
        """
        self._wait_cleared()
        if self.mounting:
            unmount_disk(self._disk)
            make_disk(self.room, self.size_mb)
        else:
            remove_tree(self._disk)
            self._disk.mkdir()
        self._fill(objects, tree)
        self.mount()

    def make_next(self, objects: Objects, tree: str) -> Path:
        """Make a layer at another tree of the same base, beside the one in use; return its upper directory.

        Raises OSError, WorkspaceError, DiskFull.
        """
        upper = make_upper(self.room, self.uid)
        shared = frozenset() if self.layer is None else self.layer.shared
        materialise(objects, self.base.tree, tree, upper, self.uid, shared=shared, marks=self.marks)
        if tree != self.base.tree:
            self._require_kept(self._disk)  # Else a full host shows later, when nobody is told of it.
        return upper

    def take_next(self, upper: Path) -> None:
        """Mount the layer that was made, on the unmounted workspace; the one before is deleted in the background.

        Raises OSError, WorkspaceError.
        """
        self._wait_cleared()
        # Never the old work directory: the kernel may still hold it while another container is just starting.
        (self._disk / "layer").rename(self._disk / "past")
        take(upper, self.room)
        self.mount()
        self.clearing.append(threading.Thread(target=_clear, args=(self._disk / "past",)))
        self.clearing[-1].start()

    def remove(self) -> None:
        """Unmount and delete all but the cached checkout. Raises WorkspaceError when a process still uses it."""
        self._wait_cleared()
        remove_room(self.room)
        self.lock.close()
        self.pristine.held.release()

    def keep(self, target: Path) -> None:
        """Copy the changes to `target`, out of reach; the workspace can then only be removed.

        Raises DiskFull, WorkspaceFull, WorkspaceError, also when a process still uses it.
        """
        self.require_within()
        self.require_kept()
        unmount(self.merged)
        copy_tree(self.upper, target)

    def _wait_cleared(self) -> None:
        while self.clearing:
            self.clearing.pop().join()

    def _fill(self, objects: Objects, tree: str) -> None:
        try:
            upper = self.make_next(objects, tree)
            make_home(upper, self.uid)
            take(upper, self.room)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise self._full("the run's own disk is full") from error

    def _full(self, message: str, more: str = "") -> WorkspaceFull:
        cause = f"{more}its limit is {self.size_mb} MiB (sandbox.workspace_mb)"
        return WorkspaceFull(
            message, cause=cause, hint="give runs a larger workspace_mb, or go on from an earlier step"
        )


def lower_of(below: Pristine, layer: Layer | None) -> str:
    """Return what lies below a workspace's changes, top first, relative to the root of all workspaces."""
    above = "" if layer is None else f"layers/{layer.name}/tree:"
    return f"{above}pristine/{below.name}/tree"


def _clear(layer: Path) -> None:
    with suppress(WorkspaceError):  # It goes with the workspace at the latest.
        remove_tree(layer)
