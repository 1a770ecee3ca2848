"""What the model is asked with: a projection of the journal, so that a resumed attempt asks with the same bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator import events as e
from orchestrator.agent import tools
from orchestrator.agent.asking import Asking, answered
from orchestrator.agent.guards.acts import trail
from orchestrator.agent.refusing import said
from orchestrator.agent.role import MAIN, SUBMIT
from orchestrator.agent.rules import behind
from orchestrator.agent.talk import Sight, Talk
from orchestrator.agent.window import parts
from orchestrator.dialogue import Reply, Request, Turn
from orchestrator.memory import seen, working
from orchestrator.notes import WorkingMemory
from orchestrator.tokens import estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.agent.guards.acts import Done
    from orchestrator.agent.role import Role
    from orchestrator.dialogue import Part
    from orchestrator.events import Event


@dataclass(frozen=True)
class Context:
    """The journal as the agent sees it.

    `dialogue` is all that was said, `sight` what of it the model sees. `memory` is what is kept in view, up to the last
    committed step; `noted` the same with what the open step noted.
    `step` is the last committed one, `depth` how many replies led to where the run is, `forked` whether that is where
    it was forked. `rewind` is what a person asked for and nobody has done yet, `rewind_at` its number in the journal.
    `messages` are what people said that the model wasn't told yet, `said_at` the number of the last one. `retried` is
    what to tell it of the end that the run was taken up from. `spoken` is how much of the dialogue there was when a
    person spoke last, `guarded` are the loops that were found since, `refusals` how many submissions weren't accepted,
    the last one of step `sent_back`. `open_reply` is a complete reply whose step isn't committed: its calls run
    (again); `shown` are the tokens of their results. `lost` counts for each of its calls how many attempts ended, to
    the run's blame, while it ran. `landed` are the limits near which it was told to land, as far as it may still know
    of that. `limits` are the tokens that models take which refused more, `accepted` the most that each has taken, and
    `refused` counts how often in a row one refused. `failures` is how many summaries in a row failed, `tries` how many
    were asked for since the context was built anew. `proposed` is the last step that several replies were asked for.
    `asking` is what people were asked, and what they are to be.
    """

    system: str = ""
    dialogue: tuple[Turn | Reply, ...] = ()
    sight: Sight = field(default_factory=Sight)
    memory: WorkingMemory = field(default_factory=WorkingMemory)
    noted: WorkingMemory = field(default_factory=WorkingMemory)
    step: int = 0
    depth: int = 0
    forked: bool = False
    rewind: e.RewindRequested | None = None
    rewind_at: int = 0
    messages: tuple[str, ...] = ()
    said_at: int = 0
    retried: str = ""
    spoken: int = 0
    guarded: tuple[e.Guarded, ...] = ()
    refusals: int = 0
    sent_back: int = 0
    open_reply: Reply | None = None
    shown: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    landed: frozenset[e.Limit] = frozenset()
    limits: dict[str, int] = field(default_factory=dict)
    accepted: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    failures: int = 0
    tries: int = 0
    asking: Asking = field(default_factory=Asking)
    proposed: int = 0

    @property
    def request(self) -> Request:
        """What the next step's model is asked with."""
        dialogue, sight = self.dialogue, self.sight
        if dialogue and isinstance(head := dialogue[0], Turn) and sight.window.text:
            dialogue = (Turn(text=f"{head.text}\n\n{sight.window.text}"), *dialogue[sight.start :])
        return Request(system=self.system, tools=tools.specs(sight.tools), dialogue=dialogue, before=sight.left_out)

    @property
    def tokens(self) -> int:
        """About how many tokens the next request has."""
        return self.sight.tokens

    @property
    def most_tokens(self) -> int:
        """How many tokens the next request has at most: what is reserved for it."""
        return self.sight.most

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the next request has in it, part by part."""
        return parts(self.sight)

    @property
    def done(self) -> tuple[Done, ...]:
        """The last committed steps since a person spoke, as the guards see them."""
        first = bisect_left(self.sight.places, self.spoken)
        steps, window = self.sight.steps[first:], self.sight.window
        return trail(self.dialogue[self.spoken :], steps, first=window.first, errors=self.sight.errors)

    @property
    def summary(self) -> str | None:
        """The summary that the last committed step submitted; None if it submitted nothing, or was talked to since."""
        if self.dialogue and isinstance(last := self.dialogue[-1], Turn) and last.text:
            return None
        replies = (said for said in reversed(self.dialogue) if isinstance(said, Reply))
        results = self.dialogue[-1].results if self.dialogue and isinstance(self.dialogue[-1], Turn) else ()
        accepted = {result.call_id for result in results if result.ok}
        submits = [call for call in next(replies, Reply()).calls if call.name == SUBMIT and call.id in accepted]
        return str(submits[-1].arguments.get("summary", "")) if submits else None


class Projection:
    """Folds the journal of a run, or of a sub-agent, into its agent's context. Only committed steps are in it."""

    def __init__(self, role: Role = MAIN, *, past: dict[int, Talk] | None = None) -> None:
        """Take the agent's role, and what was folded of this journal already, by the number of events up to there."""
        self._role = role
        self._past = {} if past is None else past
        self._taken = 0
        self._talk = Talk()
        self._step = 0
        self._depth = 0
        self._forked_at = 0
        self._rewind: e.RewindRequested | None = None
        self._rewind_at = 0
        self._messages: dict[int, str] = {}
        self._unattended: set[int] = set()
        """Those of them that no person said: the defaults of questions."""
        self._fork_begins = False
        self._ended: list[str] = []
        self._retried = ""
        self._spoken = 0
        self._guarded: list[e.Guarded] = []
        self._refusals = 0
        self._sent_back = 0
        self._open: Reply | None = None
        self._results: dict[str, e.CallFinished] = {}
        self._noted = WorkingMemory()
        self._shown = 0
        self._behind = ""
        """The rules of folders that are told behind the result of the call that runs."""
        self._running: set[str] = set()
        self._lost: Counter[str] = Counter()
        self._landed: frozenset[e.Limit] = frozenset()
        self._limits: dict[str, int] = {}
        self._accepted: dict[str, int] = {}
        self._refused = 0
        self._failures = 0
        self._tries = 0
        self._asking = Asking()
        self._proposed = 0

    def follow(self, events: Sequence[Event]) -> Context:
        """Return the context after these events. A longer list of the same journal is taken up where it was left."""
        for number, event in enumerate(events[self._taken :], start=self._taken):
            self._asking = self._asking.take(event)
            if isinstance(event.body, e.Rewound):
                self._go_back(events[:number], event.body)
            else:
                self._take(event)
        self._taken = len(events)
        return self._context()

    def _go_back(self, events: Sequence[Event], body: e.Rewound) -> None:
        """Take what was said as it was at that step: the journal up to there is folded anew, once.

        Rewinds lead to others: without what is known of them, each would take twice as long as the one before.
        """
        if (end := _end_of(body.to, events)) not in self._past:
            then = Projection(self._role, past=self._past)
            then.follow(events[:end])
            self._past[end] = then._talk  # Another of its own kind.
        self._talk = self._past[end].copy()
        self._step, self._depth = body.step, body.depth
        asked, seq = self._rewind, self._rewind_at
        if seq <= (body.asked or (0 if body.why == "lost" else seq)):
            self._rewind = None  # Else somebody asked for another one meanwhile.
        self._open, self._running, self._lost = None, set(), Counter()
        self._talk.say(Turn(text=body.message))
        if asked is not None and self._rewind is None and asked.message:
            self._talk.hear_person(asked.message, body.step)
        self._talk.memory = seen.renewed(self._talk.memory)
        self._landed = frozenset()
        self._again()
        self._begin_anew()

    def _take(self, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915  # One case per kind of event.
        fork_begins, self._fork_begins = self._fork_begins, isinstance(event.body, e.Forked)
        match event.body:
            case e.Submitted(spec=spec):
                self._talk.memory = working.begin(spec.task)
                self._talk.tools = self._role.hands(spec.limits, recalls=spec.recall_tokens > 0)
            case e.Prompted() as body:
                self._prompt(body, by_person=fork_begins)
            case e.Replied() as body:
                taken = max(self._talk.tokens, self._accepted.get(body.reply.model, 0))
                self._accepted = self._accepted | {body.reply.model: taken}
                self._begin_step(body.reply)
                self._talk.hear(body.reply)
                self._refused = 0
            case e.CallStarted() as body:
                self._running.add(body.call.id)
                self._behind = ""
            case e.CallFinished() as body:
                self._running.discard(body.result.call_id)
                self._results[body.result.call_id] = body
                self._noted = self._seen(self._noted, body)
                self._shown += estimate(body.result.content)
            case e.Within(body=e.Checkpointed()):
                self._lost = Counter()  # The call that its sub-agents work for comes nearer to its end each time.
            case e.AttemptLost() as body:
                self._lost.update(self._running if body.to_blame else ())
                self._running = set()
            case e.Checkpointed() as body:
                self._commit(body)
            case e.Recalled() as body:
                self._recall(body)
            case e.RulesRead() as body:
                self._noted = working.rules(self._noted, body.path, body.text, body.step)
                self._behind += behind(body.path, body.text)
            case e.SandboxReady():
                self._talk.memory = seen.renewed(self._talk.memory)
                self._again()
            case e.Condensed() as body:
                self._sum_up(body)
            case e.Rebuilt() as body:
                self._rebuild(body)
            case e.Guarded() as body:
                self._guarded.append(body)
            case e.Proposed(step=step):
                self._proposed = step
            case e.Landing(what=what):
                self._landed |= {what}
            case e.RewindRequested() as body:
                self._rewind, self._rewind_at = body, event.seq
            case e.Steered(text=text):
                self._messages[event.seq] = text
            case e.Answered() as body if self._asking.open is not None:
                if text := answered(self._asking.open, body):
                    self._messages[event.seq] = text
                    self._unattended |= {event.seq} if body.by == "deadline" else set()
            case e.Forked() as body:
                self._talk.fork(body)
                self._step = self._forked_at = body.step
            case e.FinishStarted():
                self._ended = []
            case e.Judged(verdict=verdict):
                self._ended.append(said(verdict))
            case e.Refused(step=step):
                self._refusals += 1
                self._sent_back = step
                self._ended = []  # It's told, and the work goes on.
            case e.Finished() as body:
                self._rewind = None  # It came too late; who asked asks again.
                self._ended.insert(0, f"{body.outcome}: {body.reason}" if body.reason else str(body.outcome))
            case e.RetryRequested():
                self._retried, self._ended, self._refused = "\n\n".join(self._ended), [], 0
                self._landed = frozenset()
            case _:
                pass

    def _context(self) -> Context:
        return Context(
            system=self._talk.system,
            dialogue=tuple(self._talk.dialogue),
            sight=self._talk.sight,
            memory=self._talk.memory,
            noted=self._talk.memory if self._open is None else self._noted,
            step=self._step,
            depth=self._depth,
            forked=self._step == self._forked_at > 0,
            rewind=self._rewind,
            rewind_at=self._rewind_at,
            messages=tuple(self._messages.values()),
            said_at=max(self._messages, default=0),
            retried=self._retried,
            spoken=self._spoken,
            guarded=tuple(self._guarded),
            refusals=self._refusals,
            sent_back=self._sent_back,
            open_reply=self._open,
            shown=self._shown,
            lost=self._lost,
            landed=self._landed,
            limits=self._limits,
            accepted=self._accepted,
            refused=self._refused,
            failures=self._failures,
            tries=self._tries,
            asking=self._asking,
            proposed=self._proposed,
        )

    def _prompt(self, body: e.Prompted, *, by_person: bool) -> None:
        talk = self._talk
        talk.system = talk.system or body.system
        talk.say(Turn(text=body.text))
        if by_person:
            talk.hear_person(body.text, self._step)
        for seq, text in self._messages.items():
            if seq <= body.heard:
                talk.hear_person(text, self._step)
        heard = {seq for seq in self._messages if seq <= body.heard}
        if heard - self._unattended or self._retried:
            self._begin_anew()
        self._retried = ""
        self._messages = {seq: text for seq, text in self._messages.items() if seq > body.heard}

    def _recall(self, body: e.Recalled) -> None:
        self._noted = working.given(self._noted, [one.id for one in body.entries], body.step)
        if body.why == "start":  # It belongs to no step that could be undone.
            self._talk.memory = working.given(self._talk.memory, [one.id for one in body.entries], body.step)
            self._talk.recalled = estimate(body.text)

    def _begin_anew(self) -> None:
        """Judge no more what was done before a person spoke."""
        self._spoken, self._guarded, self._refusals = len(self._talk.dialogue), [], 0

    def _begin_step(self, reply: Reply | None) -> None:
        self._open, self._running, self._lost = reply, set(), Counter()
        self._again()

    def _again(self) -> None:
        """Forget what the calls of the open step gave: they run again, on the workspace as it was before."""
        self._results, self._noted, self._shown = {}, self._talk.memory, 0

    def _seen(self, memory: WorkingMemory, ended: e.CallFinished) -> WorkingMemory:
        calls = self._open.calls if self._open is not None else ()
        call = next((call for call in calls if call.id == ended.result.call_id), None)
        if call is None:
            return memory
        content = ended.result.content.removesuffix(self._behind)  # The repository's words are no result.
        result = ended.result.model_copy(update={"content": content})
        return seen.observed(memory, call, ended.model_copy(update={"result": result}))

    def _commit(self, body: e.Checkpointed) -> None:
        if self._open is not None:
            ended = tuple(self._results[call.id] for call in self._open.calls)
            self._talk.commit(body.step, self._open, ended)
            self._talk.memory = seen.committed(self._noted, body.files, body.step)
        self._step, self._depth, self._open = body.step, self._depth + 1, None
        self._again()

    def _sum_up(self, body: e.Condensed) -> None:
        self._tries += 1
        self._failures = self._failures + 1 if body.failure else 0 if body.summary else self._failures
        self._talk.sum_up(body)

    def _rebuild(self, body: e.Rebuilt) -> None:
        self._tries = 0
        self._landed = frozenset()  # What it was told may have left its window.
        if body.why == "refused":
            self._refused += 1
            # Who refuses less than it took before meant something else, or miscounts: once is not always.
            least = max(body.limit, self._accepted.get(body.model, 0))
            self._limits = self._limits | {body.model: least}
        self._talk.rebuild(body)


def _end_of(step: int, events: Sequence[Event]) -> int:
    """Return how many events lead up to the end of a step; of the one that a run begins with, up to the first reply."""
    for number, event in enumerate(events, start=1):
        if isinstance(event.body, e.Checkpointed | e.Rewound) and event.body.step == step:
            return number
    return next((n for n, event in enumerate(events) if isinstance(event.body, e.Replied)), len(events))
