"""One thing that is worth knowing longer than a run lasts, as a value: what, where it holds, and how it's known."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from orchestrator.dialogue import Value
from orchestrator.library.entropy import scrubbed

LONGEST_TEXT: Final = 20_000
"""Characters of an entry's text; what is longer is no entry but a document."""
LONGEST_TITLE: Final = 200
LONGEST_COMMAND: Final = 400
_SCRUBBED: Final = {"title": LONGEST_TITLE, "text": LONGEST_TEXT, "command": LONGEST_COMMAND}
MOST: Final = 200
"""Of an entry's evidence, paths or predecessors."""
_PROJECT: Final = re.compile(r"[0-9a-f]{12}")
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_SINCE_S: Final = 1_700_000_000
"""Ids count seconds from here (November 2023): seven digits of base 32 last a thousand years."""
_TIME_DIGITS: Final = 7
_RANDOM_DIGITS: Final = 6


class EntryKind(StrEnum):
    """What an entry is about."""

    DECISION = "decision"
    CONVENTION = "convention"
    PITFALL = "pitfall"
    COMMAND = "command"
    FACT = "fact"
    API = "api"


class Scope(StrEnum):
    """Where an entry holds; which repository, team or user is its scope id."""

    REPO = "repo"
    TEAM = "team"
    USER = "user"


class Status(StrEnum):
    """How far an entry is to be believed, from the most to the least."""

    ACTIVE = "active"
    UNVERIFIED = "unverified"
    STALE = "stale"  # It was so: its paths are gone, or its command fails.
    SUPERSEDED = "superseded"  # Another one took its place.
    QUARANTINED = "quarantined"  # From a tool, the web or a repository, and nobody has vouched for it.
    ARCHIVED = "archived"  # More was known than the library keeps in view; nothing is deleted.


IN_VIEW: Final = frozenset({Status.ACTIVE, Status.UNVERIFIED})
"""What may be shown to a model unasked."""


class Origin(StrEnum):
    """Whose words an entry is made of, from the most to the least trusted."""

    PERSON = "person"
    AGENT = "agent"
    REPO = "repo"
    TOOL = "tool"
    WEB = "web"


DATA: Final = frozenset({Origin.REPO, Origin.TOOL, Origin.WEB})
"""Origins of which a text is data: quarantined until it's verified, or a person approves it."""


def unspoilt(text: str) -> str:
    """Refuse what a line can't hold, or what would look like something else than it is."""
    if not text.isprintable():
        raise ValueError("it holds characters that can't be seen")
    return text


def _tidy_text(text: str) -> str:
    """Return text as pages hold it: no blanks behind its lines, and nothing that can't be seen but tabs."""
    return "\n".join(_tidy_line(line) for line in text.split("\n")).strip("\n")


def _tidy_line(line: str) -> str:
    return (line if line.isprintable() else "".join(filter(_visible, line))).rstrip()


def _visible(sign: str) -> bool:
    return sign.isprintable() or sign == "\t"


def _rounded(share: float) -> float:
    return round(share, 3)


def _whole_seconds(when: datetime) -> datetime:
    """Return a time as a page tells it."""
    try:
        return when.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        raise ValueError("it lies before or behind all time") from None


Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=LONGEST_TITLE), AfterValidator(unspoilt)]
"""A line of text that can be shown as it is."""
EntryId = Annotated[str, StringConstraints(pattern=r"^[0-9a-z][0-9a-z-]{2,63}$")]
"""Also the name of its page; people may choose one themselves."""
ScopeId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._@+-]{0,63}$")]
"""A repository's is its project id (12 hex digits of its root commit), a team's or user's its name."""
When = Annotated[AwareDatetime, AfterValidator(_whole_seconds)]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{4,64})?$")]


class Evidence(Value):
    """What an entry is known from: a step of a run, with the commit that it worked on. A person gives none."""

    run: Annotated[Line, StringConstraints(pattern=r"^\S+$")]
    step: int = Field(0, ge=0, le=10**9)
    commit: Commit = ""


class SeenPath(Value):
    """A path that an entry is about, and the commit at which it was there; empty for not looked."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=400), AfterValidator(unspoilt)]
    commit: Commit = ""


class Where(Value):
    """A scope and which one of its kind: what a query may see."""

    scope: Scope
    scope_id: ScopeId

    @model_validator(mode="after")
    def _a_project(self) -> Where:
        _check_scope(self.scope, self.scope_id)
        return self


class Entry(Value):
    """One entry of the library.

    `confidence` is from 0 to 1, `uses` counts the runs that were given it, `accepted` those of them whose work was
    accepted. `supersedes` are the ids of those that it took the place of. `command` is what can be run again to see
    whether it still holds, empty for none. `created` and `updated` are whole seconds.
    """

    id: EntryId
    kind: EntryKind
    scope: Scope
    scope_id: ScopeId
    title: Line
    text: Annotated[str, StringConstraints(max_length=LONGEST_TEXT), AfterValidator(_tidy_text)] = ""
    status: Status = Status.ACTIVE
    origin: Origin = Origin.PERSON
    confidence: Annotated[float, Field(ge=0, le=1), AfterValidator(_rounded)] = 1.0
    created: When | None = None
    updated: When | None = None
    uses: int = Field(0, ge=0, le=10**9)
    accepted: int = Field(0, ge=0, le=10**9)
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=MOST)] = ()
    paths: Annotated[tuple[SeenPath, ...], Field(max_length=MOST)] = ()
    supersedes: Annotated[tuple[EntryId, ...], Field(max_length=MOST)] = ()
    command: Annotated[str, StringConstraints(max_length=LONGEST_COMMAND), AfterValidator(unspoilt)] = ""

    @model_validator(mode="after")
    def _a_project(self) -> Entry:
        _check_scope(self.scope, self.scope_id)
        return self

    @property
    def where(self) -> Where:
        """The scope that it holds in."""
        return Where(scope=self.scope, scope_id=self.scope_id)

    @property
    def holds(self) -> str:
        """Where it holds, in words for whoever works on its repository."""
        return "this repository" if self.scope is Scope.REPO else f"{self.scope} {self.scope_id}"

    @property
    def source(self) -> str:
        """Whose words it is, in words."""
        return "a person" if self.origin is Origin.PERSON else f"the {self.origin}"

    def scrubbed(self) -> Entry:
        """Return it without anything that looks like a credential, or is drawn at random.

        What gets too long by that, since a short password has become `[redacted]`, ends early.
        """
        clean = {name: scrubbed(getattr(self, name))[:most] for name, most in _SCRUBBED.items()}
        return self.changed(**clean)

    def changed(self, **fields: object) -> Entry:
        """Return it with other values in some fields, checked as all are. Raises ValueError."""
        return type(self).model_validate({**dict(self), **fields})


def new_id() -> str:
    """Return a new entry's id: 13 characters that sort by when they were made, to the second, the rest at random."""
    seconds = int(time.time()) - _SINCE_S
    digits = (seconds >> 5 * place & 31 for place in reversed(range(_TIME_DIGITS)))
    return "".join(_ALPHABET[digit] for digit in digits) + "".join(
        secrets.choice(_ALPHABET) for _ in range(_RANDOM_DIGITS)
    )


def _check_scope(scope: Scope, scope_id: str) -> None:
    if scope is Scope.REPO and not _PROJECT.fullmatch(scope_id):
        raise ValueError("a repository's scope id is 12 hex digits")
