"""What the model is asked with: a projection of the journal, so that a resumed attempt asks with the same bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.agent import tools
from orchestrator.agent.shown import clean
from orchestrator.dialogue import Reply, Request, ToolResult, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.events import Event
    from orchestrator.runs import Verdict

_TOLD: Final = 4000
"""Characters of an acceptance command's output that a retried run is told."""


@dataclass(frozen=True)
class Context:
    """The journal as the agent sees it.

    `step` is the last committed one, `depth` how many replies led to where the run is, `forked` whether that is where
    it was forked. `rewind` is what a person asked for and nobody has done yet, `rewind_at` its number in the journal.
    `messages` are what people said that the model wasn't told yet, `said_at` the number of the last one. `retried` is
    what to tell it of the end that the run was taken up from. `spoken` is how much of the dialogue there was when a
    person spoke last. `open_reply` is a complete reply whose
    step isn't committed: its calls run (again). `lost` counts for each of its calls how many attempts ended, to the
    run's blame, while it ran. `spent_usd` is what replies of known price cost, undone steps included.
    """

    system: str = ""
    dialogue: tuple[Turn | Reply, ...] = ()
    step: int = 0
    depth: int = 0
    forked: bool = False
    rewind: e.RewindRequested | None = None
    rewind_at: int = 0
    messages: tuple[str, ...] = ()
    said_at: int = 0
    retried: str = ""
    spoken: int = 0
    open_reply: Reply | None = None
    lost: Counter[str] = field(default_factory=Counter)
    spent_usd: float = 0.0

    @property
    def request(self) -> Request:
        """What the next step's model is asked with."""
        return Request(system=self.system, tools=tools.specs(), dialogue=self.dialogue)

    @property
    def idle(self) -> bool:
        """Whether the last committed reply called nothing, and nothing was said since."""
        return bool(self.dialogue) and isinstance(self.dialogue[-1], Reply)

    @property
    def idle_replies(self) -> int:
        """How many replies in a row, up to the last committed one and since a person spoke last, called nothing."""
        count = 0
        for said in reversed(self.dialogue[self.spoken :]):
            if isinstance(said, Reply):
                if said.calls:
                    break
                count += 1
        return count

    @property
    def summary(self) -> str | None:
        """The summary that the last committed step submitted; None if it submitted nothing, or was talked to since."""
        if self.dialogue and isinstance(last := self.dialogue[-1], Turn) and last.text:
            return None
        replies = (said for said in reversed(self.dialogue) if isinstance(said, Reply))
        results = self.dialogue[-1].results if self.dialogue and isinstance(self.dialogue[-1], Turn) else ()
        accepted = {result.call_id for result in results if result.ok}
        submits = [call for call in next(replies, Reply()).calls if call.name == tools.SUBMIT and call.id in accepted]
        return str(submits[-1].arguments.get("summary", "")) if submits else None


