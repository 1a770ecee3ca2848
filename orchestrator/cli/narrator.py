"""A run told line by line: one event in, the lines that a person should see of it out."""

from __future__ import annotations

import re
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.text import Text

from orchestrator.cli import states
from orchestrator.cli.text import count, duration, first_line, lines, money, plural, tail, visible
from orchestrator.dialogue import Usage
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator import events as e
    from orchestrator.dialogue import ToolCall
    from orchestrator.runs import RunSpec, Verdict
    from sandbox.spec import FileChange

OUTPUT_LINES: Final = 5
ACCEPTANCE_LINES: Final = 12
PROSE_LINES: Final = 3
FILES: Final = 8
ORIGINS: Final = {
    "flag": "from --accept",
    "spec file": "from the spec file",
    "dreamdock.toml": "from the repository's dreamdock.toml",
    "guess": "guessed from the repository; --accept CMD overrides it",
}
_HOW_IT_ENDED: Final = re.compile(r"^\[(exit code|ended by signal|timed out after) [^\n]*\]$", re.MULTILINE)
_RULES: Final = ("network", "capabilities", "root file system", "host files")
_STATUS_STYLES: Final = {"A": "green", "M": "yellow", "D": "red"}


class Line(NamedTuple):
    """A line with its label in the left column, which is empty where the one above still holds.

    `prose` is broken between words where it is too long for a terminal, at most `limit` times; anything else is cut.
    """

    label: str
    text: Text
    prose: bool = False
    limit: int | None = None


