"""The skills of a project on the shelf: which there are, which a person approved, and how one is approved.

They lie beside the pages, as `skills/PROJECT/NAME/SKILL.md`, and are in no index: there are few, and each is told by
its name and description.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from orchestrator.errors import NotFoundError
from orchestrator.library.entropy import scrubbed
from orchestrator.library.page import PageError
from orchestrator.library.shelf import LibraryError
from orchestrator.library.skill import FILE, Skill, SkillStatus, parse, render
from orchestrator.memory.plain import fenced, lines, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.library.shelf import Shelf

MOST: Final = 50
"""Skills of a project that are told to an agent; a person who approves more has to choose."""
_LONGEST_LINE: Final = 300
_CUT: Final = "\n[… the rest is cut off: it was too long …]"
_REFUSED: Final = {
    SkillStatus.PROPOSED: "it hasn't been tried out yet",
    SkillStatus.FAILED: "it failed when it was tried out",
}


def read(shelf: Shelf, project: str, head: str = "") -> list[Skill | PageError]:
    """Return a project's skills, at the head or at a former one; for a file that is none, why."""
    head = head or shelf.head()
    found = list[Skill | PageError]()
    for path in shelf.beside(f"skills/{project}", head):
        if path.endswith(f"/{FILE}") and (page := shelf.file(path, head)) is not None:
            try:
                found.append(parse(page, path))
            except PageError as error:
                found.append(error)
    return found


def listed(shelf: Shelf, project: str, head: str = "") -> list[Skill]:
    """Return a project's skills of every status, by their names."""
    return [one for one in read(shelf, project, head) if isinstance(one, Skill)]


def problems(shelf: Shelf, project: str) -> list[PageError]:
    """Return why files are set aside. Each stays where it is until a person mends it."""
    return [one for one in read(shelf, project) if isinstance(one, PageError)]


def approved(shelf: Shelf, project: str) -> list[Skill]:
    """Return the skills that agents may be told of."""
    return [one for one in listed(shelf, project) if one.status is SkillStatus.APPROVED][:MOST]


def by_name(shelf: Shelf, project: str, name: str) -> Skill:
    """Return the skill of a name. Raises NotFoundError, or PageError where its file is none."""
    for one in read(shelf, project):
        if isinstance(one, Skill) and one.name == name:
            return one
        if isinstance(one, PageError) and one.file == f"skills/{project}/{name}/{FILE}":
            raise one
    raise NotFoundError(f"there is no skill {name}", hint="dreamdock memory list")


def approve(shelf: Shelf, project: str, name: str, who: str) -> Skill:
    """Have agents be told of a skill. `who` is the author, `NAME <ADDRESS>`.

    Raises NotFoundError, PageError, and LibraryError for one that wasn't seen to work: who knows better changes its
    status in the file.
    """
    skill = by_name(shelf, project, name)
    if why := _REFUSED.get(skill.status):
        said = f": {skill.tried}" if skill.tried else ""
        hint = f"mend it, or write `status: approved` into {shelf.root / skill.path}"
        raise LibraryError(f"the skill {name} can't be approved", cause=f"{why}{said}", hint=hint)
    return _settle(shelf, skill, SkillStatus.APPROVED, who)


def decline(shelf: Shelf, project: str, name: str, who: str) -> Skill:
    """Have a skill neither told nor proposed again. Raises NotFoundError, PageError."""
    return _settle(shelf, by_name(shelf, project, name), SkillStatus.DECLINED, who)


def page(skill: Skill) -> bytes:
    """Return a skill's file as programs write it: without anything that looks like a credential."""
    return scrubbed(render(skill)).encode()


def named(skills: Iterable[Skill]) -> str:
    """Return skills as a model is told of them: a line on each, as a quotation."""
    said = [one_line(f"{one.name}: {one.description}", _LONGEST_LINE) for one in skills]
    return fenced("\n".join(said)) if said else ""


def whole(skill: Skill, longest: int) -> str:
    """Return a skill as a model is shown it, in that many characters: where it's from, and its text as a quotation."""
    source = ", ".join(f"run {one.run} step {one.step}" for one in skill.evidence[:3])
    about = f"seen in {source}; approved by a person" if source else "approved by a person"
    said = lines(f"{skill.description}\n\n{skill.text}")
    head = f"[skills/{skill.name}] skill, {about}:"
    text = f"{head}\n{fenced(said)}"
    if len(text) <= longest:
        return text
    room = max(longest - (len(text) - len(said)) - len(_CUT), 0)
    return f"{head}\n{fenced(said[:room] + _CUT)}"


def find(skills: Sequence[Skill], asked: str) -> Skill | None:
    """Return the skill that a query names."""
    words = asked.strip().lower().removeprefix("skill").strip(" :")
    return next((one for one in skills if one.name == words), None)


def _settle(
    shelf: Shelf,
    skill: Skill,
    status: SkillStatus,
    who: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Skill:
    if skill.status is status:
        return skill
    settled = skill.changed(status=status, updated=now())
    verb = "Approve" if status is SkillStatus.APPROVED else "Decline"
    shelf.put(message=f"{verb} the skill {skill.name}", files={skill.path: page(settled)}, who=who)
    return settled
