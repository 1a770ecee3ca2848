"""The library as one person at work on one repository looks at it: lists, searches, entries with their history."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import DreamdockError, NotFoundError, UsageError
from orchestrator.library import skills
from orchestrator.library.entry import Entry, Scope, Status
from orchestrator.library.handing_on import Form, handed_on
from orchestrator.library.history import Written, history
from orchestrator.library.opened import open_library, scopes
from orchestrator.library.page import PageError
from orchestrator.library.reference import below, find, misplaced
from orchestrator.library.skill import FILE, Skill, SkillStatus
from orchestrator.library.skill import render as render_skill

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.library.entry import EntryKind
    from orchestrator.library.recall import Recalled
    from orchestrator.settings import Settings

PUT_AWAY: Final = frozenset({Status.SUPERSEDED, Status.ARCHIVED})
"""What a list leaves out unless it's asked for: another entry took its place, or it was of little use."""


class Listing(NamedTuple):
    """Entries by scope, the newest first; how many more are put away; skills; and the pages that are set aside."""

    entries: list[Entry]
    put_away: int
    skills: list[Skill]
    problems: list[PageError]


class Shown(NamedTuple):
    """An entry, the path of its page in the library, and the commits that changed it, the newest first."""

    entry: Entry
    path: str
    history: list[Written]


class Catalogue:
    """What one person has in view at work on one repository. One thread uses an object."""

    def __init__(self, settings: Settings, user: str, project: str = "") -> None:
        """Take whose library this is; `project` is the repository's id, empty for none. Nothing is read yet."""
        self.root: Path = settings.library_dir
        self.project = project
        self.scopes = scopes(settings, user, project)
        self._library = open_library(settings)
        self._shelf = self._library.shelf

    def take_in(self) -> str:
        """Take in what people changed in the files; return why that isn't possible now, empty where it is.

        What's looked up then is as of the last commit.
        """
        if not os.access(self._shelf.git_dir, os.W_OK):
            return ""  # Nothing there yet, or somebody else's.
        try:
            self._shelf.adopt()
        except DreamdockError as error:
            return error.words
        return ""

    def listed(
        self,
        *,
        scope: Scope | None = None,
        status: Status | None = None,
        kind: EntryKind | None = None,
        everything: bool = False,
    ) -> Listing:
        """Return the entries of a scope, status or kind; without a status those that are put away only if asked."""
        pages = self._shelf.pages(self._shelf.head())
        there = {where: below(where, pages) for where in self.scopes if scope in {None, where.scope}}
        entries, problems, put_away = list[Entry](), [*misplaced(pages)], 0
        for inside in there.values():
            read = [*self._shelf.read(inside)]
            problems += [one for one in read if isinstance(one, PageError)]
            fit = [one for one in read if not isinstance(one, PageError) and kind in {None, one.kind}]
            shown = [one for one in fit if _wanted(one, status, everything=everything)]
            put_away += len(fit) - len(shown) if status is None else 0
            entries += sorted(shown, key=_newest_first, reverse=True)
        if self.project and scope in {None, Scope.REPO}:
            problems += skills.problems(self._shelf, self.project)
        unfiltered = scope in {None, Scope.REPO} and (status, kind) == (None, None)
        return Listing(entries, put_away, self._skills(everything=everything) if unfiltered else [], problems)

    def _skills(self, *, everything: bool) -> list[Skill]:
        """Return the repository's skills; what a person declined only if asked."""
        found = skills.listed(self._shelf, self.project) if self.project else []
        return [one for one in found if everything or one.status is not SkillStatus.DECLINED]

    def skill(self, name: str) -> tuple[Skill, list[Written]]:
        """Return a skill, and the commits that changed it. Raises NotFoundError, PageError."""
        project = self._project(name)
        found = skills.by_name(self._shelf, project, name)
        return found, history(self._shelf, found.path)

    def ids(self) -> list[str]:
        """Return the ids of all pages in view, those that are put away or can't be read as well."""
        pages = self._shelf.pages(self._shelf.head())
        return [PurePosixPath(path).stem for where in self.scopes for path in below(where, pages)]

    def search(self, query: str, *, most: int = 10, hidden: bool = False) -> list[Recalled]:
        """Return what fits the query, best first; `hidden` also what isn't recalled. Raises UsageError."""
        if not query.strip():
            raise UsageError("nothing says what to look for", hint='dreamdock memory search "how tests are run"')
        return self._library.search(self.scopes, query, most=most, hidden=hidden)

    def shown(self, reference: str) -> Shown:
        """Return an entry by the start of its id. Raises NotFoundError, UsageError for several, PageError."""
        pages = self._shelf.pages(self._shelf.head())
        path = self._path(reference, pages)
        return Shown(self._entry(path, pages), path, history(self._shelf, path))

    def exported(self, form: Form) -> str:
        """Return what is in view as text for other readers; see `library.handing_on`."""
        return handed_on(self.listed(everything=True).entries, form)

    def skills_exported(self) -> dict[str, str]:
        """Return the approved skills as files, by their paths below a folder of skills."""
        there = skills.approved(self._shelf, self.project) if self.project else []
        return {f"{one.name}/{FILE}": render_skill(one) for one in there}

    # --- finding

    def _project(self, name: str) -> str:
        """Return the repository whose skill is asked for. Raises NotFoundError where there is none."""
        if not self.project:
            cause = "this is no git repository with a commit, and skills are a repository's"
            raise NotFoundError(f"there is no skill {name}", cause=cause, hint="--repo PATH")
        return self.project

    def _path(self, reference: str, pages: Mapping[str, str]) -> str:
        return find(reference, pages, self.scopes)

    def _entry(self, path: str, pages: Mapping[str, str]) -> Entry:
        read = next(self._shelf.read({path: pages[path]}))
        if isinstance(read, PageError):
            raise read
        return read


def _wanted(entry: Entry, status: Status | None, *, everything: bool) -> bool:
    return entry.status is status if status else everything or entry.status not in PUT_AWAY


def _newest_first(entry: Entry) -> tuple[float, str]:
    when = entry.updated or entry.created
    return (when.timestamp() if when else 0.0, entry.id)
