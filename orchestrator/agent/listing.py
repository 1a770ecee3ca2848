"""Which files of the workspace have a name: asked inside, when a diagnostic names a file without its directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.agent.shown import clean
from sandbox.errors import WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sandbox.open import Sandbox
    from sandbox.spec import FileChange

_SECONDS: Final = 10.0
_MOST_NAMES: Final = 200
"""Names of one command's output that are asked for; one that fails in more files has other worries."""
_MOST_FOUND: Final = 10_000
_PLAIN: Final = re.compile(r"[\w.+@~,=][\w.+@~,=-]{0,199}")
"""Names that no pattern of ripgrep's is hidden in: they come from an output."""
_LIST: Final = ("rg", "--files", "--hidden", "--no-messages", "--glob=!/.git", "--glob=!/.dreamdock")
_COMES_OR_GOES: Final = frozenset("ADT")


class Listing:
    """The files of one sandbox by their names: each name is asked for once, until files come or go."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: dict[str, tuple[str, ...]] = {}

    def find(self, names: Collection[str]) -> Collection[str]:
        """Return the files that have one of these names, relative to the workspace; none where that can't be asked.

        Files in ignored directories aren't among them. It takes one program inside, and none for names known already.
        """
        wanted = {name for name in names if _PLAIN.fullmatch(name)}
        if unknown := sorted(wanted - self._known.keys())[:_MOST_NAMES]:
            found: dict[str, tuple[str, ...]] = dict.fromkeys(unknown, ())
            for path in self._asked(unknown):
                name = path.rpartition("/")[2]
                found[name] = (*found.get(name, ()), path)
            self._known |= found
        return [path for name in wanted for path in self._known.get(name, ())]

    def committed(self, files: Iterable[FileChange]) -> None:
        """Forget what is known where a step made or removed files."""
        if any(file.status in _COMES_OR_GOES for file in files):
            self._known.clear()

    def _asked(self, names: Iterable[str]) -> list[str]:
        try:
            ended = self._sandbox.exec([*_LIST, *(f"--glob={name}" for name in names)], timeout_s=_SECONDS)
        except WorkspaceError:
            return []
        lines = clean(ended.output).splitlines() if ended.exit_code == 0 else []
        return [line.removeprefix("./") for line in lines[:_MOST_FOUND]]
