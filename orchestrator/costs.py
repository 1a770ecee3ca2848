"""What a run's replies cost, reply by reply, and what they would have cost elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from orchestrator import events as e
from orchestrator.dialogue import Sent, Usage, Value
from orchestrator.errors import DreamdockError
from orchestrator.models.prices import cost_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.events import Event
    from orchestrator.models import Catalog
    from orchestrator.models.families import Choice


Kind = Literal["step", "candidate", "condense", "judge"]
_KINDS: Final[dict[str, Kind]] = {
    "replied": "step",
    "proposed": "candidate",
    "condensed": "condense",
    "ruled": "judge",
}


class ReplyCost(Value):
    """One reply that was paid for. `cost_usd` is None where the price is unknown, `sent` where nothing was sent.

    `kind` says what for: the reply of a step, one of several that were asked for at once for it, a summary of the run
    up to and with it, to condense the context, or a ruling on what it submitted. `agent` names the sub-agent whose step
    it is, empty for the run's own.
    """

    step: int
    kind: Kind = "step"
    model: str
    usage: Usage
    cost_usd: float | None
    sent: Sent | None
    agent: str = ""


class Elsewhere(Value):
    """What another family's default model would have cost at the same usage, US dollars."""

    model: str
    cost_usd: float


class Costs(Value):
    """All replies of a run, those of undone steps and summaries too: they were paid for all the same."""

    replies: tuple[ReplyCost, ...]
    elsewhere: tuple[Elsewhere, ...]

    @property
    def usage(self) -> Usage:
        """All tokens."""
        return sum((reply.usage for reply in self.replies), Usage())

    @property
    def cost_usd(self) -> float | None:
        """All money, or None once a reply of unknown price is in it."""
        known = [reply.cost_usd for reply in self.replies if reply.cost_usd is not None]
        return sum(known) if len(known) == len(self.replies) else None


def costs(model: str, events: Iterable[Event], known: Catalog) -> Costs:
    """Return what a run cost; `model` is the one that it was queued with, `known` the families to compare with."""
    replies = tuple(
        ReplyCost(
            step=body.step,
            kind=_KINDS[body.type],
            model=reply.model or model,
            usage=reply.usage,
            cost_usd=reply.cost_usd,
            sent=reply.sent,
            agent="/".join(path),
        )
        for event in events
        for body, path in (e.innermost(event.body),)
        if isinstance(body, e.Replied | e.Proposed | e.Condensed | e.Ruled)
        for reply in e.paid(body)
    )
    asked = {reply.model for reply in replies}
    found = (_at(choice, replies) for choice in _defaults(known) if choice.name not in asked)
    return Costs(replies=replies, elsewhere=tuple(sorted(filter(None, found), key=lambda other: other.cost_usd)))


def _defaults(known: Catalog) -> Iterator[Choice]:
    for family_id, family in known.families.items():
        for model in list(family.models)[:1]:
            try:
                yield known.choose(f"{family_id}/{model}")
            except DreamdockError:
                continue  # It needs an address that only a run brings: nothing to compare with.


def _at(choice: Choice, replies: Iterable[ReplyCost]) -> Elsewhere | None:
    """Each reply is priced alone: prices may rise with the length of a request."""
    found = [cost_usd(choice, reply.usage) for reply in replies]
    known = [cost for cost in found if cost is not None]
    return Elsewhere(model=choice.name, cost_usd=sum(known)) if known and len(known) == len(found) else None
