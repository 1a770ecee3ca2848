"""A way of working that was accepted more than once, as the SKILL.md that other tools read as well, and back.

`name` and `description` are the two fields that every reader knows; ours stand below `metadata:`, where the convention
has room for them. The steps are the numbered lines of the text, each with its command as code, so that a person mends a
skill by editing what he reads. What else stands in the front matter is kept as it is.
"""

from __future__ import annotations

import re
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from orchestrator.dialogue import Value
from orchestrator.library.entry import LONGEST_TEXT, MOST, Evidence, When, unspoilt
from orchestrator.library.page import (
    PageError,
    evidence_of,
    front_end,
    front_fields,
    page_lines,
    scalar,
    told_evidence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE: Final = "SKILL.md"
LONGEST_NAME: Final = 64
LONGEST_DESCRIPTION: Final = 1024
_LONGEST_TOLD: Final = 400
_PLACE: Final = re.compile(rf"skills/([0-9a-f]{{12}})/([^/]+)/{FILE}\Z")
_OPENS: Final = re.compile(r"metadata:[ \t]*(?:#.*)?\Z")
_INDENTED: Final = re.compile(r"[ \t]+[^\s-]")
_PLAIN: Final = ("name", "description")
_OURS: Final = ("status", "updated", "evidence", "tried")
_STEP: Final = re.compile(r"^[ ]{0,3}\d{1,3}[.)][ ][^`\n]*(`{1,3})(?!`)([^\n]+?)\1(?!`)", re.MULTILINE)


class SkillStatus(StrEnum):
    """How far a skill has come; only an approved one is told to agents."""

    PROPOSED = "proposed"
    TRIED = "tried"  # Its commands passed, one after the other, in a sealed container.
    FAILED = "failed"  # One of them didn't; `tried` says which.
    APPROVED = "approved"
    DECLINED = "declined"  # A person doesn't want it; it isn't proposed again.


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=LONGEST_NAME)]
"""Also the name of its folder."""


class Skill(Value):
    """What to do, in which order, and where that was seen to be accepted.

    `text` is the Markdown below the front matter, `tried` the last line of what its last trial said, `more` and `about`
    are lines of the front matter, and of its `metadata:`, that are somebody else's.
    """

    project: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    name: Name
    description: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST_DESCRIPTION),
        AfterValidator(unspoilt),
    ]
    text: Annotated[str, StringConstraints(max_length=LONGEST_TEXT)] = ""
    status: SkillStatus = SkillStatus.APPROVED
    updated: When | None = None
    evidence: Annotated[tuple[Evidence, ...], Field(max_length=MOST)] = ()
    tried: Annotated[str, StringConstraints(max_length=_LONGEST_TOLD), AfterValidator(unspoilt)] = ""
    more: tuple[str, ...] = ()
    about: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of its steps, in their order."""
        return tuple(found[2].strip() for found in _STEP.finditer(self.text))

    @property
    def path(self) -> str:
        """Where it lies in the library."""
        return f"skills/{self.project}/{self.name}/{FILE}"

    def changed(self, **fields: object) -> Skill:
        """Return it with other values in some fields, checked as all are. Raises ValueError."""
        return type(self).model_validate({**dict(self), **fields})


def render(skill: Skill) -> str:
    """Return a skill's SKILL.md: the same bytes for the same skill, and `parse` gives it back."""
    evidence = ", ".join(map(told_evidence, skill.evidence))
    updated = skill.updated and skill.updated.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ours = {"status": skill.status, "updated": updated, "evidence": evidence, "tried": skill.tried}
    lines = [
        "---",
        f"name: {skill.name}",
        f"description: {scalar(skill.description)}",
        *skill.more,
        "metadata:",
        *(f"  {key}: {scalar(value)}" for key, value in ours.items() if value),
        *(f"  {line}" for line in skill.about),
        "---",
    ]
    return "\n".join([*lines, "", skill.text, ""] if skill.text else [*lines, ""])


def parse(page: bytes | str, file: str) -> Skill:
    """Return the skill of a file. Where it says no status, a person wrote it, and it's approved.

    Raises PageError with the line that is wrong.
    """
    if not (place := _PLACE.match(file)):
        raise PageError(file, 1, f"a skill lies in skills/PROJECT/NAME/{FILE}")
    lines = page_lines(page, file)
    end = front_end(lines, file)
    outer, inner = _parted(lines[1:end])
    where: dict[str, int] = {}
    said = {**_read(outer, _PLAIN, file, where), **_read(inner, _OURS, file, where)}
    for key in _PLAIN:
        if key not in said:
            raise PageError(file, end + 1, f"{key} is missing")
    if said["name"] != place[2]:
        raise PageError(file, where["name"], f"its folder is {place[2][:80]!r}: a skill has its folder's name")
    evidence = [evidence_of(one, file, where["evidence"]) for one in said.pop("evidence", "").split(", ") if one]
    more = {"more": _others(outer, _PLAIN), "about": _others(inner, _OURS), "evidence": evidence}
    text = "\n".join(lines[end + 1 :]).strip("\n")
    try:
        return Skill.model_validate({**said, **more, "project": place[1], "text": text})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        reason = first["msg"].removeprefix("Value error, ")
        raise PageError(file, where.get(field, end + 1), f"{field}: {reason}") from None


def _parted(front: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the front matter from what is below its `metadata:`; each keeps its lines' places, for what is told."""
    outer, inner, below = list[str](), list[str](), False
    for line in front:
        below = bool(_OPENS.match(line)) or (below and (not line.strip() or bool(_INDENTED.match(line))))
        outer.append("" if below else line)
        inner.append(line.strip() if below and not _OPENS.match(line) else "")
    return outer, inner


def _read(front: Sequence[str], ours: Sequence[str], file: str, where: dict[str, int]) -> dict[str, str]:
    """Return what the front matter says of our fields; `where` learns the lines of all. Raises PageError."""
    said = {}
    for number, key, value in front_fields(front, file):
        if key in where:
            raise PageError(file, number, f"{key} is there twice, first in line {where[key]}")
        where[key] = number
        if key in ours:
            if not isinstance(value, str):
                raise PageError(file, number, f"{key} has to be one value")
            said[key] = value
    return said


def _others(front: Sequence[str], ours: Sequence[str]) -> tuple[str, ...]:
    """Return the lines that aren't ours, as they are."""
    return tuple(line for line in front if line.strip() and line.partition(":")[0] not in ours)
