"""What became of files that the library speaks of: still there, renamed, gone, or not to be told.

A third of the files that are gone between two commits was only renamed, so a path is followed through history before
what is known of it is called stale. A git that fails says nothing about a file: that is `unknown`, never `gone`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from sandbox.errors import SandboxError
from sandbox.git import checked_revision, git

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_LOG: Final = (
    "--reverse",
    "--topo-order",
    "--first-parent",
    "-m",
    "--format=",
    "--name-status",
    "--diff-filter=RD",
    "-z",
)
_IN_A_COMMIT: Final = ("-M50%", "-l2000")
_BETWEEN_THE_ENDS: Final = ("-M40%", "-l2000")
"""How alike two files are that git calls one: less between the ends, where what changed in between has added up."""
_SECONDS: Final = 120.0


class Fate(StrEnum):
    """What became of a file."""

    FRESH = "fresh"  # It's there, under the name that is known.
    RENAMED = "renamed"
    GONE = "gone"
    UNKNOWN = "unknown"  # Git doesn't say: the history isn't there, or it failed.


@dataclass(frozen=True)
class Followed:
    """A file's fate. `now` is its name today, where it has one; `perhaps` the only file of the same name, elsewhere."""

    fate: Fate
    now: str = ""
    perhaps: str = ""


def follow(git_dir: Path, paths: Collection[str], seen_at: str, head: str) -> dict[str, Followed]:
    """Return what became of each of these paths, which were there at the commit `seen_at`, by the commit `head`."""
    try:
        there = set(files_at(git_dir, head))
        found = {path: Followed(Fate.FRESH, path) for path in paths if path in there}
        rest = [path for path in paths if path not in there]
        if rest:
            found |= _followed(git_dir, rest, seen_at, head, there)
    except SandboxError:
        return dict.fromkeys(paths, Followed(Fate.UNKNOWN))
    return found


def files_at(git_dir: Path, commit: str) -> Iterator[str]:
    """Return every path of a commit. Raises SandboxError."""
    listed = git("ls-tree", "-r", "-z", "--name-only", checked_revision(commit), git_dir=git_dir, timeout_s=_SECONDS)
    return (os.fsdecode(name) for name in listed.out.split(b"\0") if name)


def _followed(git_dir: Path, paths: list[str], seen_at: str, head: str, there: set[str]) -> dict[str, Followed]:
    known = set(files_at(git_dir, seen_at))
    names = {path: path for path in paths if path in known}
    ends = _span(git_dir, seen_at, head)
    for old, new in _renames(git_dir, "log", *_LOG, *_IN_A_COMMIT, ends):
        for path, name in names.items():
            if name == old:
                names[path] = new
    between: dict[str, str] = {}
    lost = Fate.GONE
    if any(name not in there for name in names.values()):
        told = ("--name-status", "--diff-filter=RD", "-z", *_BETWEEN_THE_ENDS)
        try:
            between = dict(_renames(git_dir, "diff-tree", "-r", *told, seen_at, head))
        except SandboxError:  # What history tells stands; of the rest nobody knows.
            lost = Fate.UNKNOWN
    by_name: dict[str, list[str]] = {}
    for path in there:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    found = {}
    for path in paths:
        if path not in names:  # It never was there: whoever says so is mistaken, or means another commit.
            found[path] = Followed(Fate.UNKNOWN)
            continue
        now = next((name for name in (names[path], between.get(path, "")) if name in there), "")
        alike = by_name.get(PurePosixPath(path).name, [])
        perhaps = alike[0] if not now and len(alike) == 1 else ""
        found[path] = Followed(Fate.RENAMED if now else lost, now, perhaps)
    return found


def _span(git_dir: Path, seen_at: str, head: str) -> str:
    """Return the commits since the two histories parted: a branch that was thrown away isn't followed."""
    base = git("merge-base", checked_revision(seen_at), checked_revision(head), git_dir=git_dir, timeout_s=_SECONDS)
    return f"{base.out.decode().strip()}..{head}"


def _renames(git_dir: Path, *command: str) -> Iterator[tuple[str, str]]:
    """Yield each rename of a listing, in its order; what was deleted is in it only for git to find its new name."""
    told = iter(git(*command, git_dir=git_dir, timeout_s=_SECONDS).out.split(b"\0"))
    for status in told:
        if status.strip().startswith(b"R"):
            yield os.fsdecode(next(told)), os.fsdecode(next(told))
        elif status.strip():
            next(told)
