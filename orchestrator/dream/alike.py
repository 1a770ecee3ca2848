"""Whether two sentences say the same: by how alike they are, and by what may not differ in them however alike they are.

Every threshold of similarity takes nearly all sentences that differ in one number or path for the same one. So the
literals decide: sentences that differ in one contradict each other, or are about something else.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from rapidfuzz import fuzz

from orchestrator.dream.statement import weak

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.dream.statement import Statement

_ALIKE: Final = 80.0
"""Percent of rapidfuzz's token set ratio; below it two sentences aren't the same, whatever their literals."""
_ONE_WORD: Final = 84.0
"""How alike two words must be to be one, written otherwise."""
_MOST_ASIDE: Final = 0.5
"""What one sentence may say beyond the other, as a share of its words, to be still the same one."""
_MOST_REPLACED: Final = 2
"""Literals that contradicting sentences differ in, at most; with more of them they are about different things."""


class Likeness(StrEnum):
    """How two sentences stand to one another."""

    SAME = "same"
    CONTRADICTION = "contradiction"  # The same but for a literal, a word, or a no.
    DIFFERENT = "different"


def compare(one: Statement, other: Statement) -> Likeness:
    """Say how two statements stand to one another; the order doesn't matter."""
    left, right = one.literals - other.literals, other.literals - one.literals
    replaced = bool(left)
    if bool(right) is not replaced or max(len(left), len(right)) > _MOST_REPLACED:
        return Likeness.DIFFERENT
    opposed = one.opposes(other)
    if (opposed and replaced) or not _alike(one, other):  # Words are compared with words last: that takes long.
        return Likeness.DIFFERENT
    aside, beside = _apart(one.vocabulary - other.vocabulary, other.vocabulary - one.vocabulary)
    aside |= one.sides_beyond(other)
    beside |= other.sides_beyond(one)
    if one.literals and not replaced and aside | beside <= weak():
        aside, beside = set(), set()
    if aside and beside:
        return Likeness.DIFFERENT
    if opposed or replaced:
        return Likeness.CONTRADICTION
    more = len(aside or beside) / max(len(one.vocabulary | other.vocabulary), 1)
    return Likeness.SAME if more <= _MOST_ASIDE else Likeness.DIFFERENT


def _alike(one: Statement, other: Statement) -> bool:
    if not one.words or not other.words:
        return one.words == other.words
    return fuzz.token_set_ratio(" ".join(one.words), " ".join(other.words), score_cutoff=_ALIKE) > 0


def _apart(left: frozenset[str], right: frozenset[str]) -> tuple[set[str], set[str]]:
    """Return the words that each has alone, without those that are the same word written otherwise."""
    mine, yours = set(left), set(right)
    for word in sorted(left):
        near = max(_near(word, yours), default=(0.0, ""))
        if near[0] >= _ONE_WORD:
            mine.discard(word)
            yours.discard(near[1])
    return mine, yours


def _near(word: str, others: Iterable[str]) -> Iterable[tuple[float, str]]:
    return ((fuzz.ratio(word, other), other) for other in others)
