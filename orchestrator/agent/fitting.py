"""Keeps what the model is asked with within the tokens that it takes, and has it summed up before it's too much."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from orchestrator.agent.condenser import asked, may_be_asked
from orchestrator.agent.shown import LONGEST
from orchestrator.agent.talk import fixed
from orchestrator.agent.window import needed, rebuild, summary_tokens, threshold
from orchestrator.errors import TooLongError
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator import events as e
    from orchestrator.agent.condenser import Condenser
    from orchestrator.agent.context import Context
    from orchestrator.agent.journal import Journal
    from orchestrator.models.port import Model

MOST_REFUSED: Final = 3
"""So many requests in a row that are too long for the model, each shorter than the one before, and it's given up."""
_UNCOUNTED: Final = 0.9
"""How much of the window the first request may have: nobody has counted its tokens yet."""
_OF_REFUSED: Final = 0.75
"""What is asked with next may have this much of what was refused, or of what the provider named."""
_ONE_RESULT, _ALL_RESULTS = 0.08, 0.25
"""How much of the window the result of a call may have, and all of a step's together; beyond, no call is run."""
_CHARACTERS_PER_TOKEN: Final = 3
_SHORTEST: Final = 400


class Fitting:
    """Looks after the window of one attempt. Nothing in it waits for a model."""

    def __init__(
        self, model: Model, journal: Journal, context: Callable[[], Context], condenser: Condenser | None
    ) -> None:
        """Take the model that is asked, and what writes summaries, if anything does."""
        self._model = model
        self._journal = journal
        self._context = context
        self._condenser = condenser

    @property
    def usable(self) -> int:
        """Tokens that the next request may have, as the model says or once refused; 0 where any number will do."""
        refused = self._context().limits.get(self._model.name, 0)
        return min(filter(None, (self._model.prompt_limit, refused)), default=0)

    def beside(self, system: str, text: str) -> int:
        """Return how many tokens the first request may have beside these; any number where the model doesn't say."""
        least = fixed(system, self._context().sight.tools) + estimate(text)
        return max(int(self.usable * _UNCOUNTED) - least, 0) if self.usable else sys.maxsize

    def prepare(self) -> None:
        """Have the next request fit, and a summary begun where one is due. Raises TooLongError where nothing helps."""
        if not (usable := self.usable):
            return
        context = self._context()
        least = needed(context.sight, context.memory)
        if least > usable * (1 if context.sight.steps else _UNCOUNTED):
            raise self._hopeless(least, usable)
        if context.tokens > usable and context.sight.steps and context.sight.rebuilt != context.step + 1:
            began = time.monotonic()
            self._rebuilt(rebuild(context.sight, context.memory, usable, step=context.step + 1), began)
        self._condense(usable)

    def refused(self, error: TooLongError) -> None:
        """Have a shorter request than the one that the model refused. Raises that error where there is none."""
        began, context = time.monotonic(), self._context()
        named = error.limit if error.limit >= context.accepted.get(self._model.name, 0) else 0
        limit = int(min(context.tokens, named or context.tokens) * _OF_REFUSED)
        if context.refused + 1 >= MOST_REFUSED or not context.sight.steps:
            raise error
        body = rebuild(context.sight, context.memory, limit, step=context.step + 1)
        if sum(part.tokens for part in body.parts) >= context.tokens:
            raise error
        self._rebuilt(body.model_copy(update={"why": "refused"}), began)

    def settle(self) -> None:
        """Journal the summary that came meanwhile, if one did."""
        done = self._condenser.take() if self._condenser is not None else None
        if done is not None:
            self._journal.append(done)

    def went_back(self) -> None:
        """Have no use of a summary that is being written: it's of what was undone."""
        if self._condenser is not None:
            self._condenser.void()

    def longest(self, context: Context) -> int:
        """Return how many characters the result of the next call may have; 0 where the step has too many already."""
        if not (usable := self.usable):
            return LONGEST
        if context.shown >= usable * _ALL_RESULTS:
            return 0
        left = min(usable * _ONE_RESULT, usable * _ALL_RESULTS - context.shown)
        return min(LONGEST, max(int(left * _CHARACTERS_PER_TOKEN), _SHORTEST))

    def close(self) -> None:
        """End the summary that is under way, if one is."""
        if self._condenser is not None:
            self._condenser.close()

    def _rebuilt(self, body: e.Rebuilt, began: float) -> None:
        took = {"model": self._model.name, "blocked_s": time.monotonic() - began}
        self._journal.append(body.model_copy(update=took))

    def _condense(self, usable: int) -> None:
        condenser, context = self._condenser, self._context()
        if condenser is None or condenser.busy or not context.sight.steps or not may_be_asked(context):
            return
        if context.landed & {"money", "tokens"}:  # It's about to end: what is left is for the work.
            return
        if threshold(context.tokens, usable) > threshold(context.sight.tried_at, usable):
            condenser.begin(asked(context, self._model.name, summary_tokens(usable)))

    def _hopeless(self, least: int, usable: int) -> TooLongError:
        cause = f"the task, the rules and what people said have about {least:,} tokens of {usable:,}"
        hint = "take a --model with a larger window, or a shorter task"
        return TooLongError(f"the work doesn't fit the window of {self._model.name}", cause=cause, hint=hint)
