"""Long-term memory as an agent has it: asked with the task at the beginning, by the tool later, and journalled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent.outcome import Outcome, failed
from orchestrator.agent.wording import fill
from orchestrator.library.entry import Scope
from orchestrator.library.lookup import Found
from orchestrator.library.recall import told
from orchestrator.library.skills import find, named, whole
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from orchestrator.agent.arguments import Recall
    from orchestrator.agent.context import Context
    from orchestrator.agent.journal import Journal
    from orchestrator.library.lookup import Lookup
    from orchestrator.library.recall import Recalled
    from orchestrator.library.skill import Skill
    from orchestrator.runs import RunSpec

_SHARE: Final = 4
"""Of what the first request has room for, a fourth may be what is recalled: the work needs the rest."""
_SKILLS_SHARE: Final = 4
"""Of what may be recalled, a fourth may be the names of skills."""
_CHARACTERS_PER_TOKEN: Final = 4
_LONGEST_QUERY: Final = 600
_LONGEST_TITLE: Final = 300
_MOST_PATHS: Final = 12
_LOOKED_THROUGH: Final = 20_000
"""Characters of a task."""
_PATHS: Final = re.compile(r"(?:[\w.-]{1,100}/){1,20}[\w.-]{0,100}\w|\b\w[\w-]{0,100}\.[a-z]{1,4}\b")


class Remembering:
    """Looks things up for one agent. What it's given is in the journal, so that whoever resumes it says the same."""

    def __init__(self, library: Lookup | None, journal: Journal, spec: RunSpec) -> None:
        """Take where to look, and what the run may have at once."""
        self._library = library if spec.recall_tokens else None
        self._journal = journal
        self._spec = spec

    def begin(self, room: int) -> tuple[e.Recalled, ...]:
        """Return what of the library fits the task, to be journalled with it; `room` is what the request has left."""
        budget = min(self._spec.recall_tokens, room // _SHARE) - estimate(fill("recalled", entries=""))
        if self._library is None or budget <= 0:
            return ()
        query, now = about(self._spec.task), self._journal.now
        skills, named = _named(self._library.skills(), budget // _SKILLS_SHARE)
        found = self._library.recall(query, budget=budget - estimate(named), now=now)
        if not found.entries and not found.failure and not skills:
            return ()
        text = fill("recalled", entries=told(found.entries, now)) if found.entries else ""
        text = "\n\n".join(filter(None, (text, named)))
        return (_event(found, step=0, why="start", query=query, text=text, skills=skills),)

    def look_up(self, context: Context, arguments: Recall, longest: int) -> Outcome:
        """Carry out a call of the open step, within `longest` characters. What is in view isn't told again in full."""
        if self._library is None:
            return failed("there is no long-term memory here")
        query, now, known = arguments.query[:_LONGEST_QUERY], self._journal.now, _in_view(context)
        if (skill := find(self._library.skills(), query)) is not None:
            text = fill("looked_up", entries=whole(skill, longest - len(fill("looked_up", entries=""))))
            self._journal.append(
                _event(Found(), step=context.step + 1, why="tool", query=query, text=text, skills=[skill])
            )
            return Outcome(text)
        budget = min(self._spec.recall_tokens, longest // _CHARACTERS_PER_TOKEN) - estimate(
            fill("looked_up", entries="")
        )
        found = self._library.recall(query, budget=budget, now=now, known=known)
        found, text = _cut(found, now, known, longest)
        new = found._replace(entries=tuple(one for one in found.entries if one.entry.id not in known))
        if new.entries or found.failure:
            self._journal.append(_event(new, step=context.step + 1, why="tool", query=query, text=text))
        if found.entries:
            return Outcome(text)
        return failed("long-term memory can't be read now") if found.failure else Outcome("nothing is known of that")


def words(given: Iterable[e.Recalled]) -> list[str]:
    """Return what stands behind the task."""
    return [one.text for one in given if one.text]


def about(task: str) -> str:
    """Return what to look for at the beginning of a task: its first line, the paths in it, and what follows."""
    task = task.strip()[:_LOOKED_THROUGH]
    first, _, rest = task.partition("\n")
    paths = dict.fromkeys(_PATHS.findall(task))
    return " ".join([first[:_LONGEST_TITLE], *list(paths)[:_MOST_PATHS], *rest.split()])[:_LONGEST_QUERY]


def _in_view(context: Context) -> frozenset[str]:
    """Return the ids of the entries whose text the model still sees."""
    sight = context.sight
    first = sight.steps[sight.left_out] if sight.steps else 0
    return frozenset(one for one, step in context.noted.given.items() if step == 0 or step >= first)


def _cut(found: Found, now: datetime, known: Collection[str], longest: int) -> tuple[Found, str]:
    """Return as much of it as that many characters hold, and how it's told."""
    entries: Sequence[Recalled] = found.entries
    while len(text := fill("looked_up", entries=told(entries, now, known))) > longest and entries:
        entries = entries[:-1]
    return found._replace(entries=tuple(entries)), text if entries else ""


def _named(skills: Sequence[Skill], budget: int) -> tuple[Sequence[Skill], str]:
    """Return as many skills as fit into that many tokens, named, and how they are."""
    while skills and estimate(text := fill("skills", skills=named(skills))) > budget:
        skills = skills[:-1]
    return skills, text if skills else ""


def _event(found: Found, *, step: int, why: str, query: str, text: str, skills: Sequence[Skill] = ()) -> e.Recalled:
    entries = tuple(
        e.Given(id=one.id, title=one.title, scope=one.scope, scope_id=one.scope_id)
        for one in (recalled.entry for recalled in found.entries)
    )
    entries += tuple(
        e.Given(id=f"skills/{one.name}", title=one.description, scope=Scope.REPO, scope_id=one.project)
        for one in skills
    )
    about = {"step": step, "why": why, "query": query, "text": text, "failure": found.failure}
    return e.Recalled.model_validate({**about, "entries": entries, "head": found.head})
