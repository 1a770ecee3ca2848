"""The dreams that a library tells of: their reports, what each changed, and one taken by its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pydantic import AwareDatetime, Field

from orchestrator.dialogue import Value
from orchestrator.dream.report import FOLDER, front
from orchestrator.errors import NotFoundError, UsageError
from orchestrator.library.entry import Entry
from orchestrator.library.page import PageError
from sandbox.git import git

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.library.shelf import Shelf

_PLAIN: Final = ("project", "since", "until", "runs", "skipped", "reverted")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_SHORTEST: Final = 4
_LAST: Final = "@"


class Dreamt(Value):
    """A dream of the past: its name, the commit that it is, and what its report begins with.

    `reverted` is when somebody took it back, None where nobody did.
    """

    name: str
    project: str
    commit: str
    since: AwareDatetime | None = None
    until: AwareDatetime
    runs: int = 0
    skipped: int = 0
    counts: dict[str, int] = Field(default_factory=dict)
    reverted: AwareDatetime | None = None

    @property
    def path(self) -> str:
        """Where its report lies."""
        return f"{FOLDER}/{self.project}/{self.name}.md"

    def begins(self, which: str) -> bool:
        """Whether its name or its commit begins so."""
        return len(which) >= _SHORTEST and (self.name.startswith(which) or self.commit.startswith(which))


class Touched(Value):
    """A page that a dream changed: as it was and as it became; None for a page that wasn't there, or is no entry."""

    path: str
    before: Entry | None
    after: Entry | None


def dreams(shelf: Shelf, project: str) -> list[Dreamt]:
    """Return the project's dreams, newest first. A report that can't be read is left out. Raises LibraryError."""
    head, folder = shelf.head(), f"{FOLDER}/{project}"
    made = _made(shelf, folder) if head else {}
    found = [_dreamt(shelf, path, made.get(path, ""), head) for path in reversed(shelf.beside(folder, head))]
    return [one for one in found if one is not None]


def last_until(shelf: Shelf, project: str, now: datetime) -> datetime | None:
    """Return until when the project's last dream before `now` looked; None where there is none. Raises LibraryError.

    One that is yet to come was dreamt while the clock was wrong: were it believed, nothing would be learned until then.
    """
    head = shelf.head()
    for path in reversed(shelf.beside(f"{FOLDER}/{project}", head)):
        if (one := _dreamt(shelf, path, "", head)) is not None and one.until <= now:
            return one.until
    return None


def dream_of(shelf: Shelf, project: str, which: str = _LAST) -> Dreamt:
    """Return the dream that is meant: by its name, its commit, or the beginning of one; `@` is the last one.

    Raises NotFoundError, UsageError for what may be several.
    """
    known = dreams(shelf, project)
    if which in {_LAST, "@-"}:
        found = known[int(which == "@-") :][:1]
    else:
        found = [one for one in known if which == one.name] or [one for one in known if one.begins(which)]
    if not found:
        if not known:
            raise NotFoundError(f"the library of {project} has no dream yet", hint="dreamdock dream")
        raise NotFoundError(f"the library of {project} has no dream {which[:60]}", hint="dreamdock dream log")
    if len(found) > 1:
        names = ", ".join(one.name for one in found[:3])
        raise UsageError(f"{which} may be {len(found)} dreams", cause=names, hint="type more of it")
    return found[0]


def text_of(shelf: Shelf, dreamt: Dreamt) -> str:
    """Return what the report says to a person."""
    text = (shelf.file(dreamt.path) or b"").decode(errors="replace")
    return text.partition("\n---\n")[2].strip("\n")


def touched(shelf: Shelf, dreamt: Dreamt) -> list[Touched]:
    """Return the pages that a dream changed, in their order. Raises LibraryError."""
    before, after = shelf.pages(parent(shelf, dreamt)), shelf.pages(dreamt.commit)
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    was = _entries(shelf, {path: before[path] for path in paths if path in before})
    now = _entries(shelf, {path: after[path] for path in paths if path in after})
    return [Touched(path=path, before=was.get(path), after=now.get(path)) for path in paths]


def parent(shelf: Shelf, dreamt: Dreamt) -> str:
    """Return the commit that a dream was written on; empty where it was the library's first."""
    asked = git("rev-parse", "--verify", "--quiet", f"{dreamt.commit}^1", git_dir=shelf.git_dir, check=False)
    return asked.out.decode().strip()


def _entries(shelf: Shelf, pages: dict[str, str]) -> dict[str, Entry]:
    read = zip(pages, shelf.read(pages), strict=True)
    return {path: entry for path, entry in read if not isinstance(entry, PageError)}


def _made(shelf: Shelf, folder: str) -> dict[str, str]:
    """Return the commit that each file of a folder came with."""
    asked = ("log", "--no-show-signature", "--format=%H", "--diff-filter=A", "--no-renames", "--name-only")
    told = git(*asked, "--end-of-options", "main", "--", folder, git_dir=shelf.git_dir)
    made, commit = dict[str, str](), ""
    for line in told.out.decode(errors="replace").splitlines():
        if _COMMIT.fullmatch(line):
            commit = line
        elif line:
            made[line] = commit  # The oldest one counts: a file that was taken out came again.
    return made


def _dreamt(shelf: Shelf, path: str, commit: str, head: str) -> Dreamt | None:
    said = front((shelf.file(path, head) or b"").decode(errors="replace"))
    folder, _, name = path.rpartition("/")
    counts = {key: int(value) for key, value in said.items() if key not in _PLAIN and _COUNT.fullmatch(value)}
    plain = {key: value for key, value in said.items() if key in _PLAIN and value}
    try:
        return Dreamt.model_validate(
            {**plain, "name": name.removesuffix(".md"), "commit": commit, "counts": counts}
            | {"project": folder.rpartition("/")[2]}
        )
    except ValueError:
        return None
