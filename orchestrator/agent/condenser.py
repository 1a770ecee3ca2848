"""The condenser: a thread beside the work that has a model sum up what was said, before it gets too long to be shown.

It asks with the same bytes as the work does and one more turn behind, so that the provider's cache is the same. It
writes nothing to the journal and nobody waits for it: what it has is taken at the next step, whatever became of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

from orchestrator import events as e
from orchestrator.agent import wording
from orchestrator.agent.budget import OverBudget
from orchestrator.agent.talk import at_most
from orchestrator.agent.window import first_lines
from orchestrator.dialogue import Turn
from orchestrator.errors import DreamdockError
from orchestrator.memory.plain import fenced
from orchestrator.models.port import OutOfTime
from orchestrator.stop import Stop, Stopped
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from orchestrator.agent.budget import Budget
    from orchestrator.agent.context import Context
    from orchestrator.dialogue import Reply, Request
    from orchestrator.models.port import Model

MOST_FAILURES: Final = 3
"""So many failures in a row, and it's tried only once each time that the context is built anew."""
_LONGEST_S: Final = 240.0
_WORDS_PER_TOKEN: Final = 0.6
_TIMES_TOO_LONG: Final = 2
_PART: Final = 0.5
"""Of what is left of the budget: the work goes on meanwhile, and pays from the same."""
_KEPT: Final = 2_000
"""Characters of a reply that can't be used, for people."""
_LEAVE_S: Final = 0.5
_OVER: Final = "the work is over"


class Opener(Protocol):
    """Opens a model by its full name, for the thread that calls it; what it raises is a failure of the summary."""

    def __call__(self, name: str, /) -> Model:
        """Return the model; the caller closes it."""


@dataclass(frozen=True)
class Asked:
    """A summary to be written by a model: of all up to `step`, with the context's `tokens`; it may have `longest`.

    `most` is what the request may have at most.
    """

    request: Request
    model: str
    step: int
    tokens: int
    longest: int
    most: int


def asked(context: Context, model: str, longest: int) -> Asked:
    """Return what to ask a model for a summary of this context with: the work's own request, and one more text."""
    request, summary = context.request, context.sight.summary
    words = {"step": str(context.step), "words": str(round(longest * _WORDS_PER_TOKEN))}
    text = wording.fill("condense", **words)
    if summary.late:
        text = f"{text}\n\n{wording.fill('condense_late', step=str(summary.step), text=fenced(summary.text))}"
    *before, last = request.dialogue
    if isinstance(last, Turn):
        more = Turn(text="\n\n".join(filter(None, (last.text, text))), results=last.results)
        dialogue = (*before, more)
    else:
        dialogue = (*request.dialogue, Turn(text=text))
    request = request.model_copy(update={"dialogue": dialogue})
    most = context.most_tokens + at_most(estimate(text))
    return Asked(request, model, context.step, context.tokens, longest, most)


def may_be_asked(context: Context) -> bool:
    """Whether another try isn't one too many: after some failures in a row there is one for each new window."""
    return context.failures < MOST_FAILURES or not context.tries


class Condenser:
    """Has one summary written at a time. Every call of it returns at once; `close` within half a second."""

    def __init__(self, opener: Opener, stop: Stop, budget: Budget) -> None:
        """Take what opens its model, and what pays for it; what is under way ends with `stop`."""
        self.busy = False
        self._opener = opener
        self._budget = budget
        self._stop = Stop()
        self._forget = stop.on_set(lambda: self._stop.set(stop.reason))
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        self._done: SimpleQueue[e.Condensed] = SimpleQueue()
        self._thread: Thread | None = None
        self._void = False

    def begin(self, asked: Asked) -> None:
        """Have a summary written; none may be under way."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="condenser", daemon=True)
            self._thread.start()
        self.busy, self._void = True, False
        self._asked.put(asked)

    def take(self) -> e.Condensed | None:
        """Return what became of the summary, if it's there."""
        try:
            done = self._done.get_nowait()
        except Empty:
            return None
        self.busy = False
        return done.model_copy(update={"summary": "", "failure": ""}) if self._void else done

    def void(self) -> None:
        """Have nobody read what is under way: the run went back to a step before."""
        self._void = True

    def close(self) -> None:
        """End what is under way, and leave the thread to itself where it doesn't end at once."""
        self._forget()
        self._stop.set(_OVER)
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join(_LEAVE_S)

    def _work(self) -> None:
        model: Model | None = None
        try:
            while (asked := self._asked.get()) is not None:
                began, reply, summary, failure = time.monotonic(), None, "", ""
                try:
                    if model is not None and model.name != asked.model:
                        model.close()
                        model = None
                    model = model or self._opener(asked.model)
                    with self._budget.reserve(asked.most, model, part=_PART) as reserved:
                        how: dict[str, Any] = {"within_s": _LONGEST_S, "most_tokens": reserved.most_tokens}
                        reply = model.ask(asked.request, self._stop, **how)
                        reserved.settle(reply)
                    summary, failure = checked(reply, asked.longest)
                except Stopped:
                    return
                except OutOfTime:
                    failure = f"no summary after {_LONGEST_S:.0f} s"
                except OverBudget as over:
                    failure = str(over)
                except DreamdockError as error:
                    failure = error.words
                except Exception as error:  # noqa: BLE001  # Whatever it is, the work goes on without a summary.
                    failure = f"{type(error).__name__}: {error}"
                kept = None if reply is None else reply.beside("" if summary else reply.text[:_KEPT])
                took = time.monotonic() - began
                told = {"summary": summary, "failure": failure, "reply": kept, "seconds": took}
                self._done.put(e.Condensed(step=asked.step, tokens=asked.tokens, **told))
        finally:
            if model is not None:
                model.close()


def checked(reply: Reply, longest: int) -> tuple[str, str]:
    """Return the summary in a reply, cut where it has more than twice its `longest` tokens; or why there is none."""
    text = reply.text.strip()
    if not text:
        return "", "the model called tools instead of summing up" if reply.calls else "the summary is empty"
    headings = [line for line in wording.fill("condense", step="", words="").splitlines() if line.startswith("## ")]
    there = {line.strip().lower() for line in text.splitlines()}
    found = sum(heading.lower() in there for heading in headings)
    if found * 2 <= len(headings):
        return "", f"it isn't a summary: it has {found} of {len(headings)} headings"
    return first_lines(text, longest * _TIMES_TOO_LONG), ""
