"""Puts files of the store into a workspace that is in use, through the runner: nothing of it is opened on the host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from sandbox.errors import WorkspaceError
from sandbox.objects import EXECUTABLE, LINK
from sandbox.shell import one_line
from sandbox.trees import find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandbox.objects import Entry, Objects
    from sandbox.spec import CommandResult


_AT_ONCE: Final = 100
_SECONDS: Final = 60.0
_GONE: Final = 'for path; do [ -d "$path" ] && [ ! -L "$path" ] || rm -f -- "$path" || exit; done'
"""A folder at a path isn't what lay there: it came with files below, or goes with them."""
_EMPTIED: Final = 'for folder; do rmdir -- "$folder" 2>/dev/null; done; :'


class Hands(Protocol):
    """What runs programs and writes files inside: the resident shell, or what stands in for it."""

    def exec(self, argv: Sequence[str], *, timeout_s: float | None = None) -> CommandResult:
        """Run a program at the top of the workspace."""

    def write(self, path: str, data: bytes) -> None:
        """Replace or make a file."""


def put(shell: Hands, objects: Objects, edits: Mapping[bytes, Entry | None]) -> None:
    """Bring paths to what they are to be; None takes one out. Directories that end up empty go.

    What lay at a path goes first, so that no link there is followed. Raises WorkspaceError where something stood in the
    way: then a part may be done. Raises ChannelLost.
    """
    gone = [path for path, entry in edits.items() if entry is None]
    _each(shell, ["sh", "-c", _GONE, "sh"], gone)
    _each(shell, ["sh", "-c", _EMPTIED, "sh"], _above(gone))
    _each(shell, ["rm", "-f", "--"], [path for path, entry in edits.items() if entry is not None])
    links: list[tuple[bytes, bytes]] = []
    programs: list[bytes] = []
    for path, entry in edits.items():
        if entry is None:
            continue
        content = objects.read(entry.oid)
        if entry.mode == LINK:
            links.append((path, content))
            continue
        shell.write(os.fsdecode(path), content)
        programs += [path] if entry.mode == EXECUTABLE else []
    _each(shell, ["chmod", "755", "--"], programs)
    _each(shell, ["mkdir", "-p", "--"], {path.rpartition(b"/")[0] for path, _ in links} - {b""})
    for path, target in links:
        _done(shell, ["ln", "-s", "--", os.fsdecode(target), _inside(path)])


def _above(paths: Iterable[bytes]) -> list[bytes]:
    """Return the directories that paths lie in, the innermost first."""
    found = {path[:place] for path in paths for place, byte in enumerate(path) if byte == ord("/")}
    return sorted(found, key=lambda folder: (-folder.count(b"/"), folder))


def _each(shell: Hands, argv: Sequence[str], paths: Iterable[bytes]) -> None:
    names = [_inside(path) for path in paths]
    for start in range(0, len(names), _AT_ONCE):
        _done(shell, [*argv, *names[start : start + _AT_ONCE]])


def _inside(path: bytes) -> str:
    return f"./{os.fsdecode(path)}"


def _done(shell: Hands, argv: Sequence[str]) -> None:
    result = shell.exec(argv, timeout_s=_SECONDS)
    if result.exit_code != 0:
        said = one_line(result.output.decode(errors="replace").strip())
        raise WorkspaceError(f"{argv[0]} failed in the workspace", cause=said)


def as_put(objects: Objects, tree: str, edits: Mapping[bytes, Entry | None]) -> bool:
    """Whether a tree has at each path what was put there; where a file went there may be a folder."""
    return all(_is(find(objects, tree, path), entry) for path, entry in edits.items())


def _is(found: Entry | None, wanted: Entry | None) -> bool:
    return found == wanted or (wanted is None and found is not None and found.is_tree)
