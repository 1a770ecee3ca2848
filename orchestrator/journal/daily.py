"""What a run puts aside of its user's money for today, and its team's, before a reply is asked for."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING, Final

from orchestrator.events import PreemptRequested
from orchestrator.stop import PREEMPTED, Stopped

if TYPE_CHECKING:
    from orchestrator.journal.writer import Writer

_UNLIMITED_S: Final = 60.0
"""For so long it isn't asked again whether there is a limit by now."""
_FULL: Final = "FULL "


class Daily:
    """The days of one attempt's run; from any thread. Where nobody has a limit, it asks once a minute."""

    def __init__(self, journal: Writer) -> None:
        self._journal = journal
        self._names = count(1)
        self._unlimited_until = 0.0

    def hold(self, most_usd: float, least_usd: float) -> tuple[str, float]:
        """Put up to `most_usd` aside; return under which name, and how much: at least `least_usd`.

        Raises Stopped where there is less: the run gives its worker up, and waits for another day.
        """
        if time.monotonic() < self._unlimited_until:
            return "", most_usd
        name = f"r{next(self._names)}"
        answer = self._journal.reserve(name, most_usd, least_usd)
        if answer == "FREE":
            self._unlimited_until = time.monotonic() + _UNLIMITED_S
            return "", most_usd
        if answer.startswith(_FULL):
            text = f"what is left of the budget of {answer.removeprefix(_FULL)} for today doesn't pay for a reply"
            self._journal.append(PreemptRequested(why="budget", text=text))
            raise Stopped(PREEMPTED)
        return name, float(answer)

    def free(self, name: str) -> None:
        """Give back what was put aside, with the next append; what was paid of it is in the journal by then."""
        self._journal.release(name)
