"""A patch in git's format as values: what each file lost and got, with the lines around it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Final

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unidiff.patch import PatchedFile

_FILES: Final = re.compile(r"^(?=diff --git )", re.MULTILINE)
_QUOTED: Final = re.compile(r"\\([0-7]{3}|.)")
_NAMED: Final = re.compile(r'^diff --git "?a/(.*?)"? "?b/(.*?)"?$', re.MULTILINE)
_LONGEST: Final = 500
"""Characters of a line that are looked at."""


@dataclass(frozen=True)
class Line:
    """One line of a patch: `sign` is `-`, `+` or a blank. `number` counts in the file before for `-`, else after."""

    sign: str
    number: int
    text: str


@dataclass(frozen=True)
class Changed:
    """What became of a file. `before` and `path` are its names, empty where it wasn't or isn't there.

    `hunks` are its parts that changed, in order, with the lines around them; `within` says for each what it stands in.
    """

    before: str
    path: str
    hunks: tuple[tuple[Line, ...], ...] = ()
    within: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call it."""
        return self.path or self.before

    def lines(self, *signs: str) -> Iterator[Line]:
        """Yield its lines with these signs."""
        return (line for hunk in self.hunks for line in hunk if line.sign in signs)


def changed_files(patch: bytes) -> tuple[list[Changed], list[str]]:
    """Return what a patch changes, and the names of the files whose part can't be read."""
    found, unread = [], []
    for part in _FILES.split(patch.decode(errors="replace")):
        if not part.startswith("diff --git "):
            continue
        try:
            files = PatchSet(StringIO(part, newline="\n"))  # Lines end where git ends them, and nowhere else.
        except UnidiffParseError:
            files = None
        if files is None or len(files) != 1:
            named = _NAMED.match(part)
            unread.append(_plain(named.group(2)) if named else part.split("\n")[0][:200])
        else:
            found.append(_changed(files[0]))
    return found, unread


def _changed(file: PatchedFile) -> Changed:
    hunks = tuple(
        tuple(
            Line(
                line.line_type,
                (line.source_line_no if line.is_removed else line.target_line_no) or 0,
                line.value.rstrip("\r\n")[:_LONGEST],
            )
            for line in hunk
            if line.line_type in {"-", "+", " "}
        )
        for hunk in file
    )
    before = "" if file.is_added_file else _plain(file.source_file, "a/")
    path = "" if file.is_removed_file else _plain(file.target_file, "b/")
    return Changed(before, path, hunks, tuple(hunk.section_header for hunk in file))


def _plain(name: str, prefix: str = "") -> str:
    """Return a name as it is on disk: git quotes those with unusual bytes in them."""
    if name.startswith('"') and name.endswith('"'):
        name = _unquoted(name[1:-1])
    return name.removeprefix(prefix)


def _unquoted(name: str) -> str:
    raw = _QUOTED.sub(lambda found: chr(int(found[1], 8)) if len(found[1]) > 1 else found[1], name)
    try:
        return raw.encode("latin-1").decode(errors="replace")
    except UnicodeEncodeError:
        return raw
