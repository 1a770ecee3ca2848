"""Trees as values: what differs between two, the patch that says so, and a tree with some paths exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sandbox.git import printable
from sandbox.objects import EMPTY_TREE, GITLINK, TREE, Entry, Objects
from sandbox.spec import FileChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pygit2


COMPARED = 4 << 20
"""How many bytes of files are compared line by line where somebody waits: for a step, and at a run's end."""


@dataclass(frozen=True)
class Change:
    """One path that differs between two trees; None on the side that doesn't have it. Never a directory."""

    path: bytes
    old: Entry | None
    new: Entry | None


def changes(objects: Objects, old: str, new: str, prefix: bytes = b"") -> Iterator[Change]:
    """Yield what differs, in order of path; equal directories aren't read."""
    if old == new:
        return
    before, after = objects.tree(old), objects.tree(new)
    for name in sorted({name for name, _ in before.items() ^ after.items()}):
        was, now = before.get(name), after.get(name)
        path = prefix + name
        old_dir = was.oid if was is not None and was.is_tree else EMPTY_TREE
        new_dir = now.oid if now is not None and now.is_tree else EMPTY_TREE
        was_file = None if was is None or was.is_tree else was
        now_file = None if now is None or now.is_tree else now
        if was_file is not None or now_file is not None:
            yield Change(path, was_file, now_file)
        yield from changes(objects, old_dir, new_dir, path + b"/")


def files(objects: Objects, tree: str, prefix: bytes = b"") -> Iterator[tuple[bytes, Entry]]:
    """Yield every path of a tree that isn't a directory."""
    for name, entry in objects.tree(tree).items():
        if entry.is_tree:
            yield from files(objects, entry.oid, prefix + name + b"/")
        else:
            yield prefix + name, entry


def find(objects: Objects, tree: str, path: bytes) -> Entry | None:
    """Return what a tree holds at a path; the tree itself for an empty one."""
    entry = Entry(TREE, tree)
    for name in path.split(b"/") if path else ():
        step = objects.tree(entry.oid).get(name) if entry.is_tree else None
        if step is None:
            return None
        entry = step
    return entry


def edited(objects: Objects, tree: str, edits: Mapping[bytes, Entry | None], *, keep: bool = True) -> str:
    """Return the tree with each path set to an entry, or taken out (None). Directories that end up empty go."""
    here: dict[bytes, Entry | None] = {}
    below: dict[bytes, dict[bytes, Entry | None]] = {}
    for path, entry in edits.items():
        name, slash, rest = path.partition(b"/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        else:
            here[name] = entry
    entries = dict(objects.tree(tree))
    for name, entry in here.items():
        if entry is not None:
            entries[name] = entry
        elif name in entries and not (name in below and entries[name].is_tree):
            del entries[name]
    for name, inner in below.items():
        present = entries.get(name)
        if present is not None and not present.is_tree and all(entry is None for entry in inner.values()):
            continue  # Nothing lies below a file: there is nothing to take out.
        start = present.oid if present is not None and present.is_tree else EMPTY_TREE
        subtree = edited(objects, start, inner, keep=keep)
        if subtree == EMPTY_TREE:
            entries.pop(name, None)
        else:
            entries[name] = Entry(TREE, subtree)
    if not entries:
        return EMPTY_TREE
    return objects.put_tree(entries.items(), keep=keep)


def patch(objects: Objects, old: str, new: str, *, most: int | None = None) -> tuple[bytes, tuple[FileChange, ...]]:
    """Return the difference as a patch for `git apply` (binary files in full, no renames), and its list of files.

    Where the files that differ hold more than `most` bytes, before and after together, there is no patch and no line is
    counted: comparing takes half a second for each MB of them, during which no other thread of the process runs.
    """
    differing = list(changes(objects, old, new))
    if not differing:
        return b"", ()
    if most is not None and _bytes(objects, differing) > most:
        return b"", tuple(
            FileChange(path=printable(item.path), status=_status(item), added=0, removed=0) for item in differing
        )
    # libgit2 walks both trees in full; two trees that hold nothing but the difference cost the same on any repository.
    before = edited(objects, EMPTY_TREE, {item.path: item.old for item in differing if item.old}, keep=False)
    after = edited(objects, EMPTY_TREE, {item.path: item.new for item in differing if item.new}, keep=False)
    for empty in (before, after):
        if empty == EMPTY_TREE:
            objects.put(b"tree", b"", keep=False)
    # A link that became a file is two deltas for git: both go to one line of the list.
    parts: list[bytes] = []
    lines: dict[bytes, tuple[int, int]] = {}
    binary: set[bytes] = set()
    for piece in objects.diff(before, after):
        parts.append(_appliable(piece))
        path = piece.delta.new_file.raw_path
        _, added, removed = piece.line_stats
        known = lines.get(path, (0, 0))
        lines[path] = known[0] + added, known[1] + removed
        if piece.delta.is_binary:
            binary.add(path)
    listed = tuple(
        FileChange(
            path=printable(item.path),
            status=_status(item),
            added=counts[0],
            removed=counts[1],
            sizes=(_size(objects, item.old), _size(objects, item.new)) if item.path in binary else None,
        )
        for item in differing
        for counts in (lines.get(item.path, (0, 0)),)
    )
    return b"".join(parts), listed


def _bytes(objects: Objects, differing: Iterable[Change]) -> int:
    return sum(_size(objects, entry) for item in differing for entry in (item.old, item.new))


def _size(objects: Objects, entry: Entry | None) -> int:
    return 0 if entry is None or entry.mode == GITLINK else objects.size(entry.oid)


def _appliable(piece: pygit2.Patch) -> bytes:
    """Return libgit2's patch of one file as git takes it: two ways of saying it differ."""
    data, path = piece.data, piece.delta.new_file.raw_path
    if b" " in path and not data.startswith(b'diff --git "'):
        # Where a name with spaces ends is told by quotes only; whatever else needs them has them.
        data = b'diff --git "a/%s" "b/%s"\n' % (path, path) + data.partition(b"\n")[2]
    if piece.delta.old_file.id == piece.delta.new_file.id:
        # Of a binary file that only became executable libgit2 also says that it differs.
        return data.partition(b"\nBinary files ")[0].rstrip(b"\n") + b"\n"
    return data


def _status(item: Change) -> Literal["A", "M", "D", "T"]:
    if item.old is None:
        return "A"
    if item.new is None:
        return "D"
    return "T" if _kind(item.old) != _kind(item.new) else "M"


def _kind(entry: Entry) -> int:
    return entry.mode & 0o170000  # Executable or not, a file is a file.
