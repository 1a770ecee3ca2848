"""A run told line by line: one event in, the lines that a person should see of it out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from orchestrator.cli import states
from orchestrator.cli.team import begun, merged, returned
from orchestrator.cli.text import duration, first_line, lines, plural, tail, visible
from orchestrator.cli.wording import (
    ACCEPTANCE_LINES,
    ORIGINS,
    PROSE_LINES,
    Line,
    asked,
    built,
    call_line,
    changes,
    chosen,
    describe,
    ended,
    given,
    guarded,
    installs,
    judged,
    landing,
    printed,
    proposed,
    reached,
    rebuilt,
    recalled,
    ruled,
    sealed,
    set_up,
    spent,
    summary,
    weakened,
)
from orchestrator.dialogue import Usage
from orchestrator.events import paid
from orchestrator.runs import Outcome
from orchestrator.settings import RunLimits

if TYPE_CHECKING:
    from orchestrator import events as e
    from orchestrator.dialogue import Reply, ToolCall
    from orchestrator.journal.live import Said

OUTPUT_LINES: Final = 5


class Narrator:
    """Tells a run. It keeps what the status line needs: step, time, tokens, money and what is going on.

    `run` is what the commands to paste call it.

    `step` is the number of the last one, `uncounted` how many up to it don't count against the limit: a fork's are
    those of the run that it comes from, and a rewind's what it took back, and itself.
    """

    def __init__(self, run: str = "RUN") -> None:
        self._run = run
        self.step = 0
        self.uncounted = 0
        self.limits = RunLimits()
        self.usage = Usage()
        self.cost_usd: float | None = 0.0
        self.doing = "queued"
        self.began: datetime | None = None
        self.outcome: Outcome | None = None
        self._calls: dict[str, ToolCall] = {}
        self._sets_up = False
        self._builds = False
        self._unproven = True
        self._judged_by = False
        self._header = ""
        self._open = False
        self._reused = False
        self._said: list[Said] = []
        self._children: dict[str, Narrator] = {}

    def tell(self, event: e.Event) -> list[Line]:
        """Take one event, and return its lines: none where it says nothing to a person."""
        for reply in paid(event.body):
            self._pay(reply)
        told: list[Line] = getattr(self, f"_{event.body.type}")(event, event.body)
        return told

    def spent(self, now: datetime | None = None) -> str:
        """Return what it took so far: time, tokens, money, and of how much where that is near."""
        seconds = ((now or datetime.now(UTC)) - self.began).total_seconds() if self.began else 0.0
        return spent(max(seconds, 0), self.usage, self.cost_usd, self.limits)

    def status(self) -> Text:
        """Return the line of progress: steps of the limit, what was spent, and what is going on."""
        step = f"{self._at()} · " if self.step else ""
        return Text.assemble((f"{step}{self.spent()} · ", "dim"), self.doing, no_wrap=True, overflow="ellipsis")

    def hear(self, said: Said) -> None:
        """Take a piece of a reply that is still coming; a new reply takes back the one before."""
        if said.step <= self.step:
            return  # That reply is complete, and told.
        if self._said and self._said[-1].reply != said.reply:
            self._said.clear()
        self._said.append(said)
        self.doing = f"calling {visible(said.piece)}" if said.kind == "call" else "replying"

    def saying(self) -> Text:
        """Return what the model has said so far of the reply that is coming: its text, or its reasoning before that."""
        for kind, style in (("text", "italic"), ("reasoning", "dim italic")):
            if text := "".join(said.piece for said in self._said if said.kind == kind).strip():
                return Text(visible(text), style)
        return Text()

    def _submitted(self, event: e.Event, body: e.Submitted) -> list[Line]:
        self.began, self.limits, self._sets_up = event.at, body.spec.limits, bool(body.spec.setup)
        self._builds = bool(body.spec.build)
        return describe(body.spec)

    def _dispatched(self, _event: e.Event, body: e.Dispatched) -> list[Line]:
        self.doing, self.outcome = "queued", None
        return [Line("queued", Text(f"again, as attempt {body.attempt}"))] if body.attempt > 1 else []

    def _claimed(self, event: e.Event, body: e.Claimed) -> list[Line]:
        if body.attempt == 1:
            self.began = event.at
        ahead = "building the image" if self._builds else "setting up" if self._sets_up else "starting the sandbox"
        self.doing = ahead
        again = f", attempt {body.attempt}" if body.attempt > 1 else ""
        return [Line("worker", Text(visible(f"{body.worker}{again}"), "dim"))]

    def _built(self, _event: e.Event, body: e.Built) -> list[Line]:
        self.doing = "setting up" if self._sets_up else "starting the sandbox"
        rows = [] if body.cached else tail(body.log, ACCEPTANCE_LINES if body.failed else OUTPUT_LINES)
        return [Line("image", built(body), prose=True), *(_note(Text(f"  {row}", "dim")) for row in rows)]

    def _set_up(self, _event: e.Event, body: e.SetUp) -> list[Line]:
        self.doing = "starting the sandbox"
        rows = [] if body.cached else tail(body.log, ACCEPTANCE_LINES if body.failed else OUTPUT_LINES)
        came = [_note(text) for text in installs(body.installs)]
        return [Line("set-up", set_up(body)), *(_note(Text(f"  {row}", "dim")) for row in rows), *came]

    def _sandbox_ready(self, _event: e.Event, body: e.SandboxReady) -> list[Line]:
        self.doing, self._reused = "asking the model", self._open
        told = [Line("sandbox", Text(visible(f"{body.image}, sealed: {sealed(body.policy)}"), "dim"), prose=True)]
        if fallback := body.policy.get("commands"):
            told.append(_warning(visible(fallback)))
        return told

    def _prompted(self, _event: e.Event, body: e.Prompted) -> list[Line]:
        if not body.system and body.text:
            return [_note(Text(f"told the model: {first_line(body.text)}", "dim"))]
        return []

    def _recalled(self, _event: e.Event, body: e.Recalled) -> list[Line]:
        failed = [_warning(visible(body.failure))] if body.failure else []
        if body.why == "start":
            return [*given(body), *failed]
        return self._under_header([_note(Text.assemble("from memory: ", recalled(body))), *failed])

    def _request_failed(self, _event: e.Event, body: e.RequestFailed) -> list[Line]:
        self._said.clear()
        failure = body.failure
        again = f"asking {failure.instead} instead" if failure.instead else f"again in {duration(failure.wait_s)}"
        self.doing = visible(f"waiting for {failure.instead or failure.model}")
        why = f": {failure.cause}" if failure.cause else ""
        return [Line("model", Text.assemble(("! ", "yellow"), visible(f"{failure.error}{why}; {again}")), prose=True)]

    def _proposed(self, _event: e.Event, body: e.Proposed) -> list[Line]:
        self.doing = f"trying {len(body.candidates)} candidates"
        return [Line("candidates", proposed(body), prose=True)]

    def _chosen(self, _event: e.Event, body: e.Chosen) -> list[Line]:
        self.doing = "asking the model"
        return [Line("", row, prose=True) for row in chosen(body)]

    def _replied(self, _event: e.Event, body: e.Replied) -> list[Line]:
        self._said.clear()
        self._open, self._reused = True, False
        self.step = body.step
        self.doing = "running its calls"
        self._header = self._heading()
        said = " ".join(line.strip() for line in lines(body.reply.text) if line)
        return self._under_header([Line("", Text(said, "italic"), prose=True, limit=PROSE_LINES)] if said else [])

    def _call_started(self, _event: e.Event, body: e.CallStarted) -> list[Line]:
        self._calls[body.call.id] = body.call
        self.doing = call_line(body.call)
        told = [_note(Text(self.doing, "bold"))] if body.call.name == "bash" else []
        if self._reused:
            self._header, self._reused = self._heading(), False
            again = Text("again, by the reply in the journal: it isn't asked or paid for twice", "dim")
            told.insert(0, Line("", again, prose=True))
        return self._under_header(told)

    def _call_finished(self, _event: e.Event, body: e.CallFinished) -> list[Line]:
        self.doing = "asking the model"
        call = self._calls.pop(body.result.call_id, None)
        if call is not None and call.name == "bash":
            told = [_note(Text(f"  {row}", "dim")) for row in tail(printed(body.result.content), OUTPUT_LINES)]
            return self._under_header([*told, _note(ended(body))])
        what = call_line(call) if call else visible(body.result.name)
        if body.result.ok:
            return self._under_header([_note(Text(what))])
        refusal = Text.assemble(("✗ ", "red"), f"{what}: {first_line(body.result.content.removeprefix('error: '))}")
        return self._under_header([_note(refusal)])

    def _checkpointed(self, _event: e.Event, body: e.Checkpointed) -> list[Line]:
        self.doing, self._open, self._reused = "asking the model", False, False
        inexact = [_warning(f"not in the checkpoint: {visible(path)}") for path in body.inexact]
        came = [_note(text) for text in installs(body.installs)]
        return self._under_header([*(_note(text) for text in changes(body.files)), *came, *inexact])

    def _rules_read(self, _event: e.Event, body: e.RulesRead) -> list[Line]:
        return self._under_header([_note(Text(f"rules: {visible(body.path)} counts from here on", "dim"))])

    def _condensed(self, _event: e.Event, body: e.Condensed) -> list[Line]:
        if not body.failure:
            return []  # It's beside the work: the rebuild that takes it says so, and one of what was undone is nothing.
        return [Line("condenser", Text.assemble(("! ", "yellow"), visible(body.failure)), prose=True)]

    def _rebuilt(self, _event: e.Event, body: e.Rebuilt) -> list[Line]:
        return [Line("context", rebuilt(body), prose=True)]

    def _guarded(self, _event: e.Event, body: e.Guarded) -> list[Line]:
        return [Line("guard", guarded(body), prose=True)]

    def _landing(self, _event: e.Event, body: e.Landing) -> list[Line]:
        return [Line("limit", landing(body), prose=True)]

    def _child_started(self, _event: e.Event, body: e.ChildStarted) -> list[Line]:
        self._children[body.child] = Narrator()
        self._children[body.child].limits = body.limits
        return self._under_header([_note(Text.assemble(_mark(body.child), begun(body)))])

    def _within(self, event: e.Event, body: e.Within) -> list[Line]:
        """Tell what a sub-agent does as what an agent does, under its name."""
        child = self._children.setdefault(body.child, Narrator())
        told = child.tell(event.model_copy(update={"body": body.body}))
        self.doing = f"{visible(body.child)}: {child.doing}"
        return [_below(body.child, line) for line in told]

    def _child_finished(self, _event: e.Event, body: e.ChildFinished) -> list[Line]:
        return [_note(Text.assemble(_mark(body.child), text)) for text in returned(body)]

    def _child_merged(self, _event: e.Event, body: e.ChildMerged) -> list[Line]:
        return [_note(Text.assemble(_mark(body.child), merged(body)))]

    def _forked(self, _event: e.Event, body: e.Forked) -> list[Line]:
        self.step = self.uncounted = body.step
        return [Line("forked", Text(f"from step {body.step} of run {visible(body.run)}"))]

    def _rewind_requested(self, event: e.Event, body: e.RewindRequested) -> list[Line]:
        said = f": {first_line(body.message)}" if body.message else ""
        if body.why == "denied":
            return [Line("denied", Text(f"what came after step {body.step} is undone"), prose=True)]
        what = Text(f"{body.why} to step {body.step}, asked for by {visible(event.who)}{said}")
        return [Line("rewind", what, prose=True)]

    def _rewound(self, _event: e.Event, body: e.Rewound) -> list[Line]:
        lost = []
        if body.why == "lost":
            lost.append(_warning(f"what came after step {body.to} was lost with its host; it's done again"))
        self.step, self._header, self.doing = body.step, "", "asking the model"
        self.uncounted = body.step - body.depth
        self._open, self._reused = False, False
        self._said.clear()
        told = f"files, shell and dialogue are those of step {body.to} again; processes and /tmp are gone"
        counts = f"; {body.depth} of {self.limits.steps} steps count"
        return [*lost, Line(f"step {body.step}", Text(f"{told}{counts}"), prose=True)]

    def _finish_started(self, _event: e.Event, body: e.FinishStarted) -> list[Line]:
        self._header = ""
        if not body.command:
            return []
        self.doing = f"acceptance: {first_line(body.command)}"
        where = Text(f"in a fresh container ({ORIGINS.get(body.origin, visible(body.origin)).split(';')[0]})", "dim")
        return [Line("acceptance", where), Line("", Text(f"$ {first_line(body.command)}", "bold"))]

    def _judged(self, _event: e.Event, body: e.Judged) -> list[Line]:
        self._unproven = False
        return [_note(row) for row in judged(body.verdict)]

    def _weakened(self, _event: e.Event, body: e.Weakened) -> list[Line]:
        self._header = ""
        return weakened(body.found)

    def _ruled(self, _event: e.Event, body: e.Ruled) -> list[Line]:
        self._judged_by = body.ruling.verdict == "pass"
        return ruled(body.ruling, kept=body.kept)

    def _refused(self, _event: e.Event, body: e.Refused) -> list[Line]:
        self.doing, self._header, self._unproven, self._judged_by = "asking the model", "", True, False
        again = "; nothing has changed since the last refusal" if body.again else ""
        told = Text.assemble(("✗ ", "red"), visible(body.why), (f"{again} · the model was told", "dim"))
        return [Line("refused", told, prose=True)]

    def _cancel_requested(self, event: e.Event, _body: e.CancelRequested) -> list[Line]:
        self.doing = "cancelling"
        return [Line("cancel", Text(f"asked for by {visible(event.who)}"))]

    def _pause_requested(self, event: e.Event, body: e.PauseRequested) -> list[Line]:
        when = "at once" if body.now else "at the end of the step"
        return [Line("pause", Text(f"{when}, asked for by {visible(event.who)}"))]

    def _preempt_requested(self, _event: e.Event, body: e.PreemptRequested) -> list[Line]:
        return [Line("queue", Text(f"to give its worker up at the end of the step: {visible(body.text or body.why)}"))]

    def _parked(self, _event: e.Event, body: e.Parked) -> list[Line]:
        self.doing, self._header, self._unproven = "parked", "", True
        self._calls.clear()
        self._said.clear()
        if body.why in {"question", "approval"}:
            self.doing = "waiting for a person"  # With what, until when and what to type is told already.
            return []
        told = f"{visible(body.text)}; no worker has it until `dreamdock resume`"
        return [Line("parked" if body.why == "lost" else "paused", Text.assemble(("‖ ", "yellow"), told), prose=True)]

    def _asked(self, _event: e.Event, body: e.Asked) -> list[Line]:
        self._header = ""
        return asked(body, self._run)

    def _answered(self, event: e.Event, body: e.Answered) -> list[Line]:
        self.doing = "queued"
        by = f"{visible(event.who)} says" if body.by == "person" else "nobody in time, so it is"
        why = f": {body.why}" if body.why else ""
        said = Text(f"{visible(body.id)}, {by}: {first_line(f'{body.answer}{why}')}")
        return [Line("answer", said, prose=True, limit=PROSE_LINES)]

    def _resume_requested(self, event: e.Event, _body: e.ResumeRequested) -> list[Line]:
        return [Line("resume", Text(f"asked for by {visible(event.who)}"))]

    def _steered(self, event: e.Event, body: e.Steered) -> list[Line]:
        return [
            Line("steer", Text(f"{visible(event.who)} says: {first_line(body.text)}"), prose=True, limit=PROSE_LINES)
        ]

    def _retry_requested(self, event: e.Event, body: e.RetryRequested) -> list[Line]:
        self.limits = body.limits or self.limits
        return [Line("retry", Text(f"asked for by {visible(event.who)}"))]

    def _attempt_lost(self, _event: e.Event, body: e.AttemptLost) -> list[Line]:
        self.doing, self._header, self._unproven = "queued", "", True
        self._calls.clear()
        self._said.clear()
        undone = "" if body.void_step is None else f"; step {body.void_step} was undone"
        ended = Text.assemble(
            ("! ", "yellow"), f"{'lost' if body.to_blame else 'ended'}: {visible(body.reason)}{undone}"
        )
        return [Line(f"attempt {body.attempt}", ended, prose=True)]

    def _finished(self, event: e.Event, body: e.Finished) -> list[Line]:
        self.outcome = body.outcome
        bare = body.outcome is Outcome.SUCCEEDED and self._unproven
        unproven = (" (judged)" if self._judged_by else " (unproven)") if bare else ""
        why = states.why(body.outcome, body.reason)
        reason = f": {why}" if why else ""
        steps = plural(self.step, "step") if not self.uncounted else self._at()
        took = f"{steps} · {self.spent(event.at)}"
        outcome = states.mark(body.outcome, f"{body.outcome}{unproven}{reason}")
        return [*summary(body.summary), Line("outcome", Text.assemble(outcome, (f" · {took}", "dim")), prose=True)]

    def _at(self) -> str:
        return reached(self.step, self.step - self.uncounted, self.limits.steps)

    def _pay(self, reply: Reply) -> None:
        known = self.cost_usd is not None and reply.cost_usd is not None
        self.usage += reply.usage
        self.cost_usd = (self.cost_usd or 0) + (reply.cost_usd or 0) if known else None

    def _heading(self) -> str:
        """Return what stands in the left column at a step; how many count is said where they begin to differ."""
        return f"step {self.step}" if self.uncounted else f"step {self.step}/{self.limits.steps}"

    def _under_header(self, told: list[Line]) -> list[Line]:
        """Put the step's header on the first line that the step has to say."""
        if told and self._header:
            told[0] = told[0]._replace(label=self._header)
            self._header = ""
        return told


def _note(text: Text) -> Line:
    return Line("", text)


def _mark(child: str) -> Text:
    """Return what stands before each line of a sub-agent."""
    return Text(f"{visible(child)} │ ", "cyan")


def _below(child: str, line: Line) -> Line:
    """Return a sub-agent's line as one of the agent above: its label stands in it."""
    label = Text(f"{line.label}: " if line.label else "", "dim")
    return line._replace(label="", text=Text.assemble(_mark(child), label, line.text))


def _warning(words: str) -> Line:
    return Line("", Text.assemble(("! ", "yellow"), words), prose=True)
