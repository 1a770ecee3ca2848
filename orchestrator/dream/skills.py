"""Skills that runs teach: what two or more accepted ones did in the same order, proposed to a person.

A dream reads the runs since the last one, so what accepted runs did is kept beside the skills: the second run to do the
same may be one of a later week.
"""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import ValidationError

from orchestrator.dream.commands import Holds
from orchestrator.dream.workflows import Workflow
from orchestrator.library.entropy import scrubbed
from orchestrator.library.page import PageError
from orchestrator.library.skill import LONGEST_DESCRIPTION, LONGEST_NAME, Skill, SkillStatus
from orchestrator.library.skills import page, read
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from orchestrator.dream.commands import Tried
    from orchestrator.library.entry import Evidence
    from orchestrator.library.shelf import Shelf

    TryOut = Callable[[Sequence[str]], Tried]
    """Runs commands one after the other in one sealed container at the repository's head: `commands.in_turn`."""


MOST: Final = 5
"""Skills that one dream proposes: a person has to read each."""
KEPT: Final = 60
"""Workflows that are kept, and compared pair by pair."""
_STATUS: Final = {Holds.YES: SkillStatus.TRIED, Holds.NO: SkillStatus.FAILED}
_SAME: Final = 2
"""Workflows of the same commands that are kept: two show it."""
_SHORTEST: Final = 2
_LONGEST_TRIED: Final = 300
_MOST_RUNS: Final = 5
_WORD: Final = re.compile(r"[a-z0-9]+")
_WORDS: Final = 3
_FLAG: Final = re.compile(r"(?<!\S)-\S*")
_STARTERS: Final = frozenset({"python", "python3", "bash", "sh", "run", "exec", "npx", "uv", "poetry"})
"""Words of a command that say how it's started, and not what it does."""


class Found(NamedTuple):
    """What a dream has of skills: files for its commit, the skills that are new or changed, and what is to be told."""

    files: dict[str, bytes]
    skills: tuple[Skill, ...] = ()
    notes: tuple[str, ...] = ()


def skills(
    shelf: Shelf,
    project: str,
    fresh: Iterable[Workflow],
    now: datetime,
    *,
    head: str = "",
    try_out: TryOut | None = None,
) -> Found:
    """Return what to write of a project's skills, given what its accepted runs did since the last dream.

    `head` is the commit that the library is read at. Without `try_out` none is tried. Raises LibraryError.
    """
    there = read(shelf, project, head)
    known = [one for one in there if isinstance(one, Skill)]
    before = kept(shelf, project, head)
    workflows = remember(before, fresh)
    new = propose(project, workflows, known, now)
    waiting = [*new, *(one for one in known if one.status in {SkillStatus.PROPOSED, SkillStatus.FAILED})]
    if try_out is not None:
        waiting = [tried(one, try_out, now) for one in waiting]
    written = tuple(one for one in waiting if one not in known)
    files = {one.path: page(one) for one in written}
    if workflows != before:
        files[_kept_in(project)] = _lines(workflows)
    return Found(files, written, tuple(one.message for one in there if isinstance(one, PageError)))


def propose(project: str, workflows: Sequence[Workflow], known: Sequence[Skill], now: datetime) -> tuple[Skill, ...]:
    """Return the skills that workflows show and that aren't known: the longest, and those of the most runs, first."""
    shown = {_common(one.commands, two.commands) for one, two in combinations(workflows, 2) if one.run != two.run}
    longest = [
        one
        for one in shown
        if len(one) >= _SHORTEST and not any(len(more) > len(one) and _within(one, more) for more in shown)
    ]
    there = [one.commands for one in known]
    behind = {one: [flow for flow in workflows if _within(one, flow.commands)] for one in longest}
    fresh = [one for one in longest if not any(_within(one, commands) for commands in there)]
    fresh.sort(key=lambda one: (-len(behind[one]), -len(one), one))
    names = {one.name for one in known}
    found = []
    for commands in fresh[:MOST]:
        name = _name(commands, names)
        names.add(name)
        found.append(_skill(project, name, commands, behind[commands], now))
    return tuple(found)


