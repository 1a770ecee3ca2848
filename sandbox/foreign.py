"""What a commit names but doesn't hold: submodules, and files whose content lies on a Git LFS server.

A run gets a submodule as an empty directory, and an LFS file as the pointer that the commit has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.git import git, printable

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.objects import Objects

_ATTRIBUTES = b".gitattributes"
_LONGEST_POINTER = 1024  # Bytes; git-lfs looks no further either.
_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_READ = 20_000


def submodules(git_dir: Path, tree: str) -> list[str]:
    """Return the paths of a tree's submodules in order, fit to be shown."""
    listed = git("ls-tree", "-r", "-d", "-z", tree, git_dir=git_dir).out.split(b"\0")
    return [printable(line.partition(b"\t")[2]) for line in listed if line.startswith(b"160000 ")]


def lfs_pointers(git_dir: Path, objects: Objects, tree: str, *, most: int) -> list[str]:
    """Return the paths of a tree's LFS pointers in order, fit to be shown, at most `most` of them.

    Looked for below directories whose attributes mention LFS alone: elsewhere nothing is read but the names.
    """
    listed = git("ls-tree", "-r", "-z", tree, git_dir=git_dir).out.split(b"\0")
    lines = (line.partition(b"\t") for line in listed if line.startswith(b"100"))
    files = [(path, facts.split()[2].decode()) for facts, _, path in lines]
    folders = tuple(
        path.removesuffix(_ATTRIBUTES)
        for path, oid in files
        if path.rpartition(b"/")[2] == _ATTRIBUTES and b"filter=lfs" in objects.read(oid)
    )
    below = [(path, oid) for path, oid in files if path.startswith(folders)]
    small = _small(git_dir, {oid for _, oid in below})
    found: list[str] = []
    for path, oid in [item for item in below if item[1] in small][:_MOST_READ]:
        if len(found) == most:
            break
        if objects.read(oid).startswith(_POINTER):
            found.append(printable(path))
    return found


def _small(git_dir: Path, oids: set[str]) -> set[str]:
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    told = git("cat-file", "--batch-check=%(objectsize) %(objectname)", git_dir=git_dir, stdin=asked).out.decode()
    lines = (line.partition(" ") for line in told.splitlines())
    return {oid for size, _, oid in lines if size.isdigit() and int(size) <= _LONGEST_POINTER}
