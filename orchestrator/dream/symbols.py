"""Names of code that a text speaks of, and which of them were in the repository and are nowhere in it any more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.dream.paths import Fate
from sandbox.errors import SandboxError
from sandbox.git import checked_revision, git

if TYPE_CHECKING:
    from pathlib import Path

LONGEST: Final = 100
"""Characters of a name."""
_SECONDS: Final = 20.0
_TICKED: Final = re.compile(r"`([^`\n]{1,200})`")
_NAME: Final = re.compile(r"(?:[A-Za-z_]\w*(?:\.|::|#))*([A-Za-z_]\w*)(\(\))?", re.ASCII)
_OF_CODE: Final = re.compile(r"\w_\w|[a-z0-9][A-Z]|^[A-Z]+[a-z]", re.ASCII)
"""What a name has that can hardly be a word: `snake_case`, `camelCase`, `Class`."""
_SHORTEST: Final = 4


def symbols(text: str) -> tuple[str, ...]:
    """Return the names of functions, classes and variables that a text has in backticks, each once, in order."""
    found = dict.fromkeys(name for ticked in _TICKED.findall(text) if (name := _symbol(ticked.strip())))
    return tuple(found)


def _symbol(ticked: str) -> str:
    told = _NAME.fullmatch(ticked)
    if told is None:
        return ""
    name, called = told.groups()
    fits = _SHORTEST <= len(name) <= LONGEST and (called or _OF_CODE.search(name))
    return name if fits else ""


def fate(git_dir: Path, name: str, seen_at: str, head: str) -> Fate:
    """Return what became of a name since a commit: `fresh` or `gone`, or `unknown` where it wasn't in that, either."""
    if seen_at == head:
        return Fate.UNKNOWN
    try:
        if _has(git_dir, name, head):
            return Fate.FRESH
        return Fate.GONE if _has(git_dir, name, seen_at) else Fate.UNKNOWN
    except SandboxError:
        return Fate.UNKNOWN


def _has(git_dir: Path, name: str, commit: str) -> bool:
    """Whether a file of a commit has a name as a word of its own. Raises SandboxError."""
    asked = ("grep", "--quiet", "-I", "--fixed-strings", "--word-regexp", "--no-textconv", "-e", name)
    done = git(*asked, checked_revision(commit), "--", git_dir=git_dir, timeout_s=_SECONDS, check=False)
    if done.code == 0 or (done.code == 1 and not done.err):
        return done.code == 0
    raise SandboxError(f"git grep failed at {commit}", cause=done.err.decode(errors="replace")[-300:])