class Projection:
    """Folds a run's journal into the agent's context. Only committed steps are in the dialogue."""

    def __init__(self) -> None:
        self._taken = 0
        self._system = ""
        self._dialogue: list[Turn | Reply] = []
        self._step = 0
        self._depth = 0
        self._forked_at = 0
        self._rewind: e.RewindRequested | None = None
        self._rewind_at = 0
        self._messages: dict[int, str] = {}
        self._ended: list[str] = []
        self._retried = ""
        self._spoken = 0
        self._open: Reply | None = None
        self._results: dict[str, ToolResult] = {}
        self._running: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._spent = 0.0

    def follow(self, events: Sequence[Event]) -> Context:
        """Return the context after these events. A longer list of the same journal is taken up where it was left."""
        for number, event in enumerate(events[self._taken :], start=self._taken):
            if isinstance(event.body, e.Rewound):
                self._go_back(events[:number], event.body)
            else:
                self._take(event)
        self._taken = len(events)
        return self._context()

    def _go_back(self, events: Sequence[Event], body: e.Rewound) -> None:
        """Take the dialogue as it was at that step: the journal up to there is folded anew."""
        then = Projection()
        then.follow(events[: _end_of(body.to, events)])
        self._dialogue = then._dialogue  # Another of its own kind.
        self._step, self._depth = body.step, body.depth
        if self._rewind_at <= (body.asked or (0 if body.why == "lost" else self._rewind_at)):
            self._rewind = None  # Else somebody asked for another one meanwhile.
        self._open, self._results, self._running, self._lost = None, {}, set(), Counter()
        self._say(Turn(text=body.message))
        self._spoken = len(self._dialogue)

    def _take(self, event: Event) -> None:  # noqa: C901, PLR0912  # One case per kind of event.
        match event.body:
            case e.Prompted() as body:
                self._prompt(body)
            case e.Replied() as body:
                self._open, self._results, self._running, self._lost = body.reply, {}, set(), Counter()
                self._spent += body.reply.cost_usd or 0.0
            case e.CallStarted() as body:
                self._running.add(body.call.id)
            case e.CallFinished() as body:
                self._running.discard(body.result.call_id)
                self._results[body.result.call_id] = body.result
            case e.AttemptLost() as body:
                self._lost.update(self._running if body.to_blame else ())
                self._running = set()
            case e.Checkpointed() as body:
                self._commit(body.step)
            case e.RewindRequested() as body:
                self._rewind, self._rewind_at = body, event.seq
            case e.Steered(text=text):
                self._messages[event.seq] = text
            case e.Forked() as body:
                self._system, self._dialogue, self._step = body.system, list(body.dialogue), body.step
                self._forked_at = body.step
            case e.FinishStarted():
                self._ended = []
            case e.Judged(verdict=verdict):
                self._ended.append(_told(verdict))
            case e.Finished() as body:
                self._rewind = None  # It came too late; who asked asks again.
                self._ended.insert(0, f"{body.outcome}: {body.reason}" if body.reason else str(body.outcome))
            case e.RetryRequested():
                self._retried, self._ended = "\n\n".join(self._ended), []
            case _:
                pass

    def _context(self) -> Context:
        return Context(
            system=self._system,
            dialogue=tuple(self._dialogue),
            step=self._step,
            depth=self._depth,
            forked=self._step == self._forked_at > 0,
            rewind=self._rewind,
            rewind_at=self._rewind_at,
            messages=tuple(self._messages.values()),
            said_at=max(self._messages, default=0),
            retried=self._retried,
            spoken=self._spoken,
            open_reply=self._open,
            lost=self._lost,
            spent_usd=self._spent,
        )

    def _prompt(self, body: e.Prompted) -> None:
        self._system = self._system or body.system
        self._say(Turn(text=body.text))
        if body.heard or self._retried:
            self._spoken = len(self._dialogue)
        self._retried = ""
        self._messages = {seq: text for seq, text in self._messages.items() if seq > body.heard}

    def _commit(self, step: int) -> None:
        if self._open is not None:
            self._dialogue.append(self._open)
            if self._open.calls:
                self._say(Turn(results=tuple(self._results[call.id] for call in self._open.calls)))
        self._step, self._depth, self._open, self._results = step, self._depth + 1, None, {}

    def _say(self, turn: Turn) -> None:
        """Two turns without a reply between them are one: results first, then what is said beside."""
        if self._dialogue and isinstance(last := self._dialogue[-1], Turn):
            text = "\n\n".join(filter(None, (last.text, turn.text)))
            self._dialogue[-1] = Turn(text=text, results=last.results + turn.results)
        else:
            self._dialogue.append(turn)


def _told(verdict: Verdict) -> str:
    """Return what the acceptance command said, for the model: the end of it."""
    how = "timed out" if verdict.timed_out else f"exit code {verdict.exit_code}"
    where = ", with the base's test files put back" if verdict.base_tests else ""
    return f"$ {verdict.command}\n{clean(verdict.output.encode())[-_TOLD:]}\n[{how}{where}]"


def _end_of(step: int, events: Sequence[Event]) -> int:
    """Return how many events lead up to the end of a step; of the one that a run begins with, up to the first reply."""
    for number, event in enumerate(events, start=1):
        if isinstance(event.body, e.Checkpointed | e.Rewound) and event.body.step == step:
            return number
    return next((n for n, event in enumerate(events) if isinstance(event.body, e.Replied)), len(events))
