"""A repository's history up to its head: what became of files, told from commits that the head descends from.

What the library knows was seen at a run's checkpoints, which nobody may ever have merged, or which are given up by now.
So files are followed from where the two histories parted; of one that was never in the head's own history nobody can
say that it's gone.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

from orchestrator.dream.paths import Fate, Followed, files_at, follow
from sandbox.errors import SandboxError
from sandbox.git import git

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import datetime
    from pathlib import Path

_SECONDS: Final = 60.0


class History:
    """A bare repository at a commit; each thing is asked of git once."""

    def __init__(self, git_dir: Path, head: str) -> None:
        self.git_dir = git_dir
        self.head = head
        self._anchors: dict[str, str] = {}
        self._then: dict[str, str] = {}

    @cached_property
    def files(self) -> frozenset[str] | None:
        """The paths of the head; None where git doesn't say."""
        with suppress(SandboxError):
            return frozenset(files_at(self.git_dir, self.head))
        return None

    def anchor(self, commits: Iterable[str], when: datetime | None) -> str:
        """Return the commit of the head's history that something was seen at, empty where nobody knows.

        `commits` are those that it was seen at, the first that is there counts; else it's what the head was at `when`.
        """
        for commit in filter(None, commits):
            if commit not in self._anchors:
                self._anchors[commit] = self._said("merge-base", "--end-of-options", commit, self.head)
            if self._anchors[commit]:
                return self._anchors[commit]
        if when is None:
            return ""
        day = when.isoformat()
        if day not in self._then:
            self._then[day] = self._said("rev-list", "-1", "--first-parent", f"--before={day}", self.head)
        return self._then[day]

    def fates(self, paths: Collection[str], anchor: str) -> dict[str, Followed]:
        """Return what became of paths since a commit of this history; `unknown` where they never were in it."""
        unknown = dict.fromkeys(paths, Followed(Fate.UNKNOWN))
        if self.files is None:
            return unknown
        found = {path: Followed(Fate.FRESH, path) for path in paths if path in self.files}
        rest = [path for path in paths if path not in found]
        if not rest or not anchor:
            return unknown | found
        found |= follow(self.git_dir, rest, anchor, self.head)
        for path in rest:
            if found[path].fate is Fate.UNKNOWN and (before := self._last(path, anchor)):
                found |= follow(self.git_dir, [path], before, self.head)
        return found

    def _last(self, path: str, anchor: str) -> str:
        """Return the last commit since the anchor that had a path which came later, and went."""
        told = ("log", "-1", "--no-renames", "--diff-filter=D", "--format=%P", f"{anchor}..{self.head}", "--", path)
        return self._said(*told).partition(" ")[0]

    def _said(self, *command: str) -> str:
        """Return git's answer, empty where it fails: then nobody knows."""
        try:
            literal = {"GIT_LITERAL_PATHSPECS": "1"}
            done = git(*command, git_dir=self.git_dir, timeout_s=_SECONDS, env=literal, check=False)
        except SandboxError:
            return ""
        return done.out.decode(errors="replace").strip() if done.code == 0 else ""
