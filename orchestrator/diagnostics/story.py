"""Diagnostics followed over the steps of a run: when each was new, still there, fixed, and back again."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.diagnostic import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NUMBERS: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")


class State(StrEnum):
    """What a command said of a diagnostic."""

    NEW = "new"
    STILL = "still there"
    FIXED = "fixed"
    BACK = "back again"


class Moment(NamedTuple):
    """What became of a diagnostic in a step."""

    step: int
    state: State


class Told(NamedTuple):
    """What one command of a step printed.

    Where it may have more than is known, it isn't `whole`, or not `all_warnings` are there: of these none is fixed.
    """

    step: int
    command: str
    diagnostics: Sequence[Diagnostic]
    whole: bool = True
    all_warnings: bool = True


class Story(NamedTuple):
    """One diagnostic through a run: as it was last seen, the commands that showed it, and what became of it."""

    diagnostic: Diagnostic
    commands: frozenset[str]
    moments: tuple[Moment, ...]

    @property
    def open(self) -> bool:
        """Say whether it is still there, as far as is known."""
        return self.moments[-1].state is not State.FIXED


def identity(one: Diagnostic) -> tuple[str, str, str]:
    """Return what stays the same while code moves: the file, the rule or test, and the message without its numbers."""
    return one.file, one.code, _NUMBERS.sub("0", one.message)


def follow(commands: Iterable[Told]) -> tuple[Story, ...]:
    """Return the stories of all errors and warnings that commands printed, in the order of their first appearance.

    Two of the same identity are told apart by their nearest lines. One is fixed where a command that showed it is
    run again and doesn't show it; other commands say nothing of it.
    """
    stories: list[Story] = []
    by_identity: dict[tuple[str, str, str], list[int]] = {}
    shown_by: dict[str, set[int]] = {}
    for told in commands:
        seen: set[int] = set()
        for one in told.diagnostics:
            if one.severity is Severity.NOTE:
                continue
            known = by_identity.setdefault(identity(one), [])
            free = [index for index in known if index not in seen]
            if free:
                index = min(free, key=lambda at: abs(stories[at].diagnostic.line - one.line))
                stories[index] = _again(stories[index], one, told)
            else:
                index = len(stories)
                stories.append(Story(one, frozenset((told.command,)), (Moment(told.step, State.NEW),)))
                known.append(index)
            seen.add(index)
        shown = shown_by.setdefault(told.command, set())
        for index in sorted(shown - seen):
            is_error = stories[index].diagnostic.severity is Severity.ERROR
            if stories[index].open and (told.whole if is_error else told.all_warnings):
                moments = (*stories[index].moments, Moment(told.step, State.FIXED))
                stories[index] = stories[index]._replace(moments=moments)
        shown |= seen
    return tuple(stories)


def _again(story: Story, one: Diagnostic, told: Told) -> Story:
    state = State.STILL if story.open else State.BACK
    moments = story.moments
    # A second command of the same step adds nothing to what the first one said.
    if moments[-1].step != told.step or state is State.BACK:
        moments = (*moments, Moment(told.step, state))
    return Story(one, story.commands | {told.command}, moments)
