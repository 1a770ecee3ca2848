"""Which step is a hard one, and which of several candidates for it is the best: by what came of them, not by looks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.context import Context
    from orchestrator.dialogue import Reply
    from orchestrator.events import Tried


def hard(context: Context) -> bool:
    """Whether the next step is one for several candidates: a guard found a loop after the last one, or it was refused.

    Once is enough: none were proposed since.
    """
    looped = bool(context.guarded) and context.guarded[-1].step == context.step and context.guarded[-1].level != "stop"
    refused = 0 < context.sent_back == context.step
    return (looped or refused) and context.proposed <= context.step


def calls_of(reply: Reply) -> str:
    """Return what a reply asks for, the same text for the same calls."""
    return json.dumps([[call.name, call.arguments, call.invalid] for call in reply.calls], sort_keys=True)


def same_as(replies: Sequence[Reply | None]) -> tuple[int, ...]:
    """Return for each candidate the number of the first one with the same calls before it, from 1; 0 for none."""
    first: dict[str, int] = {}
    found = []
    for number, reply in enumerate(replies, start=1):
        before = first.setdefault(calls_of(reply), number) if reply is not None else number
        found.append(before if before != number else 0)
    return tuple(found)


class Choice(NamedTuple):
    """The number of the candidate that was taken, from 1; 0 for none. And why, in words."""

    candidate: int
    why: str


LOST = Choice(0, "every candidate was lost")


def by_agreement(replies: Sequence[Reply | None]) -> Choice:
    """Return the first one of the largest group that asks for the same calls: there is no check to judge by."""
    numbered = enumerate(zip(replies, same_as(replies), strict=True), start=1)
    heads = [same or number for number, (reply, same) in numbered if reply is not None]
    if not heads:
        return LOST
    best = max(heads, key=lambda head: (heads.count(head), -head))
    agree = heads.count(best)
    return Choice(best, f"{agree} of {len(heads)} ask for the same" if agree > 1 else "no two agree: the first one")


def by_results(tried: Sequence[Tried]) -> Choice:
    """Return the one whose check passed, else the one that came nearest to it; of equal ones the first.

    A check that names fewer errors is no better where it didn't get so far: whose check ran no test, while others' did,
    comes behind those.
    """
    there = [one for one in tried if not one.failure]
    if not there:
        return LOST
    ranks = [_rank(one) for one in there]
    best = min(range(len(there)), key=lambda place: ranks[place])
    others = [rank for place, rank in enumerate(ranks) if place != best]
    return Choice(there[best].candidate, _why(ranks[best], min(others, default=None)))


class _Rank(NamedTuple):
    """What candidates are compared by, in this order; less is better, and each says why it's less."""

    fails: bool
    timed_out: bool
    untested: bool
    errors: float
    tests_failed: float
    calls_failed: int


_WORDS = {
    "fails": "its check passes",
    "timed_out": "its check came to an end",
    "untested": "its check ran tests",
    "errors": "fewer errors than the others",
    "tests_failed": "fewer tests fail than with the others",
    "calls_failed": "fewer of its calls fail than of the others",
}


def _rank(one: Tried) -> _Rank:
    ran = (one.tests_passed or 0) + (one.tests_failed or 0)
    return _Rank(
        fails=not one.passed,
        timed_out=one.timed_out,
        untested=not ran and not one.passed,
        # A check that fails and names nothing says nothing of how near it came.
        errors=0 if one.passed else one.errors or float("inf"),
        tests_failed=0 if one.passed else float("inf") if one.tests_failed is None else one.tests_failed,
        calls_failed=sum(not ran.ok or bool(ran.exit_code) or ran.timed_out for ran in one.ran),
    )


def _why(best: _Rank, next_best: _Rank | None) -> str:
    """Return by what the best one is better than the one behind it."""
    if next_best is None:
        return "its check passes" if not best.fails else "no other one was tried to its end"
    for name, word in _WORDS.items():
        if getattr(best, name) != getattr(next_best, name):
            return word
    return f"{'its check passes' if not best.fails else 'none is better than another'}: the first one"
