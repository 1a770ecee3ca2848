"""The ledger of a run: what it may spend, what it has spent, and what is reserved for replies that are being asked for.

A request is made only once the dearest that it can get has been put aside, so that however many agents of a run ask at
once, no reply takes money or tokens beyond the limit. What was spent comes from the journal; what is reserved lives
here alone, and ends with the attempt.
"""

from __future__ import annotations

from bisect import bisect_right
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self

from orchestrator import events as e
from orchestrator.agent.talk import at_most, fixed, size
from orchestrator.events import Spent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.agent.journal import Journal
    from orchestrator.dialogue import Reply, Request
    from orchestrator.models.port import Model

LEAST_REPLY: Final = 1024
"""Tokens without which a reply isn't worth asking for: where no more is left, the budget is used up."""
_LONGEST_REPLY: Final = 131_072
"""Tokens that the reply of a model may have of which nobody says how long it gets."""


_NOTHING: Final = Spent()


class OverBudget(Exception):  # noqa: N818  # A flow signal, not an error.
    """Not even a short reply is paid for by what is left of the money, or of the tokens."""

    def __init__(self, kind: Literal["money", "tokens"]) -> None:
        super().__init__(f"not enough is left of the {kind}")
        self.kind = kind


class Day(Protocol):
    """What the user of a run, and the team, have left today; from any thread."""

    def hold(self, most_usd: float, least_usd: float) -> tuple[str, float]:
        """Put up to `most_usd` aside; return under which name, and how much: at least `least_usd`.

        Raises Stopped where there's less: then the run is to wait for another day.
        """

    def free(self, name: str) -> None:
        """Give back what was put aside; what was paid of it is in the journal."""


class Reservation:
    """What is put aside for one reply, as a context: behind it what the reply didn't take is free again.

    `most_tokens` is what the reply may have, 0 where it needs no cap. What a request cost that failed isn't known: it
    counts as nothing.
    """

    def __init__(self, amount: Spent, most_tokens: int, end: Callable[[Reservation, Spent], None]) -> None:
        self.amount = amount
        self.most_tokens = most_tokens
        self.day = ""
        self._paid = Spent()
        self._end = end

    def settle(self, reply: Reply) -> None:
        """Count what the reply really took."""
        self._paid = e.price_of(reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self, self._paid)


class Budget:
    """What may be spent in one attempt by a run, or by one of its children. For any thread."""

    def __init__(
        self,
        money_usd: float,
        tokens: int,
        *,
        spent: Spent = _NOTHING,
        day: Day | None = None,
        above: Budget | None = None,
    ) -> None:
        """Take the limits, what of them is spent already, and where else a request has to be paid from."""
        self.money_usd = money_usd
        self.tokens = tokens
        self._spent = spent
        self._day = day
        self._above = above
        self._lock: RLock = above._lock if above is not None else RLock()  # noqa: SLF001  # Of its own kind.
        self._reserved: set[Reservation] = set()
        self._children: list[Budget] = []
        self._closed = False

    @classmethod
    def of(cls, journal: Journal, day: Day | None = None) -> Budget:
        """Return the ledger of a run as its journal tells it."""
        limits = journal.view.limits
        return cls(limits.money_usd, limits.tokens, spent=e.spent(journal.events), day=day)

    @property
    def spent(self) -> Spent:
        """What is paid, by children too."""
        return self._spent

    @property
    def left(self) -> Spent:
        """What may still be reserved, or shared out."""
        with self._lock:
            if self._closed:
                return Spent()
            held = self._held
            money = self.money_usd - self._spent.money_usd - held.money_usd
            return Spent(max(money, 0.0), max(self.tokens - self._spent.tokens - held.tokens, 0))

    def reserve(self, prompt_tokens: int, model: Model, *, part: float = 1.0) -> Reservation:
        """Put aside what a request of so many tokens, at most, can cost; its reply may be asked to be short for it.

        What is asked beside the work takes a `part` of what is left at most, so that the work itself isn't refused.
        Raises OverBudget where less is left than a reply of 1,024 tokens takes; Stopped where the user or the team has
        less left for today.
        """
        longest = model.reply_limit or _LONGEST_REPLY
        least = min(LEAST_REPLY, longest)

        def usd(reply_tokens: int) -> float:
            return model.most_usd(prompt_tokens, reply_tokens)

        def within(money_usd: float, most: int) -> int:
            """Return how long a reply may be for so much; at most `most`."""
            return most if usd(most) <= money_usd else bisect_right(range(most), money_usd, key=usd) - 1

        with self._lock:
            left = self.left
            most = min(longest, int(left.tokens * part) - prompt_tokens)
            if most < least:
                raise OverBudget("tokens")
            most = within(left.money_usd * part, most)
            if most < least:
                raise OverBudget("money")
            reservation = Reservation(Spent(usd(most), prompt_tokens + most), most, self._end)
            self._reserved.add(reservation)
        if self._day is not None and reservation.amount.money_usd:
            try:
                reservation.day, granted = self._day.hold(reservation.amount.money_usd, usd(least))
            except BaseException:
                self._end(reservation, Spent())
                raise
            most = max(within(granted, most), least)
        reservation.most_tokens = 0 if most == model.reply_limit else most
        return reservation

    def least(self, prompt_tokens: int, model: Model) -> Spent:
        """Return what has to be left for a request of so many tokens to be made, with the shortest reply."""
        reply = min(LEAST_REPLY, model.reply_limit or LEAST_REPLY)
        return Spent(model.most_usd(prompt_tokens, reply), prompt_tokens + reply)

    @contextmanager
    def share(self, parts: int) -> Iterator[Budget]:
        """Have a ledger for one of `parts` children that are still to be given theirs, while the block runs.

        Each gets as much as the others and as what stays here: of 8, ask for 8, then for 7. All of it is put aside at
        once; behind the block, what was not spent is here again.
        """
        with self._lock:
            left = self.left
            child = Budget(left.money_usd / (parts + 1), left.tokens // (parts + 1), day=self._day, above=self)
            self._children.append(child)
        try:
            yield child
        finally:
            with self._lock:
                child._closed = True  # Of its own kind.

    @property
    def _held(self) -> Spent:
        """What is put aside: for replies, and for children."""
        found = e.Spent()
        for reservation in self._reserved:
            found = found.plus(reservation.amount)
        for child in self._children:
            inner = child._held  # noqa: SLF001  # Of its own kind.
            if not child._closed:  # noqa: SLF001  # As above.
                spent = child.spent
                money = max(child.money_usd - spent.money_usd, inner.money_usd)
                inner = Spent(money, max(child.tokens - spent.tokens, inner.tokens))
            found = found.plus(inner)
        return found

    def _end(self, reservation: Reservation, paid: Spent) -> None:
        with self._lock:
            if reservation not in self._reserved:
                return
            self._reserved.remove(reservation)
            ledger: Budget | None = self
            while ledger is not None:
                ledger._spent = ledger._spent.plus(paid)  # noqa: SLF001  # Of its own kind.
                ledger = ledger._above  # noqa: SLF001  # As above.
        if self._day is not None and reservation.day:
            self._day.free(reservation.day)


def counted(request: Request) -> int:
    """Return the tokens that a request has at most of which no provider has counted anything."""
    names = frozenset(tool.name for tool in request.tools)
    return at_most(fixed(request.system, names) + sum(size(said) for said in request.dialogue))