def tried(skill: Skill, try_out: TryOut, now: datetime) -> Skill:
    """Return a skill with what came of trying its commands, as it is where that is what it says already.

    Where nobody can say, the commands may hold or not: its status stays, and why is told.
    """
    came = try_out(skill.commands)
    status = _STATUS.get(came.holds, skill.status)
    if status is skill.status and skill.tried:
        return skill  # What is printed differs by a duration; nobody needs a commit for that.
    return skill.changed(status=status, tried=one_line(scrubbed(came.why), _LONGEST_TRIED), updated=now)


def kept(shelf: Shelf, project: str, head: str = "") -> tuple[Workflow, ...]:
    """Return the workflows that earlier dreams saw, oldest first; a line that can't be read is none."""
    found = []
    for line in (shelf.file(_kept_in(project), head) or b"").splitlines():
        try:
            found.append(Workflow.model_validate_json(line))
        except ValidationError:
            continue
    return tuple(found)


def remember(before: Sequence[Workflow], fresh: Iterable[Workflow]) -> tuple[Workflow, ...]:
    """Return the workflows to keep: the newest, each run once, and what two of them show not a third time."""
    found = dict[str, Workflow]()
    for one in (*before, *fresh):
        alike = sum(other.commands == one.commands for other in found.values() if other.run != one.run)
        if alike < _SAME:
            found[one.run] = one
    return tuple(found.values())[-KEPT:]


def _kept_in(project: str) -> str:
    return f"skills/{project}/workflows.jsonl"


def _lines(workflows: Iterable[Workflow]) -> bytes:
    return scrubbed("".join(f"{one.model_dump_json()}\n" for one in workflows)).encode()


def _common(one: Sequence[str], two: Sequence[str]) -> tuple[str, ...]:
    """Return the longest run of commands that both have in the same order; each has a command once."""
    place = {command: number for number, command in enumerate(two)}
    shared = [command for command in one if command in place]
    best = list[tuple[str, ...]]()
    for number, command in enumerate(shared):
        before = (best[at] for at in range(number) if place[shared[at]] < place[command])
        best.append((*max(before, key=len, default=()), command))
    return max(best, key=len, default=())


def _within(one: Sequence[str], more: Sequence[str]) -> bool:
    """Whether all of one are in the other, in the same order."""
    rest = iter(more)
    return all(command in rest for command in one)


def _name(commands: Sequence[str], taken: set[str]) -> str:
    words = ["-".join(_telling(command)[:_WORDS]) for command in commands]
    name = "-then-".join(filter(None, words))[: LONGEST_NAME - 3].strip("-") or "workflow"
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)


def _telling(command: str) -> list[str]:
    """Return the words of a command that say what it does, all of them where there are no others."""
    words = _WORD.findall(_FLAG.sub(" ", command.lower()))
    return [word for word in words if word not in _STARTERS] or words


def _skill(project: str, name: str, commands: Sequence[str], behind: Sequence[Workflow], now: datetime) -> Skill:
    told = ", then ".join(f"`{command}`" for command in commands)
    use = "use it when a task on this repository comes to the same commands"
    steps = "\n".join(f"{number}. `{command}`" for number, command in enumerate(commands, start=1))
    return Skill(
        project=project,
        name=name,
        description=one_line(f"Runs {told}, in the order in which accepted runs did; {use}.", LONGEST_DESCRIPTION),
        text=f"# {name.replace('-', ' ').capitalize()}\n\nAccepted runs did this, in this order:\n\n{steps}",
        status=SkillStatus.PROPOSED,
        updated=now,
        evidence=tuple(_evidence(commands, behind[-_MOST_RUNS:])),
    )


def _evidence(commands: Sequence[str], behind: Sequence[Workflow]) -> Iterable[Evidence]:
    """Yield the steps of these commands in these runs, each once."""
    for flow in behind:
        seen: Mapping[str, Evidence] = dict(zip(flow.commands, flow.evidence, strict=False))
        yield from dict.fromkeys(seen[command] for command in commands if command in seen)
