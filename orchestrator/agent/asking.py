"""What the agent asks a person, and what of its steps needs one: folded from the journal, so that each is asked once.

Both are asked when the step is committed: the run is parked with it, and no worker waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from orchestrator import events as e
from orchestrator.agent import wording
from orchestrator.agent.arguments import Ask
from orchestrator.agent.outcome import Outcome, failed
from orchestrator.agent.role import ASK
from orchestrator.dialogue import Reply, Turn

if TYPE_CHECKING:
    from orchestrator.approvals import Approvals
    from orchestrator.dialogue import ToolCall
    from orchestrator.events import Event

DENIED: Final = "denied"
MOST_UNATTENDED: Final = 3
"""Approvals that nobody gave in time, one step after the other: then the run ends, or it would ask for ever."""
_REMINDED: Final = 1000
"""Characters of a question that its answer brings again: what people say stays in view to the end."""


@dataclass(frozen=True)
class Asking:
    """What was asked so far, and what is to be.

    `open` is what the run waits for, or had its answer to last. `questions` counts the agent's own, `asked` all.
    `due` is the question of the last committed step, while it isn't asked; `uttered` that of the step under way.
    `step` is that last step, as long as the run is there, `looked` whether it had to be approved, and was asked for.
    `unlooked` names what wasn't looked through for installs in steps before. `spent_usd` is what replies of known price
    cost, `allowed_usd` what may be spent with the approvals so far; `refused` is why no more may be. `unattended` is
    how many approvals nobody gave in time, one step after the other. `unanswered` is what the model is to be told of a
    question that nobody answered.
    """

    open: e.Asked | None = None
    questions: int = 0
    asked: int = 0
    running: ToolCall | None = None
    uttered: Ask | None = None
    due: Ask | None = None
    step: e.Checkpointed | None = None
    looked: bool = False
    denied: bool = False
    unlooked: frozenset[str] = field(default_factory=frozenset)
    spent_usd: float = 0.0
    allowed_usd: float = 0.0
    refused: str = ""
    unattended: int = 0
    unanswered: str = ""

    @property
    def ended(self) -> str:
        """Why nothing more is to be done without a person, or the empty string."""
        if self.refused:
            return self.refused
        none = f"{self.unattended} steps in a row needed an approval, and nobody gave one in time"
        return none if self.unattended >= MOST_UNATTENDED else ""

    def take(self, event: Event) -> Asking:
        """Return what it is after one more event."""
        cost = e.price_of(*e.paid(event.body)).money_usd
        told = self._take(event)
        return replace(told, spent_usd=told.spent_usd + cost) if cost else told

    def _take(self, event: Event) -> Asking:  # noqa: C901, PLR0911  # One case per kind of event.
        match event.body:
            case e.Forked(dialogue=dialogue):
                return replace(self, due=_left_open(dialogue))
            case e.Replied() | e.AttemptLost() | e.SandboxReady():
                return replace(self, running=None, uttered=None)  # Its calls run, or run again.
            case e.CallStarted(call=call) if call.name == ASK:
                return replace(self, running=call)
            case e.CallFinished(result=result) if self.running is not None and result.call_id == self.running.id:
                return replace(self, running=None, uttered=_read(self.running) if result.ok else self.uttered)
            case e.Checkpointed() as body:
                return self._commit(body)
            case e.Rewound():
                return replace(self, due=None, running=None, uttered=None, step=None)
            case e.Prompted(text=text) if text:
                return replace(self, due=None, unanswered="")
            case e.Asked() as body:
                count = self.questions + (body.kind == "question")
                asked = replace(self, open=body, asked=self.asked + 1, questions=count)
                return replace(asked, due=None) if body.kind == "question" else replace(asked, looked=True)
            case e.Answered() as body if self.open is not None:
                return self._answer(self.open, body, event.who)
            case e.RewindRequested(why=why) if why != DENIED:
                return replace(self, refused="", unattended=0)
            case e.Steered() | e.RetryRequested():
                return replace(self, refused="", unattended=0)
            case _:
                return self

    def _commit(self, body: e.Checkpointed) -> Asking:
        known = self.unlooked.union(self.step.unlooked if self.step is not None else ())
        unattended = self.unattended if self.denied else 0
        told = replace(self, unlooked=known, unattended=unattended, denied=False)
        return replace(told, step=body, looked=False, due=self.uttered, uttered=None)

    def _answer(self, asked: e.Asked, body: e.Answered, who: str) -> Asking:
        person = body.by == "person"
        if asked.kind == "question":
            told = "" if person else wording.fill("unanswered", question=_short(asked.text), default=asked.default)
            return replace(self, unanswered=told)
        if body.answer != DENIED:
            return replace(self, allowed_usd=max(asked.allows_usd, self.allowed_usd), unattended=0)
        refused = ""
        if "spending" in asked.rules:
            why = f"denied by {who}" if person else "approved by nobody in time"
            refused = ": ".join(filter(None, (f"spending more was {why}", body.why)))
        return replace(self, denied=True, refused=refused, unattended=0 if person else self.unattended + 1)


def ask(asking: Asking, rules: Approvals, arguments: Ask) -> Outcome:
    """Return what becomes of a question: it's asked when the step is committed, or nobody is asked any more."""
    if asking.uttered is not None:
        return failed("one question in a reply; ask this one when the other is answered")
    if asking.questions >= rules.questions:
        asked = f"{asking.questions} of {rules.questions} questions are asked"
        many = asked if rules.questions else "nobody takes questions here"
        how = f"by what you find out, or as you said: {arguments.default}"
        return failed(f"{many}; decide yourself, {how}. Say in the summary what you decided.")
    return Outcome("asked; when this step is committed, the work waits for an answer")


def answered(asked: e.Asked, body: e.Answered) -> str:
    """Return what the model is told of a person's answer; empty where that isn't one to a question."""
    if asked.kind != "question" or body.by != "person":
        return ""
    return wording.fill("answered", step=str(asked.step), question=_short(asked.text), answer=body.answer)


def _left_open(dialogue: tuple[Turn | Reply, ...]) -> Ask | None:
    """Return the question that a fork's dialogue ends with: it's asked in the fork, too."""
    if not dialogue or not isinstance(last := dialogue[-1], Turn) or last.text:
        return None
    reply = next((said for said in reversed(dialogue) if isinstance(said, Reply)), Reply())
    taken = {result.call_id for result in last.results if result.ok}
    return next((_read(call) for call in reply.calls if call.name == ASK and call.id in taken), None)


def _read(call: ToolCall) -> Ask | None:
    try:
        return Ask.model_validate(call.arguments)
    except ValidationError:
        return None


def _short(text: str) -> str:
    return text if len(text) <= _REMINDED else f"{text[:_REMINDED]}…"
