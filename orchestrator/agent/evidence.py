"""What a judge is asked with: the task, what people said, what was changed and what was found of it.

Nothing that the agent says of its work is in it, but for what it gave up. Whatever others wrote stands between fences.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.agent import wording
from orchestrator.agent.refusing import said
from orchestrator.agent.shown import clean
from orchestrator.dialogue import Request, Turn
from orchestrator.memory.plain import fenced
from orchestrator.notes import NoteKind, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.notes import WorkingMemory
    from orchestrator.runs import RunView
    from sandbox.spec import FileChange

_FILES: Final = re.compile(r"^(?=diff --git )", re.MULTILINE)
_MOST: Final = 60_000
"""Characters of the changes, about 15,000 tokens; a model with little room is shown half of that."""
_CHARACTERS_PER_TOKEN: Final = 3
_LEAST: Final = 400
"""Characters of a file's changes below which they aren't shown at all."""
_NAMED: Final = 200
_WEAKENED: Final = 50


@dataclass(frozen=True)
class Evidence:
    """What is known of a run's work: where it stands, what people said after the task, what the work gave up.

    `files` and `patch` are the changes from the base to the result; the patch is empty where it is too large.
    """

    view: RunView
    said: tuple[str, ...]
    given_up: tuple[str, ...]
    files: Sequence[FileChange]
    patch: bytes

    def digest(self, judge: str) -> str:
        """Return what is the same for the same evidence; what a command printed differs each time, and isn't in it."""
        view = self.view
        verdicts = [(one.command, one.exit_code, one.timed_out, one.base_tests) for one in view.verdicts]
        weakened = [one.model_dump(mode="json") for one in view.weakened]
        found = [verdicts, weakened, view.spec.repo.tree, view.tree]
        told = [judge, wording.fill("judge"), view.spec.task, self.said, self.given_up, found]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def request(self, prompt_limit: int) -> Request:
        """Return the question to a model that takes so many tokens, 0 for any number."""
        most = min(_MOST, prompt_limit * _CHARACTERS_PER_TOKEN // 2) if prompt_limit else _MOST
        text = "\n\n".join(f"## {head}\n\n{body}" for head, body in self._sections(most))
        return Request(system=wording.fill("judge"), tools=(), dialogue=(Turn(text=text),))

    def _sections(self, most: int) -> Iterator[tuple[str, str]]:
        view = self.view
        yield "The task", fenced(view.spec.task)
        if self.said:
            yield "What people said later", "\n\n".join(map(fenced, self.said))
        if view.verdicts:
            told = "\n\n".join(fenced(said(verdict)) for verdict in view.verdicts)
            yield "The acceptance command, run in a fresh container on the result", told
        else:
            yield "The acceptance command", "There is none."
        if view.weakened:
            lines = [one.words for one in view.weakened[:_WEAKENED]]
            yield "Changes that may have weakened what proves the work", fenced("\n".join(lines))
        if self.given_up:
            yield "What of its own plan the work gave up, and why", fenced("\n".join(self.given_up))
        yield "The changes, from the base to the result", self._changes(most)

    def _changes(self, most: int) -> str:
        if not self.files:
            return "Nothing was changed."
        names = [f"{file.status} {file.path} {file.extent}".rstrip() for file in self.files[:_NAMED]]
        if more := len(self.files) - _NAMED:
            names += [f"and {more} more files"] if more > 0 else []
        shown = _shown(clean(self.patch), most) if self.patch else "The changes are too large to be shown."
        return f"{fenced(chr(10).join(names))}\n\n{shown}"


def evidence(view: RunView, memory: WorkingMemory, files: Sequence[FileChange], patch: bytes) -> Evidence:
    """Return the evidence of a run, whose working memory holds what people said, and its plan."""
    tasks = (note for note in memory.notes if note.kind is NoteKind.TASK and note.state == TaskState.ABANDONED)
    given_up = tuple(f"{note.text}: {note.why}" for note in tasks)
    return Evidence(view, tuple(one.text for one in memory.said), given_up, files, patch)


def _shown(patch: str, most: int) -> str:
    """Return a patch in at most about `most` characters: of large files the beginning, and which were cut."""
    parts = [part for part in _FILES.split(patch) if part]
    room, rooms = most, dict[int, int]()
    for left, place in enumerate(sorted(range(len(parts)), key=lambda place: len(parts[place]))):
        rooms[place] = min(
            len(parts[place]), room // (len(parts) - left)
        )  # What small ones don't need, large ones get.
        room -= rooms[place]
    told, cut = [], []
    for place, part in enumerate(parts):
        if rooms[place] == len(part):
            told.append(part)
            continue
        shown = part[: rooms[place]] if rooms[place] >= _LEAST else ""
        told += [shown] if shown else []
        cut.append(f"{part.partition(chr(10))[0][:_LEAST]}: {len(part) - len(shown):,} of {len(part):,} characters")
    body = fenced("".join(part if part.endswith("\n") else f"{part}\n" for part in told))
    return f"{body}\n\nLeft out for their length:\n{fenced(chr(10).join(cut[:_NAMED]))}" if cut else body
