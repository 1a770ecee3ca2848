"""Globs over paths of a repository, as people know them from .gitignore: which of them a path comes under.

`*` and `?` match within a name, `[…]` one character of it, `**` as a whole name any number of folders, also none. A
pattern with a slash before its end begins at the repository's root, as one with a slash in front does; any other is
tried on each name of the path. What matches a folder matches all that is below it; with a slash at the end only that.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

_ANY = "**"


def first_match(path: str, patterns: tuple[str, ...]) -> str:
    """Return the first of the patterns that a path comes under, or the empty string; case counts."""
    names = tuple(path.split("/"))
    return next((pattern for pattern in patterns if _matches(names, pattern)), "")


def _matches(names: tuple[str, ...], pattern: str) -> bool:
    """Walk over the names with all places in the pattern that they may lead to: no path makes that slow."""
    parts, folders_only = _parts(pattern)
    end = len(parts)
    at = _skipped({0}, parts)
    for number, name in enumerate(names, start=1):
        fits = [place for place in at if _fits(name, parts[place])]
        stay = {place for place in fits if parts[place] == _ANY}
        leave = {place + 1 for place in fits if parts[place] != _ANY or place == end - 1}
        if end in leave and not (folders_only and number == len(names)):
            return True
        at = _skipped(stay | leave - {end}, parts)
    return False


def _skipped(places: set[int], parts: tuple[str, ...]) -> set[int]:
    """Return these places and those behind a `**`, which may stand for no folder; at the end it's one at least."""
    found = set(places)
    for place in sorted(places):
        while place < len(parts) - 1 and parts[place] == _ANY:
            place += 1  # noqa: PLW2901  # It's the place that moves.
            found.add(place)
    return found


def _fits(name: str, part: str) -> bool:
    return part == _ANY or _name(part).match(name) is not None


@lru_cache(maxsize=1024)
def _parts(pattern: str) -> tuple[tuple[str, ...], bool]:
    """Return a pattern's parts, and whether it is about what lies in folders alone."""
    inner = pattern.strip("/")
    names = [part for part in inner.split("/") if part]
    # Two `**` in a row say what one does, and a hundred of them would take their time on each path.
    parts = [name for name, before in zip(names, ["", *names], strict=False) if not name == before == _ANY]
    anchored = pattern.startswith("/") or "/" in inner
    return tuple(parts if anchored else [_ANY, *parts]), pattern.endswith("/")


@lru_cache(maxsize=1024)
def _name(part: str) -> re.Pattern[str]:
    return re.compile(translate(part))
