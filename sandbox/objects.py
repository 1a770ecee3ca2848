"""One project's git objects: read from the shared store, written as one pack at a time.

Trees are handled as raw bytes, because names in them are bytes that need not be text, and because libgit2's own
builders look at the disk again for every new object.
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pygit2

from sandbox.errors import DiskFull, QuotaFull, WorkspaceError
from sandbox.git import printable
from sandbox.packfile import write_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
TREE, FILE, EXECUTABLE, LINK, GITLINK = 0o040000, 0o100644, 0o100755, 0o120000, 0o160000
_KINDS = {
    b"blob": pygit2.enums.ObjectType.BLOB,
    b"tree": pygit2.enums.ObjectType.TREE,
    b"commit": pygit2.enums.ObjectType.COMMIT,
}
_FLUSH_BYTES = 64 << 20  # What may wait in memory; a step that changes more becomes several packs.
_TRIES, _BETWEEN_TRIES_S = 5, 0.01
_TREES_KEPT = 8192  # Parsed directories in memory; beyond that all are forgotten.
_T = TypeVar("_T")


class Entry(NamedTuple):
    """One line of a tree: its mode (git's five) and the id of what it names, 40 hex digits."""

    mode: int
    oid: str

    @property
    def is_tree(self) -> bool:
        """Whether this is a directory."""
        return self.mode == TREE


class _Memory(pygit2.OdbBackend):
    """The objects that aren't on disk yet, where libgit2 finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, tuple[bytes, bytes]] = {}

    def read_cb(self, oid: pygit2.Oid) -> tuple[pygit2.enums.ObjectType, bytes]:
        kind, data = self.objects[str(oid)]
        return _KINDS[kind], data

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[pygit2.enums.ObjectType, int]:
        kind, data = self.objects[str(oid)]
        return _KINDS[kind], len(data)

    def read_prefix_cb(self, prefix: str) -> tuple[pygit2.enums.ObjectType, bytes, pygit2.Oid]:
        # pygit2 looks every id up as a prefix, full ones too.
        kind, data = self.objects[prefix]
        return _KINDS[kind], data, pygit2.Oid(hex=prefix)

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return str(oid) in self.objects

    def refresh_cb(self) -> None:
        """Nothing changes behind our back."""


class Objects:
    """Reads and writes one repository's objects; new ones stay in memory until `flush`.

    The object directory is opened by itself: no configuration of the repository is read and its owner may be another.
    Not for use by several threads at once.
    """

    def __init__(self, git_dir: Path) -> None:
        self._folder = git_dir / "objects"
        self._memory = _Memory()
        self._odb = pygit2.Odb(str(self._folder))
        self._odb.add_backend(self._memory, 100)  # Asked first.
        self._repository = pygit2.Repository()
        self._repository.set_odb(self._odb)
        self._pending: dict[str, int] = {}
        self._pending_bytes = 0
        self._trees: dict[str, Mapping[bytes, Entry]] = {EMPTY_TREE: {}}
        self._left_bytes: int | None = None

    def limit(self, most_bytes: int) -> None:
        """Let so many bytes be written from now on, before compression; beyond that `flush` raises QuotaFull."""
        self._left_bytes = most_bytes

    def tree(self, oid: str) -> Mapping[bytes, Entry]:
        """Return a directory's entries by name. Raises WorkspaceError for a tree that names a way out of itself."""
        known = self._trees.get(oid)
        if known is None:
            known = _parsed(oid, self.read(oid))
            self._remember(oid, known)
        return known

    def read(self, oid: str) -> bytes:
        """Return an object's content. Raises WorkspaceError when the store doesn't have it."""
        try:
            return _insisting(lambda: self._odb.read(pygit2.Oid(hex=oid)))[1]
        except (KeyError, pygit2.GitError) as error:
            raise WorkspaceError(f"the store has no object {oid}", cause=printable(str(error))) from error

    def size(self, oid: str) -> int:
        """Return an object's length in bytes, without reading it. Raises WorkspaceError as `read` does."""
        try:
            return int(_insisting(lambda: self._odb.read_header(pygit2.Oid(hex=oid)))[1])
        except (KeyError, pygit2.GitError) as error:
            raise WorkspaceError(f"the store has no object {oid}", cause=printable(str(error))) from error

    def is_commit(self, oid: str) -> bool:
        """Whether the store has a commit by that id."""
        try:
            return _insisting(lambda: self._odb.read(pygit2.Oid(hex=oid)))[0] == pygit2.enums.ObjectType.COMMIT
        except (KeyError, ValueError, pygit2.GitError):
            return False

    def put(self, kind: bytes, data: bytes, *, keep: bool = True, present: str = "") -> str:
        """Add an object (`blob`, `tree` or `commit`) and return its id.

        One that isn't kept is forgotten at the next `flush`; `present` is an id that the store is known to have.
        """
        digest = hashlib.sha1(b"%s %d\0" % (kind, len(data)), usedforsecurity=False)
        digest.update(data)
        oid = digest.hexdigest()
        if oid == present:
            return oid
        if oid not in self._memory.objects:
            self._memory.objects[oid] = (kind, data)
        if keep and oid not in self._pending:
            self._pending[oid] = len(data)
            self._pending_bytes += len(data)
            if self._pending_bytes > _FLUSH_BYTES:
                self.flush()
        return oid

    def put_tree(self, entries: Iterable[tuple[bytes, Entry]], *, keep: bool = True, present: str = "") -> str:
        """Add a directory and return its id."""
        # Git sorts a directory as though its name ended in a slash.
        ordered = sorted(entries, key=lambda item: item[0] + b"/" if item[1].is_tree else item[0])
        data = b"".join(b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.oid)) for name, entry in ordered)
        oid = self.put(b"tree", data, keep=keep, present=present)
        self._remember(oid, dict(ordered))
        return oid

    def _remember(self, oid: str, entries: Mapping[bytes, Entry]) -> None:
        if len(self._trees) >= _TREES_KEPT:
            self._trees = {EMPTY_TREE: {}}
        self._trees[oid] = entries

    def diff(self, old: str, new: str) -> Iterator[pygit2.Patch]:
        """Yield libgit2's comparison of two trees file by file, binary files in full."""
        flags = pygit2.enums.DiffOption.SHOW_BINARY
        before, after = (self._repository[pygit2.Oid(hex=oid)].peel(pygit2.Tree) for oid in (old, new))
        found = before.diff_to_tree(after, flags=flags)
        for number in range(len(found)):
            piece = _insisting(partial(found.__getitem__, number))
            if piece is not None:  # libgit2's word for "nothing to say".
                yield piece

    def flush(self) -> None:
        """Write what is kept as one pack, which survives the process.

        Raises DiskFull, QuotaFull, leaving nothing half-made.
        """
        if self._left_bytes is not None:
            if self._pending_bytes > self._left_bytes:
                cause = "all that its steps changed, one after the other, is more than sandbox.checkpoints_mb"
                raise QuotaFull("the run's checkpoints take too much", cause=cause, hint="have git ignore what is made")
            self._left_bytes -= self._pending_bytes
        if self._pending:
            new = ((oid, *self._memory.objects[oid]) for oid in self._pending)
            try:
                write_pack(self._folder / "pack", new, len(self._pending))
            except OSError as error:
                raise disk_error(error, "writing a checkpoint") from error
        self.forget()

    def forget(self) -> None:
        """Drop what isn't written yet."""
        self._memory.objects.clear()
        self._pending.clear()
        self._pending_bytes = 0


