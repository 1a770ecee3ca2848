"""All that goes back with a step: what was said up to there, what of it the model still sees, and how many tokens."""

from __future__ import annotations

import json
from bisect import bisect_left
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Final

from orchestrator.agent import tools
from orchestrator.agent.guards.acts import WINDOW
from orchestrator.agent.guards.same import located
from orchestrator.agent.role import MAIN
from orchestrator.dialogue import Reply, Turn
from orchestrator.memory import working
from orchestrator.notes import Summary, Window, WorkingMemory
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator import events as e
    from orchestrator.agent.guards.acts import Errors
    from orchestrator.dialogue import Part

_AROUND: Final = 8
"""Tokens that a message, a call or a result has beside its text."""
_UNBELIEVABLE: Final = 4
"""A provider's count that is this many times more or less than the estimate isn't one."""
_LEAST_RATIO, _MOST_RATIO = 0.5, 2.5

_ON_TOP: Final = 1.25
"""What is reserved for tokens that nobody has counted, to our estimate of them."""

Span = tuple[int, int]
"""The first and the last of steps in a row."""


@dataclass(frozen=True)
class Sight:
    """What of the dialogue the model sees: its first turn with the `window` behind it, then what stands at `start` on.

    `tools` are the names of those that it has.
    `steps` are the numbers of all replies, `places` where they are in the dialogue, `left_out` is how many of them
    aren't seen. `sums` are the estimated tokens of all that stands before each place in the dialogue, `tokens` those of
    the next request, as counted as can be, `most` what those may be at most; `ratio` is the provider's count to our
    estimate. `rebuilt` is the step before whose reply the context was built anew, and `parts` what it had then.
    `recalled` are the tokens in the first turn that come from the library.
    `tried_at` are the tokens that it had when it was summed up last, or built anew. `errors` are those that commands
    had, by step and call.
    """

    system: str = ""
    tools: frozenset[str] = MAIN.tools
    steps: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    start: int = 1
    left_out: int = 0
    window: Window = field(default_factory=Window)
    sums: tuple[int, ...] = (0,)
    tokens: int = 0
    most: int = 0
    ratio: float = 1.0
    rebuilt: int = 0
    parts: tuple[Part, ...] = ()
    recalled: int = 0
    tried_at: int = 0
    summary: Summary = field(default_factory=Summary)
    errors: Mapping[int, Errors] = field(default_factory=dict)


