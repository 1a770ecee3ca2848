"""The repository's own rules: AGENTS.md, the nearest counts. Read inside the sandbox, and data like all text there."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from orchestrator.agent.shown import clean, is_binary
from orchestrator.agent.wording import fill
from orchestrator.memory.plain import fenced
from sandbox.errors import FileProblem
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Collection

    from orchestrator.agent.outcome import Outcome
    from orchestrator.dialogue import ToolCall
    from sandbox.open import Sandbox

LONGEST: Final = 16_000
"""Characters of one AGENTS.md that are taken along."""
_NAME: Final = "AGENTS.md"
_OTHERS: Final = frozenset({".git", ".dreamdock", "node_modules", "site-packages"})
"""Folders that hold no work of the repository's people."""
_DEEPEST: Final = 16
"""Folders that are asked on the way up from a file; what lies further out was asked on the way down, or isn't near."""
_LONGEST_PATH: Final = 1_000
_BYTES: Final = 4
"""Of a character, at most."""


def repo_notes(sandbox: Sandbox, longest: int = LONGEST) -> str:
    """Return the AGENTS.md at the repository's root, `longest` characters of it, or the empty string."""
    return _read(sandbox, _NAME, longest)


def reached(call: ToolCall, outcome: Outcome) -> str:
    """Return the path that a call came to, ending in a slash where it's a folder; empty for none."""
    path = call.arguments.get("path", "." if call.name in {"grep", "glob"} else "")
    if not outcome.ok or not isinstance(path, str):
        return ""
    match call.name:
        case "read" | "edit" | "write":
            return path
        case "grep" | "glob":
            return f"{path}/"
        case "bash":
            return f"{outcome.cwd}/" if outcome.cwd else ""
        case _:
            return ""


def behind(path: str, text: str) -> str:
    """Return what an AGENTS.md adds to the end of a result, in a frame that it can't close."""
    return f"\n\n{fill('rules', path=path, folder=posixpath.dirname(path), rules=fenced(text))}"


class Rules:
    """Finds the AGENTS.md of folders below the root, and asks no folder without one twice."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._without: set[str] = set()

    def nearest(self, path: str, known: Collection[str], longest: int = LONGEST) -> list[tuple[str, str]]:
        """Return path and text of each AGENTS.md on the way to a path that isn't `known` yet, the outermost first.

        All of them together have `longest` characters, and the innermost comes first where there are more. A path from
        anywhere outside, or one that can't be told in a line, has none. Raises ChannelLost.
        """
        found: list[tuple[str, str]] = []
        room = longest
        for folder in _folders(path):
            name = f"{folder}/{_NAME}"
            if name in known or folder in self._without or room <= 0:
                continue
            text = _read(self._sandbox, name, room)
            if text and text not in (other for _, other in found):  # Else a link: the same folder under another name.
                found.append((name, text))
                room -= len(text)
            else:
                self._without.add(folder)
        return found[::-1]


def _folders(path: str) -> list[str]:
    """Return the folders above a file, within the repository and below its root, the innermost first."""
    if "\0" in path:
        return []
    whole = posixpath.normpath(posixpath.join(WORKSPACE, path))
    folder = whole if path.endswith("/") else posixpath.dirname(whole)
    if not folder.startswith(f"{WORKSPACE}/"):
        return []
    inside = folder.removeprefix(f"{WORKSPACE}/")
    if not inside.isprintable() or len(inside) > _LONGEST_PATH:
        return []
    parts = inside.split("/")
    if not _OTHERS.isdisjoint(parts):
        return []
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)][:_DEEPEST]


def _read(sandbox: Sandbox, path: str, longest: int) -> str:
    """Return the beginning of a text file, clean; empty where there is none."""
    try:
        data = sandbox.read(path, limit=longest * _BYTES + 1, offset=0)
    except FileProblem:
        return ""
    if is_binary(data):
        return ""
    text = clean(data).strip()
    more = len(text) > longest or len(data) > longest * _BYTES
    return f"{text[:longest].rstrip()}\n[… the rest is left out; read {path} …]" if more else text
