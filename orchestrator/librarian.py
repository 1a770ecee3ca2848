"""What people do with the library: look things up, write, correct, approve and forget, each as a commit of theirs.

Only the library's own files are needed: no Redis, no engine. Where it is shared, what others wrote is brought before a
write, and the write is pushed behind it; a remote that is away holds nothing up, and the next write pushes.
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import ValidationError

from orchestrator.errors import DreamdockError, NotFoundError, UnavailableError, UsageError
from orchestrator.library import skills
from orchestrator.library.entry import Entry, Origin, Scope, SeenPath, Status, Where, new_id
from orchestrator.library.finding import below, find, misplaced
from orchestrator.library.handing_on import Form, handed_on
from orchestrator.library.history import Written, history
from orchestrator.library.opened import open_library, scopes
from orchestrator.library.page import PageError, parse, render
from orchestrator.library.place import path_of
from orchestrator.library.sharing import Shared, pull, share
from orchestrator.library.shelf import LibraryError
from orchestrator.library.skill import FILE, Skill, SkillStatus
from orchestrator.library.skill import render as render_skill
from orchestrator.redaction import REDACTED
from sandbox.git import git
from sandbox.source import local_view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.library.entry import EntryKind
    from orchestrator.library.recall import Recalled
    from orchestrator.settings import Settings

PUT_AWAY: Final = frozenset({Status.SUPERSEDED, Status.ARCHIVED})
"""What a list leaves out unless it's asked for: another entry took its place, or it was of little use."""
_HINT: Final = "docs/memory.md tells what an entry's fields may hold"


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


class Draft(NamedTuple):
    """A page that somebody is about to change: its entry and text at the commit `since`; `away` as in `Done`."""

    entry: Entry
    page: str
    since: str
    away: str


class Done(NamedTuple):
    """What a write came to.

    `entries` are as the library has them now, `commit` is empty where nothing was changed, `left_out` counts what
    looked like a secret, and `away` says why the remote doesn't have it yet (empty: it has, or there is none).
    """

    entries: tuple[Entry, ...]
    commit: str
    left_out: int
    away: str


class Gone(NamedTuple):
    """Pages that were taken out by a commit, and why the remote doesn't know it yet, as above."""

    paths: tuple[str, ...]
    commit: str
    away: str