def _insisting(read: Callable[[], _T]) -> _T:
    """Read, and again where something isn't there.

    libgit2 lists the packs anew by itself, once. Where packs are put together just then, that list may hold neither
    the new pack, which came behind its back, nor the old ones, which are gone when it opens them.
    """
    for _ in range(_TRIES):
        try:
            return read()
        except (KeyError, pygit2.GitError):
            time.sleep(_BETWEEN_TRIES_S)
    return read()


def disk_error(error: OSError, what: str) -> WorkspaceError:
    """Return the error to show for a failed system call while `what` was being done."""
    cause = f"{error.strerror}: {printable(os.fsdecode(error.filename))}" if error.filename else str(error.strerror)
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return DiskFull(f"the disk is full: {what}", cause=cause, hint="free some space, then try again")
    return WorkspaceError(f"failed: {what}", cause=cause)


def _parsed(oid: str, data: bytes) -> Mapping[bytes, Entry]:
    entries: dict[bytes, Entry] = {}
    start = 0
    while start < len(data):
        space = data.index(b" ", start)
        end = data.index(b"\0", space)
        name = data[space + 1 : end]
        if name in (b"", b".", b"..") or b"/" in name or name.lower() == b".git":
            raise WorkspaceError(f"tree {oid} holds a name that git refuses: {printable(name)!r}")
        mode = int(data[start:space], 8)
        # Old repositories hold modes such as 100664; git reads them as one of its own five.
        if mode not in (TREE, LINK, GITLINK):
            mode = EXECUTABLE if mode & 0o100 else FILE
        entries[name] = Entry(mode, data[end + 1 : end + 21].hex())
        start = end + 21
    return entries