class Narrator:
    """Tells a run. It keeps what the status line needs: step, time, tokens, money and what is going on."""

    def __init__(self) -> None:
        self.step = 0
        self.steps_limit = 0
        self.usage = Usage()
        self.cost_usd: float | None = 0.0
        self.doing = "queued"
        self.began: datetime | None = None
        self.ended: datetime | None = None
        self.outcome: Outcome | None = None
        self._calls: dict[str, ToolCall] = {}
        self._unproven = True
        self._header = ""

    def tell(self, event: e.Event) -> list[Line]:
        """Take one event, and return its lines: none where it says nothing to a person."""
        told: list[Line] = getattr(self, f"_{event.body.type}")(event, event.body)
        return told

    def spent(self, now: datetime | None = None) -> str:
        """Return what it took so far: time, tokens, money."""
        seconds = ((now or datetime.now(UTC)) - self.began).total_seconds() if self.began else 0.0
        tokens = count(self.usage.input_tokens + self.usage.output_tokens)
        return f"{duration(max(seconds, 0))} · {tokens} tokens · {money(self.cost_usd)}"

    def status(self) -> Text:
        """Return the line of progress: steps of the limit, what was spent, and what is going on."""
        step = f"step {self.step}/{self.steps_limit} · " if self.step else ""
        return Text.assemble((f"{step}{self.spent()} · ", "dim"), self.doing, no_wrap=True, overflow="ellipsis")

    def _submitted(self, event: e.Event, body: e.Submitted) -> list[Line]:
        self.began, self.steps_limit = event.at, body.spec.limits.steps
        return describe(body.spec)

    def _dispatched(self, _event: e.Event, body: e.Dispatched) -> list[Line]:
        self.doing = "queued"
        return [Line("queued", Text(f"again, as attempt {body.attempt}"))] if body.attempt > 1 else []

    def _claimed(self, event: e.Event, body: e.Claimed) -> list[Line]:
        if body.attempt == 1:
            self.began = event.at
        self.doing = "starting the sandbox"
        again = f", attempt {body.attempt}" if body.attempt > 1 else ""
        return [Line("worker", Text(visible(f"{body.worker}{again}"), "dim"))]

    def _sandbox_ready(self, _event: e.Event, body: e.SandboxReady) -> list[Line]:
        self.doing = "asking the model"
        return [Line("sandbox", Text(visible(f"{body.image}, sealed: {_sealed(body.policy)}"), "dim"), prose=True)]

    def _prompted(self, _event: e.Event, body: e.Prompted) -> list[Line]:
        if not body.system and body.text:
            return [_note(Text(f"told the model: {first_line(body.text)}", "dim"))]
        return []

    def _replied(self, _event: e.Event, body: e.Replied) -> list[Line]:
        self.step, self.usage = body.step, self.usage + body.reply.usage
        known = self.cost_usd is not None and body.reply.cost_usd is not None
        self.cost_usd = (self.cost_usd or 0) + (body.reply.cost_usd or 0) if known else None
        self.doing = "running its calls"
        self._header = f"step {body.step}/{self.steps_limit}"
        said = " ".join(line.strip() for line in lines(body.reply.text) if line)
        return self._under_header([Line("", Text(said, "italic"), prose=True, limit=PROSE_LINES)] if said else [])

    def _call_started(self, _event: e.Event, body: e.CallStarted) -> list[Line]:
        self._calls[body.call.id] = body.call
        self.doing = call_line(body.call)
        return self._under_header([_note(Text(self.doing, "bold"))]) if body.call.name == "bash" else []

    def _call_finished(self, _event: e.Event, body: e.CallFinished) -> list[Line]:
        self.doing = "asking the model"
        call = self._calls.pop(body.result.call_id, None)
        if call is not None and call.name == "bash":
            told = [_note(Text(f"  {row}", "dim")) for row in tail(_output(body.result.content), OUTPUT_LINES)]
            return self._under_header([*told, _note(_ended(body))])
        what = call_line(call) if call else visible(body.result.name)
        if body.result.ok:
            return self._under_header([_note(Text(what))])
        refusal = Text.assemble(("✗ ", "red"), f"{what}: {first_line(body.result.content.removeprefix('error: '))}")
        return self._under_header([_note(refusal)])

    def _checkpointed(self, _event: e.Event, body: e.Checkpointed) -> list[Line]:
        self.doing = "asking the model"
        inexact = [_warning(f"not in the checkpoint: {visible(path)}") for path in body.inexact]
        return self._under_header([*(_note(text) for text in changes(body.files)), *inexact])

    def _finish_started(self, _event: e.Event, body: e.FinishStarted) -> list[Line]:
        self._header = ""
        if not body.command:
            return []
        self.doing = f"acceptance: {first_line(body.command)}"
        where = Text(f"  in a fresh container ({ORIGINS.get(body.origin, visible(body.origin)).split(';')[0]})", "dim")
        return [Line("acceptance", Text.assemble((f"$ {first_line(body.command)}", "bold"), where))]

    def _judged(self, _event: e.Event, body: e.Judged) -> list[Line]:
        self._unproven = False
        return [_note(row) for row in judged(body.verdict)]

    def _cancel_requested(self, event: e.Event, _body: e.CancelRequested) -> list[Line]:
        self.doing = "cancelling"
        return [Line("cancel", Text(f"asked for by {visible(event.who)}"))]

    def _attempt_lost(self, _event: e.Event, body: e.AttemptLost) -> list[Line]:
        self.doing, self._header, self._unproven = "queued", "", True
        self._calls.clear()
        undone = "" if body.void_step is None else f"; step {body.void_step} was undone"
        ended = Text.assemble(
            ("! ", "yellow"), f"{'lost' if body.to_blame else 'ended'}: {visible(body.reason)}{undone}"
        )
        return [Line(f"attempt {body.attempt}", ended, prose=True)]

    def _finished(self, event: e.Event, body: e.Finished) -> list[Line]:
        self.ended, self.outcome = event.at, body.outcome
        unproven = " (unproven)" if body.outcome is Outcome.SUCCEEDED and self._unproven else ""
        reason = f": {visible(body.reason)}" if body.reason else ""
        spent = f"{plural(self.step, 'step')} · {self.spent(event.at)}"
        outcome = states.mark(body.outcome, f"{body.outcome}{unproven}{reason}")
        return [*summary(body.summary), Line("outcome", Text.assemble(outcome, (f" · {spent}", "dim")), prose=True)]

    def _under_header(self, told: list[Line]) -> list[Line]:
        """Put the step's header on the first line that the step has to say."""
        if told and self._header:
            told[0] = told[0]._replace(label=self._header)
            self._header = ""
        return told


def describe(spec: RunSpec) -> list[Line]:
    """Return what a run was asked for."""
    repo = f"{visible(spec.repo.name)} at {spec.repo.commit[:10]}"
    model = visible(spec.model)
    if spec.model.split("/")[0] == "scripted":
        model += "  (no model is asked: it follows a script; every command runs for real)"
    limits = f"{spec.limits.steps} steps · {money(spec.limits.money_usd)} · {duration(spec.limits.seconds)}"
    told = [
        Line("task", Text(first_line(spec.task), "bold"), prose=True, limit=PROSE_LINES),
        Line("repository", Text.assemble(repo, (f"  {visible(spec.repo.source)}", "dim"))),
        Line("model", Text(model), prose=True),
        Line("acceptance", _acceptance(spec), prose=True),
        Line("limits", Text(limits)),
    ]
    if spec.left_out:
        names = ", ".join(visible(path) for path in spec.left_out[:FILES])
        more = f" and {len(spec.left_out) - FILES} more" if len(spec.left_out) > FILES else ""
        what = f"{names}{more}: not committed; --dirty takes {'it' if len(spec.left_out) == 1 else 'them'} along"
        told.append(Line("left out", Text(what, "yellow"), prose=True))
    return told