class Librarian:
    """The library as one person at work on one repository sees and changes it. One thread uses an object."""

    def __init__(self, settings: Settings, user: str, project: str = "", repo: Path | None = None) -> None:
        """Take whose library this is; `project` is the repository's id, empty for none. Nothing is read yet.

        `repo` is where that repository is, to say of what commit paths are; None where it isn't here.
        """
        self._repo = repo
        self.root = settings.library_dir
        self.project = project
        self.scopes = scopes(settings, user, project)
        self._user = user
        self._remote = settings.library.remote
        self._library = open_library(settings)
        self._shelf = self._library.shelf

    # --- looking

    def take_in(self) -> str:
        """Take in what people changed in the files; return why that isn't possible now, empty where it is.

        What's looked up then is as of the last commit.
        """
        if not os.access(self._shelf.git_dir, os.W_OK):
            return ""  # Nothing there yet, or somebody else's.
        try:
            self._shelf.adopt()
        except DreamdockError as error:
            return _said(error)
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
        return Listing(entries, put_away, self._skills(everything=everything), problems)

    def _skills(self, *, everything: bool) -> list[Skill]:
        """Return the repository's skills; what a person declined only if asked."""
        found = skills.listed(self._shelf, self.project) if self.project else []
        return [one for one in found if everything or one.status is not SkillStatus.DECLINED]

    def skill(self, name: str) -> tuple[Skill, list[Written]]:
        """Return a skill, and the commits that changed it. Raises NotFoundError, PageError."""
        one = skills.by_name(self._shelf, self._project(name), name)
        return one, history(self._shelf, one.path)

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

    # --- writing

    def add(
        self,
        kind: EntryKind,
        title: str,
        text: str = "",
        *,
        scope: Scope = Scope.REPO,
        paths: Sequence[str] = (),
        command: str = "",
    ) -> Done:
        """Write a new entry of a person's, about these paths of the repository.

        Raises UsageError for what can't be an entry, NotFoundError for a path that isn't in the repository's last
        commit, and what a write raises: LibraryError, UnavailableError for a library that is in use.
        """
        where = self._where(scope)
        entry = _checked(
            lambda: Entry(
                id=new_id(),
                kind=kind,
                scope=where.scope,
                scope_id=where.scope_id,
                title=title,
                text=text,
                origin=Origin.PERSON,
                paths=self._seen(paths) if paths else (),
                command=command,
            )
        )
        if not entry.title:
            raise UsageError("the title is empty", hint='dreamdock memory add pitfall "Tests need Redis" "make redis"')
        away = self._bring()
        return self._write([entry], f"Add a {kind}: {entry.scrubbed().title}", self._shelf.head(), away)

    def draft(self, reference: str) -> Draft:
        """Return a page to be changed, with what others wrote by now. Raises as `shown` and a write do."""
        away = self._bring()
        head = self._shelf.head()
        pages = self._shelf.pages(head)
        entry = self._entry(self._path(reference, pages), pages)
        return Draft(entry, render(entry), head, away)

    def edit(self, draft: Draft, *, scope: Scope | None = None, **fields: object) -> Done:
        """Write other values into some of an entry's fields; another scope moves its page. Raises as `add` does."""
        where = draft.entry.where if scope is None else self._where(scope)
        return self._rewrite(draft, _checked(lambda: draft.entry.changed(**{**dict(where), **fields})))

    def rewrite(self, draft: Draft, page: str, file: str) -> Done:
        """Write a page as a person changed it; `file` is what it's called in errors. Raises PageError, and as `add`."""
        return self._rewrite(draft, parse(page, file, {"id": draft.entry.id}))

    def approve(self, references: Sequence[str]) -> Done:
        """Have entries be believed: active from now on. Raises UsageError for one whose place another one took."""
        away = self._bring()
        head = self._shelf.head()
        pages = self._shelf.pages(head)
        entries = {path: self._entry(path, pages) for path in (self._path(one, pages) for one in references)}
        for entry in entries.values():
            if entry.status in PUT_AWAY:
                hint = f"dreamdock memory edit {entry.id} --status active"
                raise UsageError(f"{entry.id} is {entry.status}", cause="it isn't waiting for approval", hint=hint)
        approved = [entry.changed(status=Status.ACTIVE) for entry in entries.values()]
        message = f"Approve {', '.join(entry.id for entry in approved)}"
        return self._write(approved, message, head, away)

    def forget(self, references: Sequence[str]) -> Gone:
        """Take pages out of the library, those that can't be read as well; git keeps what they were.

        Raises LibraryError where somebody changed one at the same moment: it stays.
        """
        away = self._bring()
        head = self._shelf.head()
        pages = self._shelf.pages(head)
        paths = [*dict.fromkeys(self._path(one, pages) for one in references)]
        message = f"Forget {', '.join(PurePosixPath(path).stem for path in paths)}"
        commit = self._shelf.put(message=message, since=head, files=dict.fromkeys(paths), who=self._shelf.whose())
        if left := self._shelf.pages(commit).keys() & set(paths):
            raise LibraryError(f"{min(left)} was changed at the same moment", hint="look at it, and forget it again")
        return Gone(tuple(paths), commit, away or self._push())

    def settle_skill(self, name: str, *, wanted: bool) -> tuple[Skill, str]:
        """Have agents be told of a skill, or never again; return it, and why the remote doesn't have it yet.

        Raises NotFoundError, PageError, LibraryError for one that wasn't seen to work.
        """
        project = self._project(name)
        away = self._bring()
        settle = skills.approve if wanted else skills.decline
        settled = settle(self._shelf, project, name, self._shelf.whose())
        return settled, away or self._push()

    def shared(self) -> Shared:
        """Bring what others wrote, and push what is new here. Raises UsageError where it's not shared, as `share`."""
        if not self._remote:
            raise UsageError("the library isn't shared", hint="set library.remote to a git URL; see docs/memory.md")
        return share(self._shelf, self._remote)

    # --- parts of a write

    def _rewrite(self, draft: Draft, entry: Entry) -> Done:
        before = path_of(draft.entry)
        moved: dict[str, bytes | None] = {} if path_of(entry) == before else {before: None}
        message = f"Edit {entry.id}: {entry.scrubbed().title}"
        return self._write([entry], message, draft.since, draft.away, moved)

    def _write(
        self,
        entries: Sequence[Entry],
        message: str,
        since: str,
        away: str,
        files: Mapping[str, bytes | None] | None = None,
    ) -> Done:
        before = self._shelf.head()
        commit = self._shelf.put(
            *entries, message=message, since=since, files=files, who=self._shelf.whose(), vouched=True
        )
        pages = self._shelf.pages(commit)
        now = tuple(self._entry(path, pages) for path in map(path_of, entries))
        left_out = sum(_redactions(entry.scrubbed()) - _redactions(entry) for entry in entries)
        return Done(now, "" if commit == before else commit, left_out, away or self._push())

    def _bring(self) -> str:
        """Bring what others wrote, and what people changed in the files; return why the remote can't be had."""
        self._shelf.adopt()
        if self._remote:
            try:
                pull(self._shelf, self._remote)
            except UnavailableError as error:
                return _said(error)
        return ""

    def _push(self) -> str:
        """Push what is new here; return why the remote doesn't have it, empty where it has or there is none."""
        if self._remote:
            try:
                share(self._shelf, self._remote)
            except DreamdockError as error:
                return _said(error)
        return ""

    # --- finding

    def _project(self, name: str) -> str:
        """Return the repository whose skill is asked for. Raises NotFoundError where there is none."""
        if not self.project:
            cause = "this is no git repository with a commit, and skills are a repository's"
            raise NotFoundError(f"there is no skill {name}", cause=cause, hint="--repo PATH")
        return self.project

    def _seen(self, paths: Sequence[str]) -> tuple[SeenPath, ...]:
        """Return paths as the repository has them, with the commit at which they are there."""
        if self._repo is None:
            return tuple(SeenPath(path=path) for path in paths)
        with local_view(self._repo, "HEAD") as view:
            named = [_within(view.work_tree, self._repo, path) for path in paths]
            for path in named:
                if git("cat-file", "-e", f"{view.commit}:{path}", git_dir=view.git_dir, check=False).code:
                    raise NotFoundError(
                        f"the repository's last commit has no {path}", hint="git ls-files; or commit it"
                    )
            return tuple(SeenPath(path=path, commit=view.commit) for path in named)

    def _where(self, scope: Scope) -> Where:
        """Return which repository, team or user a scope means here. Raises UsageError where it means none."""
        for where in self.scopes:
            if where.scope is scope:
                return where
        cause, hint = {
            Scope.REPO: ("this is no git repository with a commit", "--repo PATH, or --scope user"),
            Scope.TEAM: (f"{self._user} is in no team", "name the team under [queue.users]; see docs/team.md"),
            Scope.USER: (f"{self._user!r} can't be a scope's name", "--scope repo"),
        }[scope]
        raise UsageError(f"there is no {scope} to write for", cause=cause, hint=hint)

    def _path(self, reference: str, pages: Mapping[str, str]) -> str:
        return find(reference, pages, self.scopes)

    def _entry(self, path: str, pages: Mapping[str, str]) -> Entry:
        read = next(self._shelf.read({path: pages[path]}))
        if isinstance(read, PageError):
            raise read
        return read


