"""How much of each limit a run has used: for the agent that is to land in time, and for people who look on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from orchestrator.events import Limit
    from orchestrator.runs import RunView

NEAR: Final = 0.8
"""Share of a limit at which the agent is told to land."""


_UNITS: Final[dict[Limit, str]] = {"time": "s"}


class Use(NamedTuple):
    """What is used of one limit: model replies, tokens, US dollars or seconds.

    `ahead` is what the next reply can take at most, of which there has to be so much left: nobody can land on that.
    """

    what: Limit
    used: float
    limit: float
    ahead: float = 0.0

    @property
    def near(self) -> bool:
        """Whether it's time to land."""
        return self.used + self.ahead >= self.limit * NEAR

    @property
    def reached(self) -> bool:
        """Whether nothing is left."""
        return self.used >= self.limit

    @property
    def most(self) -> str:
        """The limit, in words."""
        return self._worded(self.limit)

    @property
    def end(self) -> str:
        """What the reason of a run that ends at it begins with."""
        return f"the limit of {self.most} is reached"

    @property
    def words(self) -> str:
        """What is used of it, in words."""
        used = f"${self.used:.2f}" if self.what == "money" else f"{self.used:,.0f}"
        ahead = self.used < self.limit * NEAR and self.ahead
        return f"{used} of {self.most}" + (f" ({self._worded(self.ahead)} kept for the next reply)" if ahead else "")

    def _worded(self, figure: float) -> str:
        return f"${figure:.2f}" if self.what == "money" else f"{figure:,.0f} {_UNITS.get(self.what, self.what)}"


def uses(view: RunView, now: datetime) -> tuple[Use, ...]:
    """Return what a run has used of its limits; money doesn't count where the run goes on without a price."""
    limits, usage = view.limits, view.usage
    found = [
        Use("steps", view.depth, limits.steps),
        Use("tokens", usage.input_tokens + usage.output_tokens, limits.tokens),
        Use("time", view.spent_s(now), limits.seconds),
    ]
    if view.cost_usd is not None and not view.spec.unpriced:
        found.append(Use("money", view.cost_usd, limits.money_usd))
    return tuple(found)
