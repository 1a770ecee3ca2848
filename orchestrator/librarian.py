"""What people do with the library: look things up, write, correct, approve and forget, each as a commit of theirs.

Only the library's own files are needed: no Redis, no engine. Where it is shared, what others wrote is brought before a
write, and the write is pushed behind it; a remote that is away holds nothing up, and the next write pushes.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import ValidationError

from orchestrator.errors import UsageError
from orchestrator.library import skills
from orchestrator.library.catalogue import PUT_AWAY, Catalogue
from orchestrator.library.entry import Entry, Origin, Scope, Status, Where, new_id
from orchestrator.library.page import parse, render
from orchestrator.library.place import path_of
from orchestrator.library.seen import seen
from orchestrator.library.sharing import Shared, brought, pushed, share
from orchestrator.library.shelf import LibraryError
from orchestrator.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.library.entry import EntryKind
    from orchestrator.library.skill import Skill
    from orchestrator.settings import Settings

_HINT: Final = "docs/memory.md tells what an entry's fields may hold"


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


class Librarian(Catalogue):
    """The library as one person at work on one repository sees and changes it. One thread uses an object."""

    def __init__(self, settings: Settings, user: str, project: str = "", repo: Path | None = None) -> None:
        """Take whose library this is; `project` is the repository's id, empty for none. Nothing is read yet.

        `repo` is where that repository is, to say of what commit paths are; None where it isn't here.
        """
        super().__init__(settings, user, project)
        self._repo = repo
        self._user = user
        self._remote = settings.library.remote

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
                paths=seen(self._repo, paths),
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

    def rewrite(self, draft: Draft, page: bytes, file: str) -> Done:
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
        return brought(self._shelf, self._remote)

    def _push(self) -> str:
        return pushed(self._shelf, self._remote)

    # --- finding

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
