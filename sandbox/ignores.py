"""Which new paths the base commit's ignore rules leave out.

Git itself is asked, outside the box, over a skeleton of our own that holds nothing but the base's .gitignore files:
what the run does to its .gitignore changes nothing, and no path of the workspace is touched.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sandbox.cache import copy_tree, remove_tree
from sandbox.git import GitFailed, git

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CACHES = frozenset({b"__pycache__", b".pytest_cache", b".mypy_cache", b".ruff_cache"})
"""Directories that tools keep for themselves, ignored without a rule, as by a person's own ignore file."""
_LONGEST = 3000  # Bytes of a path that git is asked about, below the skeleton's own; what is longer isn't ignored.
_SECONDS = 5.0  # Patterns can be written so that matching takes for ever.


class Ignores:
    """Answers for one workspace, remembered per path. `room` is made when the first question is asked."""

    def __init__(self, rules: Path, git_dir: Path, room: Path) -> None:
        self._rules = rules
        self._git_dir = git_dir
        self._room = room
        self._known: dict[bytes, bool] = {}
        self._none = not any(rules.iterdir())
        self.too_slow = False

    def ask(self, paths: Iterable[bytes]) -> None:
        """Settle many paths with one question; a directory's path ends in a slash. Raises DiskFull, WorkspaceError."""
        if self._none or self.too_slow:
            return
        new = [path for path in paths if path not in self._known and len(path) <= _LONGEST]
        if not new:
            return
        if not self._room.is_dir():
            self._copy_rules()
        made: list[Path] = []
        try:
            for path in new:
                if path.endswith(b"/"):
                    self._make(path, made)
            question = b"".join(b"./%s\0" % path.rstrip(b"/") for path in new)
            answer = self._check(question)
        finally:
            for folder in reversed(made):
                folder.rmdir()
        for path in new:
            self._known[path] = b"./" + path.rstrip(b"/") in answer

    def covers(self, path: bytes) -> bool:
        """Whether the rules ignore a path that the base doesn't have."""
        if path.endswith(b"/") and path[:-1].rpartition(b"/")[2] in CACHES:
            return True
        if self._none or self.too_slow:
            return False
        self.ask([path])
        return self._known.get(path, False)

    def _copy_rules(self) -> None:
        part = self._room.with_name(f"{self._room.name}.part")
        try:
            copy_tree(self._rules, part)
            part.rename(self._room)
        except BaseException:
            remove_tree(part)  # Half of the rules would leave out too little.
            raise

    def _make(self, path: bytes, made: list[Path]) -> None:
        # A pattern for directories matches only what git finds to be one.
        folder = self._room
        for name in path.rstrip(b"/").split(b"/"):
            folder /= os.fsdecode(name)
            try:
                folder.mkdir(0o700)
            except FileExistsError:
                continue
            made.append(folder)

    def _check(self, question: bytes) -> set[bytes]:
        # The index named doesn't exist: whether the base has a path was settled before.
        args = ("check-ignore", "--no-index", "-z", "--stdin")
        try:
            found = git(
                *args,
                git_dir=self._git_dir,
                work_tree=self._room,
                cwd=self._room,
                index=self._room.parent / "no-index",
                stdin=question,
                timeout_s=_SECONDS,
                check=False,
            )
        except GitFailed:
            self.too_slow = True  # Nothing is ignored from now on: better too much in the diff than something hidden.
            return set()
        return set(found.out.split(b"\0"))