def judged(verdict: Verdict) -> list[Text]:
    """Return the end of an acceptance command's output, and what it proves."""
    told = [Text(f"  {row}", "dim") for row in tail(verdict.output, 2 if verdict.passed else ACCEPTANCE_LINES)]
    took = duration(verdict.duration_s)
    words = f"timed out after {took}" if verdict.timed_out else f"exit {verdict.exit_code} · {took}"
    again = " · with the base's test files put back" if verdict.base_tests else ""
    look = states.LOOKS[Outcome.SUCCEEDED if verdict.passed else Outcome.FAILED]
    result = (f"{look.glyph} {'passed' if verdict.passed else 'failed'}", look.style)
    return [*told, Text.assemble(result, f" · {words}{again}")]


def summary(text: str) -> list[Line]:
    """Return what the agent says it did."""
    rows = [row for row in lines(text) if row][:ACCEPTANCE_LINES]
    return [Line("" if number else "summary", Text(row), prose=True) for number, row in enumerate(rows)]


def changes(files: Sequence[FileChange], *, limit: int | None = FILES) -> list[Text]:
    """Return changed files, one a line: `M src/x.py +3 -1`; behind `limit` how many more there are."""
    told = []
    for file in files[:limit]:
        letter = (file.status, _STATUS_STYLES.get(file.status, "yellow"))
        counted = f" +{file.added} -{file.removed}" if file.added or file.removed else ""
        told.append(Text.assemble(letter, f" {visible(file.path)}", (counted, "dim")))
    if limit is not None and len(files) > limit:
        told.append(Text(f"… and {plural(len(files) - limit, 'file')} more", "dim"))
    return told


def call_line(call: ToolCall) -> str:
    """Return a call in one line: a command as in a shell, anything else by its name and its telling argument."""
    if call.invalid:
        return f"{visible(call.name)}: its arguments can't be read"
    if call.name == "bash":
        return f"$ {first_line(str(call.arguments.get('command', '')))}"
    told = [first_line(_word(call.arguments[key])) for key in ("pattern", "path") if key in call.arguments]
    return " ".join([visible(call.name), *told])


def _sealed(policy: Mapping[str, str]) -> str:
    """Return the rules that a reader asks for first, in short; the whole policy is in `run --dry-run`."""
    return ", ".join(f"{name} {re.split('[:,]', policy[name])[0]}" for name in _RULES if name in policy)


def _output(content: str) -> str:
    """Return what a command printed: the result without the line on how it ended, which is told apart."""
    ends = list(_HOW_IT_ENDED.finditer(content))
    return content[: ends[-1].start()] + content[ends[-1].end() :].removeprefix("\n") if ends else content


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _acceptance(spec: RunSpec) -> Text:
    if spec.accept is None:
        return Text("none: the result will be unproven; --accept CMD names one", "yellow")
    origin = ORIGINS.get(spec.accept.origin, visible(spec.accept.origin))
    return Text.assemble(f"$ {first_line(spec.accept.command)}", (f"  ({origin})", "dim"))


def _ended(body: e.CallFinished) -> Text:
    """Return how a command ended. Its exit code is data: only the glyph judges it."""
    took = (f" · {duration(body.duration_s)}", "dim")
    if body.timed_out:
        return Text.assemble(("✗ timed out", "red"), took)
    if body.signal is not None:
        name = signal.Signals(body.signal).name if body.signal in set(signal.Signals) else f"signal {body.signal}"
        return Text.assemble((f"✗ killed by {name}", "red"), took)
    if body.exit_code is None:
        return Text.assemble(("✗ ", "red"), first_line(body.result.content) or "it didn't run", took)
    glyph = ("✓ ", "green") if body.exit_code == 0 else ("✗ ", "red")
    return Text.assemble(glyph, f"exit {body.exit_code}", took)


def _note(text: Text) -> Line:
    return Line("", text)


def _warning(words: str) -> Line:
    return Line("", Text.assemble(("! ", "yellow"), words), prose=True)