class Talk:
    """The dialogue of a run up to a step, whole, with the number of each reply's step."""

    def __init__(self) -> None:
        self.system = ""
        self.tools = MAIN.tools
        self.dialogue: list[Turn | Reply] = []
        self.steps: list[int] = []
        self.places: list[int] = []
        """Where in the dialogue each reply is."""
        self.sums: list[int] = [0]
        """Estimated tokens of all that stands before each place in the dialogue."""
        self.window = Window()
        self.rebuilt = 0
        """The step before whose reply the context was last built anew; 0 for never."""
        self.parts: tuple[Part, ...] = ()
        self.recalled = 0
        """Estimated tokens in the first turn that come from the library."""
        self.memory = WorkingMemory()
        self.summary = Summary()
        self.ratio = 1.0
        """The provider's count of tokens to our estimate, the last time that it could be believed."""
        self.tried_at = 0
        """Tokens of the context when it was summed up, or built anew, last."""
        self.errors: Mapping[int, Errors] = {}
        """Which errors the commands of a step had, by call: what the guards tell failures by."""
        self._counted: Span | None = None  # Tokens, and how much of the dialogue has them.
        self._told: int | None = None  # The same of the reply that is open.
        self._window_size = 0

    def copy(self) -> Talk:
        """Return another one that goes on from here."""
        other = copy(self)
        other.dialogue, other.steps, other.places = [*self.dialogue], [*self.steps], [*self.places]
        other.sums = [*self.sums]
        return other

    @property
    def sight(self) -> Sight:
        """What of it the model sees."""
        return Sight(
            system=self.system,
            tools=self.tools,
            steps=tuple(self.steps),
            places=tuple(self.places),
            start=self.start,
            left_out=self.left_out,
            window=self.window,
            sums=tuple(self.sums),
            tokens=self.tokens,
            most=self.most,
            ratio=self.ratio,
            rebuilt=self.rebuilt,
            parts=self.parts,
            recalled=self.recalled,
            tried_at=self.tried_at,
            summary=self.summary,
            errors=self.errors,
        )

    @property
    def left_out(self) -> int:
        """How many replies the model doesn't see any more; the last one is always there."""
        seen = self.window.first if self.window.text else 0
        return min(bisect_left(self.steps, seen), max(len(self.steps) - 1, 0))

    @property
    def start(self) -> int:
        """Where in the dialogue what the model sees begins, behind the first turn."""
        return self.places[self.left_out] if self.window.text and self.places else 1

    @property
    def estimated(self) -> int:
        """Estimated tokens of what the model sees: system text and tools, the first turn with the window, the rest."""
        sums = self.sums
        return (
            fixed(self.system, self.tools) + sums[min(1, len(sums) - 1)] + self._window_size + sums[-1] - self._before
        )

    @property
    def tokens(self) -> int:
        """About how many tokens the next request has: as the provider counted, and an estimate of what came after."""
        if self._counted is None:
            return round(self.estimated * self.ratio)
        counted, place = self._counted
        return counted + round((self.sums[-1] - self.sums[place]) * max(self.ratio, 1.0))

    @property
    def most(self) -> int:
        """How many tokens the next request has at most: a quarter more than estimated of what nobody has counted."""
        ratio = max(self.ratio, 1.0)
        if self._counted is None:
            return at_most(self.estimated * ratio)
        counted, place = self._counted
        return counted + at_most((self.sums[-1] - self.sums[place]) * ratio)

    @property
    def _before(self) -> int:
        """Estimated tokens of the first turn, and of what the model doesn't see any more."""
        return self.sums[min(self.start, len(self.sums) - 1)]

    def say(self, turn: Turn) -> None:
        """Add a turn. Two without a reply between them are one: results first, then what is said beside."""
        if self.dialogue and isinstance(last := self.dialogue[-1], Turn):
            text = "\n\n".join(filter(None, (last.text, turn.text)))
            self.dialogue[-1] = Turn(text=text, results=last.results + turn.results)
            self.sums[-1] = self.sums[-2] + size(self.dialogue[-1])
        else:
            self._add(turn)

    def hear(self, reply: Reply) -> None:
        """Take note of what a reply's provider counted; it belongs to the dialogue once its step is committed."""
        asked, usage = self.estimated, reply.usage
        self._told = None
        if _believed(usage.input_tokens, asked):
            self.ratio = min(max(usage.input_tokens / asked, _LEAST_RATIO), _MOST_RATIO)
            written = size(reply)
            believed = _believed(usage.output_tokens, written)
            self._told = usage.input_tokens + (usage.output_tokens if believed else round(written * self.ratio))

    def commit(self, step: int, reply: Reply, ended: Sequence[e.CallFinished]) -> None:
        """Add the reply of a committed step, with the results of its calls."""
        results = tuple(one.result for one in ended)
        if errors := {one.result.call_id: found for one in ended if (found := located(one.diagnostics))}:
            last = list(self.errors.items())[1 - WINDOW :]
            self.errors = dict([*last, (step, errors)])
        self.steps.append(step)
        self.places.append(len(self.dialogue))
        self._add(reply)
        self._counted = None if self._told is None else (self._told, len(self.dialogue))
        self._told = None
        if results:
            self.say(Turn(results=results))

    def hear_person(self, text: str, step: int) -> None:
        """Keep what a person said after a step, for good."""
        self.memory = working.said(self.memory, text, step)

    def fork(self, body: e.Forked) -> None:
        """Begin with what another run had said."""
        self.system = body.system
        for item in body.dialogue:
            if isinstance(item, Reply):
                self.places.append(len(self.dialogue))
            self._add(item)
        count = len(self.places)
        known = len(body.steps) == count  # Older journals don't tell.
        self.steps = list(body.steps) if known else list(range(body.step - count + 1, body.step + 1))
        self.memory = body.memory if body.memory != WorkingMemory() else self.memory
        self.summary = body.summary
        self._open(body.window)

    def rebuild(self, body: e.Rebuilt) -> None:
        """Show the model a window instead of all of it."""
        old, shown = self.summary, bool(body.summed_up)
        gone = uncovered(self.steps, body.summed_up, body.window.first)
        missing = joined(*(old.missing if shown else ()), *gone)
        self.summary = Summary(text=old.text, step=old.step, late=bool(old.text) and not shown, missing=missing)
        self.rebuilt, self.parts = body.step, body.parts
        self._open(body.window)
        self.tried_at = self.tokens

    def sum_up(self, body: e.Condensed) -> None:
        """Take a summary, or note that there is none."""
        if body.summary or body.failure:
            self.tried_at = body.tokens
        if body.summary:
            late = self.rebuilt > body.step + 1
            missing = self.summary.missing
            if late:  # It was there when these were still in view.
                missing = tuple((max(first, body.step + 1), last) for first, last in missing if last > body.step)
            self.summary = Summary(text=body.summary, step=body.step, late=late, missing=missing)

    def _open(self, window: Window) -> None:
        self.window, self._counted = window, None
        self._window_size = estimate(window.text)

    def _add(self, said: Turn | Reply) -> None:
        self.dialogue.append(said)
        self.sums.append(self.sums[-1] + size(said))


def size(said: Turn | Reply) -> int:
    """Return about how many tokens something that was said has."""
    if isinstance(said, Turn):
        results = sum(_AROUND + estimate(result.content) for result in said.results)
        return results + (_AROUND + estimate(said.text) if said.text else 0)
    calls = sum(_AROUND + estimate(call.name + (call.invalid or json.dumps(call.arguments))) for call in said.calls)
    return _AROUND + estimate(said.text) + estimate(said.reasoning) + calls


def at_most(estimated: float) -> int:
    """Return the tokens that something has at most of which so many were estimated."""
    return ceil(estimated * _ON_TOP)


@cache
def fixed(system: str, names: frozenset[str]) -> int:
    """Return about how many tokens the system text and the tools have: the same for every request of an agent."""
    return estimate(system) + told(names)


@cache
def told(names: frozenset[str]) -> int:
    """Return about how many tokens the tools have as the model is told of them."""
    return sum(_AROUND + estimate(spec.model_dump_json()) for spec in tools.specs(names))


def uncovered(steps: list[int] | tuple[int, ...], summed_up: int, first: int) -> tuple[Span, ...]:
    """Return the steps behind the one that a summary goes up to and before the first one in view, as a span or none."""
    gone = [step for step in steps if summed_up < step < first]
    return ((gone[0], gone[-1]),) if gone else ()


def joined(*spans: Span) -> tuple[Span, ...]:
    """Return spans in order, those as one between which there is nothing."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def _believed(told: int, estimated: int) -> bool:
    return 0 < told <= estimated * _UNBELIEVABLE and told * _UNBELIEVABLE >= estimated
