"""What a commit names but doesn't hold: submodules, and files whose content lies on a Git LFS server.

A run gets a submodule as an empty directory, and an LFS file as the pointer that the commit has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sandbox.git import git, printable

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.objects import Objects

_ATTRIBUTES = b".gitattributes"
_ATTRIBUTED = re.compile(rb"(?:^|(?<=\0))100[0-7]{3} blob ([0-9a-f]{40})\t((?:[^\0]*/)?\.gitattributes)(?=\0)")
_LINK = re.compile(rb"(?:^|(?<=\0))160000 commit [0-9a-f]{40}\t([^\0]*)")
_LONGEST_POINTER = 1024  # Bytes; git-lfs looks no further either.
_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_READ = 20_000


class Foreign(NamedTuple):
    """Paths, fit to be shown, in order: submodules, and LFS pointers up to a bound."""

    submodules: tuple[str, ...] = ()
    lfs_pointers: tuple[str, ...] = ()


def foreign(git_dir: Path, objects: Objects, tree: str, *, most: int) -> Foreign:
    """Return what a tree names but doesn't hold; of LFS pointers at most `most`.

    Those are looked for below directories whose attributes mention LFS alone: elsewhere nothing is read but the names,
    with one command, however many files there are.
    """
    listed = git("ls-tree", "-r", "-z", tree, git_dir=git_dir).out
    links, attributed = (  # Most have none, which shows a hundred times sooner.
        pattern.finditer(listed) if hint in listed else ()
        for hint, pattern in ((b"160000 commit ", _LINK), (_ATTRIBUTES + b"\0", _ATTRIBUTED))
    )
    folders = tuple(
        found[2].removesuffix(_ATTRIBUTES) for found in attributed if b"filter=lfs" in objects.read(found[1].decode())
    )
    submodules = tuple(printable(found[1]) for found in links)
    return Foreign(submodules, _pointers(git_dir, objects, listed, folders, most) if folders else ())


def _pointers(git_dir: Path, objects: Objects, listed: bytes, folders: tuple[bytes, ...], most: int) -> tuple[str, ...]:
    lines = (line.partition(b"\t") for line in listed.split(b"\0") if line.startswith(b"100"))
    below = [(path, facts.split()[2].decode()) for facts, _, path in lines if path.startswith(folders)]
    small = _small(git_dir, {oid for _, oid in below})
    found: list[str] = []
    for path, oid in [item for item in below if item[1] in small][:_MOST_READ]:
        if len(found) == most:
            break
        if objects.read(oid).startswith(_POINTER):
            found.append(printable(path))
    return tuple(found)


def _small(git_dir: Path, oids: set[str]) -> set[str]:
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    told = git("cat-file", "--batch-check=%(objectsize) %(objectname)", git_dir=git_dir, stdin=asked).out.decode()
    lines = (line.partition(" ") for line in told.splitlines())
    return {oid for size, _, oid in lines if size.isdigit() and int(size) <= _LONGEST_POINTER}
