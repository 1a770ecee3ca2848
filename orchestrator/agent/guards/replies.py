"""Replies that are wrong by themselves: garbled, cut off, empty, said before, or with far too many calls."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orchestrator.agent.guards.finding import Finding
from orchestrator.agent.guards.same import normal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.agent.guards.acts import Done

MOST_CALLS: Final = 50
MOST_ALIKE: Final = 10
"""Calls in one reply, and such that are the same with the same result."""
SAID: Final = 3
_SAID_LEAST: Final = 24
"""How often, and in how many characters at least: short words, such as "next", go with anything."""
_GRAM: Final = 24
_LOOKED_AT: Final = 4000
_LEAST: Final = 600
_VARIED: Final = 0.3
"""Characters of a piece of text, of the end that is looked at, and of the least; the share of pieces that differ."""


def garbled(done: Sequence[Done]) -> Finding | None:
    """Find text, or reasoning, that goes on with the same words over and over."""
    steps = _last(done, lambda one: _repeats(one.reply.text) or _repeats(one.reply.reasoning))
    return Finding("garbled", "the text of the reply repeats itself over and over", steps) if steps else None


def silent(done: Sequence[Done]) -> Finding | None:
    """Find replies that call no tool."""
    steps = _last(done, lambda one: not one.acts)
    return Finding("silent", f"the model called no tool in {len(steps)} replies", steps) if steps else None


def said_before(done: Sequence[Done]) -> Finding | None:
    """Find replies of the same words that brought nothing new and changed nothing."""
    words = _words(done[-1].reply.text)
    steps = _last(done, lambda one: _words(one.reply.text) == words and not (one.news or one.moves or one.waits))
    if len(words) < _SAID_LEAST or len(steps) < SAID:
        return None
    return Finding("said_before", f"the last {len(steps)} replies say the same and brought nothing new", steps)


def cut_off(done: Sequence[Done]) -> Finding | None:
    """Find replies that ended at the limit of their length, and got nothing done."""
    steps = _last(done, lambda one: one.reply.finish_reason == "length" and not (one.news or one.moves))
    return (
        Finding("cut_off", "replies were cut off at their longest length; write less at a time", steps)
        if steps
        else None
    )


def flood(done: Sequence[Done]) -> Finding | None:
    """Find far too many calls in one reply, or the same one in it many times."""
    steps = _last(done, _floods)
    count = len(done[-1].acts)
    return Finding("flood", f"one reply had {count} calls, or many times the same one", steps) if steps else None


def _floods(one: Done) -> bool:
    alike = Counter((act.key, act.came) for act in one.acts)
    return len(one.acts) > MOST_CALLS or max(alike.values(), default=0) >= MOST_ALIKE


def _last(done: Sequence[Done], fits: Callable[[Done], bool]) -> tuple[int, ...]:
    """Return the last steps in a row that fit."""
    steps: list[int] = []
    for one in reversed(done):
        if not fits(one):
            break
        steps.append(one.step)
    return tuple(steps[::-1])


def _words(text: str) -> str:
    return " ".join(normal(text).casefold().split())


@lru_cache(maxsize=128)
def _repeats(text: str) -> bool:
    """Whether most pieces of the end of a text stand in it several times."""
    if len(text) < _LEAST:
        return False
    end = text[-_LOOKED_AT:]
    grams = [end[at : at + _GRAM] for at in range(len(end) - _GRAM)]
    return len(set(grams)) < _VARIED * len(grams)
