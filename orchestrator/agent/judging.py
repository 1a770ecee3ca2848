"""The judge: another call of a model, that rules on the evidence of a run's work where no command can.

It is bounded, in tries and in time; what it rules is kept in the journal, and never asked for twice on the same
evidence; and it fails closed: what isn't a ruling, for whatever reason, is none.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from orchestrator import events as e
from orchestrator.agent.answer import answered
from orchestrator.agent.budget import counted
from orchestrator.dialogue import Value
from orchestrator.errors import DreamdockError, ModelError
from orchestrator.models.port import OutOfTime
from orchestrator.runs import Ruling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.budget import Budget
    from orchestrator.agent.condenser import Opener
    from orchestrator.agent.evidence import Evidence
    from orchestrator.events import Event
    from orchestrator.journal.writer import Writer
    from orchestrator.stop import Stop

MOST_TRIES: Final = 3
LONGEST_S: Final = 180.0
"""Seconds of one try."""
LONGEST: Final = 16_384
"""Tokens of an answer, with what the model thinks before it."""
_KEPT: Final = 2_000
"""Characters of a reply that can't be used, for people."""


class _Answer(Value):
    """What the judge is to answer with."""

    verdict: Literal["pass", "fail"]
    unmet: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000)], ...] = Field(
        max_length=50
    )
    why: str = Field(min_length=1, max_length=4_000)


@dataclass(frozen=True)
class Judge:
    """A judge by its model's name, and what it is asked with."""

    name: str
    opener: Opener
    journal: Writer
    stop: Stop
    budget: Budget

    def rule(self, evidence: Evidence, step: int) -> Ruling:
        """Have it ruled on, or return what was ruled on the same evidence before. Each try is journalled.

        Raises ModelError where there is no ruling, OverBudget where nothing is left for one, Stopped.
        """
        digest = evidence.digest(self.name)
        about: dict[str, Any] = {"step": step, "evidence": digest}
        tried = _tried(self.journal.events, digest)
        if tried and (known := tried[-1].ruling).verdict != "none":
            if self.journal.view.ruling != known:
                self.journal.append(e.Ruled(ruling=known, kept=True, **about))
            return known
        why = tried[-1].ruling.why if tried else ""
        for _ in range(len(tried), MOST_TRIES):
            ruled = self._ask(evidence).model_copy(update=about)
            self.journal.append(ruled)
            if ruled.ruling.verdict != "none":
                return ruled.ruling
            why = ruled.ruling.why
        raise ModelError(f"no ruling of {self.name}", cause=why, hint="dreamdock retry asks it again")

    def _ask(self, evidence: Evidence) -> e.Ruled:
        """Ask once. The one place where a judge is asked: what it costs is in the event, whatever came of it."""
        began, reply = time.monotonic(), None
        try:
            with closing(self.opener(self.name)) as model:
                request = evidence.request(model.prompt_limit)
                with self.budget.reserve(counted(request), model) as reserved:
                    most = min(filter(None, (reserved.most_tokens, model.reply_limit, LONGEST)))
                    reply = model.ask(request, self.stop, within_s=LONGEST_S, most_tokens=most)
                    reserved.settle(reply)
            ruling = parsed(reply.text, self.name)
        except OutOfTime:
            ruling = Ruling(judge=self.name, verdict="none", why=f"no answer after {LONGEST_S:.0f} s")
        except DreamdockError as error:
            why = error.words
            ruling = Ruling(judge=self.name, verdict="none", why=why)
        kept = None if reply is None else reply.beside(reply.text[:_KEPT])
        return e.Ruled(step=0, evidence="", ruling=ruling, reply=kept, seconds=time.monotonic() - began)


def parsed(text: str, judge: str) -> Ruling:
    """Return the ruling in an answer, which is one JSON object and nothing else; `none` where it is anything else."""
    try:
        answer = answered(text, _Answer)
    except ValueError as error:
        return Ruling(judge=judge, verdict="none", why=f"its answer is no ruling: {error}")
    if (answer.verdict == "pass") == bool(answer.unmet):
        found = "passes it with points that aren't met" if answer.unmet else "fails it and names no point"
        return Ruling(judge=judge, verdict="none", why=f"its answer contradicts itself: it {found}")
    return Ruling(judge=judge, verdict=answer.verdict, unmet=answer.unmet, why=answer.why)


def _tried(events: Sequence[Event], digest: str) -> list[e.Ruled]:
    """Return the tries on this evidence; of those that failed, the ones since a person took the run up again."""
    found: list[e.Ruled] = []
    for event in events:
        if isinstance(event.body, e.RetryRequested):
            found = [one for one in found if one.ruling.verdict != "none"]
        elif isinstance(event.body, e.Ruled) and event.body.evidence == digest:
            found.append(event.body)
    return found
