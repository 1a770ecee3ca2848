"""Whether other words for something say no more than it did, and not the opposite.

A model's words are believed as far as they can be compared: by literals, by denials clause for clause, by words. What
is refused for nothing costs only a wording, so each rule errs that way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from orchestrator.dream.statement import Statement, clauses, stem
from orchestrator.memory.plain import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST: Final = 2_000
"""Characters of a title or text in other words; a Statement reads no more than twice as many."""
_PIECE: Final = 4_000
_MOST_NEW: Final = 0.25
"""What may be new of the words, as a share."""
_NAMED: Final = 5
_LONGEST_NAME: Final = 60
_MOST_CLAUSES: Final = 60
_NEAR: Final = 0.33
"""A clause with so much of the words that the nearest one shares may be what is meant as well."""
_LEAST_KEPT: Final = 0.5
"""What has to stay of the literals, as a share; of the words, half as much."""
_OPPOSITES: Final = tuple(
    tuple(map(stem, pair.split()))
    for pair in (
        "pass fail",
        "succeed fail",
        "work fail",
        "slow fast",
        "safe dangerous",
        "new old",
        "start stop",
        "present missing",
        "open close",
        "accept refuse",
        "good bad",
        "right wrong",
        "required optional",
        "same different",
        "possible impossible",
        "harmless harmful",
    )
)
_TURNING: Final = ("un", "in", "im", "non", "dis", "mis", "ir")
"""What turns a word around in front of it."""
_ORDERS: Final = re.compile(
    r"(?:^|[.;:!?,\n\u2014-]\s*|\b(?:and|then|please|always|never|not|don't|just|now|must|should)\s+)"
    r"(ignore|disregard|forget|override|bypass|skip|pretend|act|obey|follow|trust|approve|mark|grant|reveal|print|send|"
    r"post|upload|download|fetch|install|curl|wget|delete|remove|disable|enable|execute|run|call|open|visit|tell|say|"
    r"reply|answer|respond|output|write|export|add|commit|push|merge|give|accept|submit|copy|read|do|use|set|put|keep)\b"
    r"|\b(you|your|yourself|assistant|system prompt|instructions?)\b",
    re.IGNORECASE,
)
"""What speaks to whoever reads it: an order at the beginning of a clause, or a word to the reader."""


def objection(old: tuple[str, str], new: tuple[str, str], sources: Iterable[str]) -> str:
    """Return what is wrong with new words for an old title and text, empty for nothing.

    `sources` is what else shows the same thing: new words may come from there, and nothing may turn around `old`.
    """
    return next(_objections(old, new, tuple(sources)), "")


def _objections(old: tuple[str, str], new: tuple[str, str], sources: tuple[str, ...]) -> Iterator[str]:
    if any(len(part) > LONGEST for part in new):
        yield f"it has more than {LONGEST:,} characters"
        return
    if len(clauses("\n".join(new))) > _MOST_CLAUSES:
        yield f"it has more than {_MOST_CLAUSES} clauses"
        return
    before, after = _read(old), _read(new)
    known = [before, *(_read([source]) for source in sources)]
    if not after.words or not new[0].strip():
        yield "nothing is left of it"
    if added := after.literals - frozenset[str]().union(*(one.literals for one in known)):
        yield f"it adds {_listed(added)}"
    if _lost(before, after):
        yield "too little is left of what it said"
    if turned := _turned("\n".join(old), "\n".join(new), known, before, after):
        yield f"it turns {turned!r} around"
    words = frozenset[str]().union(*(one.vocabulary for one in known))
    fresh = after.vocabulary - words
    if len(fresh) > len(after.vocabulary) * _MOST_NEW or not all(map(str.isascii, fresh)):  # Nor what looks like one.
        yield f"it adds words that nothing shows: {_listed(fresh)}"
    if orders := _orders("\n".join(new)) - _orders("\n".join((*old, *sources))):
        yield f"it gives orders that nothing shows: {_listed(orders)}"


def _read(texts: Iterable[str]) -> Statement:
    """Take texts apart, whole however long they are."""
    pieces = [text[place : place + _PIECE] for text in texts for place in range(0, len(text), _PIECE)]
    found = [Statement.of(piece) for piece in pieces]
    return Statement(
        literals=frozenset[str]().union(*(one.literals for one in found)),
        opposed=frozenset[tuple[int, str]]().union(*(one.opposed for one in found)),
        denials=sum(one.denials for one in found),
        words=tuple(word for one in found for word in one.words),
    )


def _lost(before: Statement, after: Statement) -> bool:
    literals = len(before.literals & after.literals) < len(before.literals) * _LEAST_KEPT
    words = len(before.vocabulary & after.vocabulary) < len(before.vocabulary) * _LEAST_KEPT / 2
    return literals or words


def _turned(old: str, new: str, known: list[Statement], before: Statement, after: Statement) -> str:
    """Return what the new words say the opposite of, empty for nothing."""
    said = frozenset[tuple[int, str]]().union(*(one.opposed for one in known))
    theirs = {kind for kind, _ in before.opposed}
    for kind, word in sorted(after.opposed):
        if (kind, word) not in (before.opposed if kind in theirs else said):
            return word
    for left, right in _opposites(after.vocabulary - before.vocabulary, before.vocabulary):
        if left in after.vocabulary - before.vocabulary and right in before.vocabulary - after.vocabulary:
            return right
    if bool(before.denials) != bool(after.denials):
        return "what it denies"
    said_before = [one for one in map(Statement.of, clauses(old)) if one.literals or one.words]
    for clause in clauses(new):
        mine = Statement.of(clause)
        beside = [(_shared(mine, one), one) for one in said_before]
        most = max((share for share, _ in beside), default=0.0)
        if most and all(mine.opposes(one) for share, one in beside if share >= most * _NEAR):
            return one_line(clause, _LONGEST_NAME)
    return ""


def _opposites(new: frozenset[str], old: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield new words that are the opposite of old ones, with those."""
    for one, other in _OPPOSITES:
        yield one, other
        yield other, one
    for word in sorted(new):
        for turning in _TURNING:
            yield word, turning + word
            if word.startswith(turning) and (bare := word.removeprefix(turning)) in old:
                yield word, bare


def _shared(one: Statement, other: Statement) -> float:
    mine, yours = one.vocabulary | one.literals, other.vocabulary | other.literals
    return len(mine & yours) / len(mine | yours) if mine | yours else 0.0


def _orders(text: str) -> frozenset[str]:
    return frozenset((found[1] or found[2]).lower() for found in _ORDERS.finditer(text))


def _listed(words: Iterable[str]) -> str:
    return ", ".join(repr(word[:_LONGEST_NAME]) for word in sorted(words)[:_NAMED])