def _within(work_tree: Path | None, folder: Path, path: str) -> str:
    """Return a path as the repository names it: one of `folder`'s if there is such a file, else as it's typed."""
    there = (folder / path).resolve()
    if work_tree is not None and there.exists() and there.is_relative_to(work_tree.resolve()):
        return there.relative_to(work_tree.resolve()).as_posix()
    return PurePosixPath(path).as_posix()


def _checked(make: Callable[[], Entry]) -> Entry:
    """Return an entry. Raises UsageError where its fields can't be one's."""
    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        field = str((first["loc"] or ("scope_id",))[0])
        raise UsageError(
            f"{field.replace('_', ' ')} can't be that", cause=first["msg"].removeprefix("Value error, "), hint=_HINT
        ) from error


def _redactions(entry: Entry) -> int:
    return sum(text.count(REDACTED) for text in (entry.title, entry.text, entry.command))


def _wanted(entry: Entry, status: Status | None, *, everything: bool) -> bool:
    return entry.status is status if status else everything or entry.status not in PUT_AWAY


def _newest_first(entry: Entry) -> tuple[float, str]:
    when = entry.updated or entry.created
    return (when.timestamp() if when else 0.0, entry.id)


def _said(error: DreamdockError) -> str:
    return f"{error.message}: {error.cause}" if error.cause else error.message
