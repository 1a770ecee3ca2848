"""The pieces that a run is told with: values in, words for people out. Whatever strangers wrote is made harmless."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.text import Text

from orchestrator.cli import states
from orchestrator.cli.text import count, duration, first_line, lines, moment, money, plural, tail, visible
from orchestrator.endings import last
from orchestrator.limits import Use, uses
from orchestrator.runs import Outcome, Priority
from orchestrator.settings import RunLimits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from orchestrator import events as e
    from orchestrator.costs import Costs
    from orchestrator.dialogue import ToolCall, Usage
    from orchestrator.runs import Given, Question, Requires, Ruling, RunSpec, RunView, Verdict, Weakness
    from sandbox.spec import FileChange, Install

ACCEPTANCE_LINES: Final = 12
PROSE_LINES: Final = 3
FILES: Final = 8
ORIGINS: Final = {
    "flag": "from --accept",
    "spec file": "from the spec file",
    "dreamdock.toml": "from the repository's dreamdock.toml",
    "guess": "guessed from the repository; --accept CMD overrides it",
}
_WEAKENED: Final = 20
_GIVEN: Final = 8
"""How many entries that a run was given its story names; `show` names all."""
_QUESTION_LINES: Final = 20
_RULES: Final = ("network", "capabilities", "host files")
_INSTALLS: Final = {"added": ("+", "green"), "changed": ("~", "yellow"), "removed": ("-", "red")}
_TELLING: Final = ("kind", "id", "text", "query", "pattern", "path")
"""What a call other than a command is told by, in one line."""
_STATUS_STYLES: Final = {"A": "green", "M": "yellow", "D": "red"}


class Line(NamedTuple):
    """A line with its label in the left column, which is empty where the one above still holds.

    `prose` is broken between words where it is too long for a terminal, at most `limit` times; anything else is cut.
    """

    label: str
    text: Text
    prose: bool = False
    limit: int | None = None


def describe(spec: RunSpec) -> list[Line]:
    """Return what a run was asked for."""
    repo = f"{visible(spec.repo.name)} at {spec.repo.commit[:10]}"
    spendable = "money not limited: no price" if spec.unpriced else money(spec.limits.money_usd)
    tokens = f" · {count(spec.limits.tokens)} tokens" if spec.limits.tokens < RunLimits().tokens else ""
    limits = f"{plural(spec.limits.steps, 'step')}{tokens} · {spendable} · {duration(spec.limits.seconds)}"
    if spec.limits.candidates > 1:
        limits += f" · {spec.limits.candidates} candidates for a hard step"
    told = [
        Line("task", Text(first_line(spec.task), "bold"), prose=True, limit=PROSE_LINES),
        Line("repository", Text.assemble(repo, (f"  {visible(spec.repo.source)}", "dim"))),
        Line("model", Text(_model(spec)), prose=True),
        Line("acceptance", _acceptance(spec), prose=True),
        Line("limits", Text(limits)),
    ]
    if wanted := requirements(spec.requires):
        told.append(Line("requires", Text(f"a worker with {', '.join(wanted)}"), prose=True))
    if spec.priority is not Priority.NORMAL:
        told.append(Line("priority", Text(spec.priority)))
    if spec.judge_always:
        told.insert(4, Line("judge", Text(visible(spec.judge))))
    told[3:3] = [Line("" if number else "set-up", _command(line)) for number, line in enumerate(spec.setup)]
    if spec.image:
        built = f", built from {visible(spec.build)}" if spec.build else ""
        told.append(Line("image", Text(f"{visible(spec.image)}{built}")))
    along = f"not committed; --dirty takes {'it' if len(spec.left_out) == 1 else 'them'} along"
    told += _lacking("left out", spec.left_out, along)
    told += _lacking("submodules", spec.submodules, "empty directories to the run")
    return told + _lacking("LFS files", spec.lfs_pointers, "pointers to the run, without their content")


def requirements(wanted: Requires) -> list[str]:
    """Return what a run requires of its worker beside its image, in words; the store is told where it is lacking."""
    told = [f"label {visible(label)}" for label in wanted.labels]
    told += [f"{wanted.memory_mb} MB of memory"] if wanted.memory_mb else []
    told += [f"{wanted.cpus:g} cpus"] if wanted.cpus else []
    return told + ([plural(wanted.gpus, "gpu")] if wanted.gpus else [])


def _lacking(label: str, paths: Sequence[str], what: str) -> list[Line]:
    """Return what a run doesn't see of its repository, in a line; nothing where it sees it all."""
    names = ", ".join(visible(path) for path in paths[:FILES])
    more = f" and {len(paths) - FILES} more" if len(paths) > FILES else ""
    return [Line(label, Text(f"{names}{more}: {what}", "yellow"), prose=True)] if paths else []


def _model(spec: RunSpec) -> str:
    if spec.model.split("/")[0] == "scripted":
        return f"{visible(spec.model)}  (no model is asked; every command runs for real)"
    address = f" at {visible(spec.base_url)}" if spec.base_url else ""
    fallback = f", else {visible(spec.fallback)}" if spec.fallback else ""
    return f"{visible(spec.model)}{address}{fallback}"


def reached(step: int, counted: int, limit: int) -> str:
    """Return which step a run is at, and what counts against its limit: a rewind or a fork makes them differ."""
    return f"step {step}/{limit}" if step == counted else f"step {step} ({counted} of {limit} count)"


def judged(verdict: Verdict) -> list[Text]:
    """Return the end of an acceptance command's output, and what it proves."""
    told = [Text(f"  {row}", "dim") for row in tail(verdict.output, 2 if verdict.passed else ACCEPTANCE_LINES)]
    took = duration(verdict.duration_s)
    words = f"timed out after {took}" if verdict.timed_out else f"exit {verdict.exit_code} · {took}"
    again = " · with the base's test files put back" if verdict.base_tests else ""
    look = states.LOOKS[Outcome.SUCCEEDED if verdict.passed else Outcome.FAILED]
    result = (f"{look.glyph} {'passed' if verdict.passed else 'failed'}", look.style)
    flaky = (f" · {verdict.flaky}", "yellow") if verdict.flaky else ""
    flake = [Text(f"  didn't count: {row}", "dim") for row in tail(verdict.flake, 2)]
    return [*told, *flake, Text.assemble(result, f" · {words}{again}", flaky)]


def ruled(ruling: Ruling, *, kept: bool = False) -> list[Line]:
    """Return what a judge ruled, and each point that isn't met."""
    look = states.LOOKS[{"pass": Outcome.SUCCEEDED, "fail": Outcome.FAILED, "none": Outcome.ERROR}[ruling.verdict]]
    words = {"pass": "passed", "fail": "failed", "none": "no ruling"}[ruling.verdict]
    by = f" by {visible(ruling.judge)}{', as before' if kept else ''}"
    told = Text.assemble((f"{look.glyph} {words}", look.style), (by, "dim"), f": {first_line(ruling.why)}")
    points = [Line("", Text(f"- {first_line(point)}"), prose=True) for point in ruling.unmet[:_WEAKENED]]
    return [Line("judge", told, prose=True), *points]


def weakened(found: tuple[Weakness, ...]) -> list[Line]:
    """Return what may have been weakened of what proves a run, each in a line."""
    told = []
    for one in found[:_WEAKENED]:
        what = visible(" · ".join(filter(None, (one.kind, one.place))))
        told.append(Line("", Text.assemble(("! ", "yellow"), what, (f"  {first_line(one.text)}", "dim"))))
    if len(found) > _WEAKENED:
        told.append(Line("", Text(f"  and {len(found) - _WEAKENED} more: dreamdock audit", "dim")))
    return [told[0]._replace(label="flagged"), *told[1:]] if told else []


def asked(question: Question, run: str) -> list[Line]:
    """Return what a run waits for a person with: text, options, until when, what happens then, and what to type."""
    rows = [row for row in lines(question.text) if row][:_QUESTION_LINES] or [""]
    told = [Line("" if number else question.kind, Text(row), prose=True) for number, row in enumerate(rows)]
    told[0] = told[0]._replace(text=Text.assemble(("? ", "yellow"), told[0].text))
    if question.kind == "approval":
        told.insert(0, Line("approval", Text(f"step {question.step} needs one ({visible(question.id)}):")))
        told[1] = told[1]._replace(label="")
    told += [
        Line("", Text(f"  {number}  {first_line(option)}"), prose=True)
        for number, option in enumerate(question.options, start=1)
    ]
    default = first_line(question.default)
    told.append(Line("", Text(f"until {moment(question.deadline)}; then: {default}", "dim"), prose=True))
    return told + [Line("", Text(f"  {command}")) for command in commands(question, run)]


def commands(question: Question, run: str) -> tuple[str, ...]:
    """Return what to type to a run that waits for a person, ready to paste."""
    if question.kind == "question":
        first = f"dreamdock answer {run} 1" if question.options else f'dreamdock answer {run} "…"'
        return (first, f"dreamdock diff {run}", f"dreamdock cancel {run}")
    approve = f"dreamdock approve {run} {visible(question.id)}"
    return (approve, f'dreamdock deny {run} "…"', f"dreamdock diff {run} {question.step}")


def built(body: e.Built) -> Text:
    """Return how the build of a repository's own image went, in a line."""
    what = f" · {visible(body.image)} from {visible(body.dockerfile)}"
    if body.failed:
        return Text.assemble(("✗ failed", "red"), (what, "dim"))
    took = "built earlier" if body.cached else duration(body.seconds)
    return Text.assemble(("✓ ", "green"), took, (what, "dim"))


def rebuilt(body: e.Rebuilt) -> Text:
    """Return how a context was built anew, in a line: what it had, what it has, and what left it."""
    after = sum(part.tokens for part in body.parts)
    why = f"the model refused {count(body.before)} tokens" if body.why == "refused" else f"{count(body.before)} tokens"
    first, last = body.dropped
    left = f", {_steps(first, last)} left it" if last else ""
    summed = f", summed up to step {body.summed_up}" if body.summed_up else ", without a summary"
    return Text.assemble(f"built anew: {why} → {count(after)}", (f"{left}{summed if last else ''}", "dim"))


def guarded(body: e.Guarded) -> Text:
    """Return which loop was found, and what was done about it, in a line."""
    done = {"remind": "the model was told", "replan": "it is to make a new plan", "stop": "the work was stopped"}
    return Text.assemble(
        ("! ", "yellow"), visible(body.reason), (f" · since step {body.since} · {done[body.level]}", "dim")
    )


def proposed(body: e.Proposed) -> Text:
    """Return how many replies were asked for at once, in a line."""
    came = [one for one in body.candidates if one.reply is not None]
    others = len({one.same_as or number for number, one in enumerate(body.candidates, start=1) if one in came})
    lost = [f"{number}: {visible(one.failure)}" for number, one in enumerate(body.candidates, start=1) if one.failure]
    told = f"{len(came)} replies at once for step {body.step}, {others} of them different"
    return Text.assemble(told, (f" · {duration(body.seconds)}", "dim"), (f" · lost {'; '.join(lost)}" if lost else ""))


def chosen(body: e.Chosen) -> list[Text]:
    """Return what came of each candidate in its fork, and which one was taken."""
    rows = [Text.assemble(f"{one.candidate}: ", *_tried(one)) for one in body.tried]
    taken = f"{body.candidate} is taken" if body.candidate else "none is taken"
    return [*rows, Text.assemble(taken, (f": {visible(body.why)}", "dim"))]


def _tried(one: e.Tried) -> Iterator[Text | tuple[str, str]]:
    if one.failure:
        yield ("✗ lost", "red")
        yield (f": {visible(one.failure)}", "dim")
        return
    how = "timed out" if one.timed_out else f"exit code {one.exit_code}"
    yield ("✓ the check passes", "green") if one.passed else (f"✗ the check fails: {how}", "red")
    failed = f" · {plural(one.tests_failed, 'test')} failed" if one.tests_failed else ""
    errors = f" · {plural(one.errors, 'error')}" if one.errors else ""
    yield (f"{errors}{failed} · {plural(len(one.ran), 'call')} · {duration(one.seconds)}", "dim")


def recalled(body: e.Recalled) -> Text:
    """Return what of long-term memory a run was given, in a line."""
    named = "; ".join(visible(one.title or one.id) for one in body.entries)
    what = "1 entry" if len(body.entries) == 1 else f"{len(body.entries)} entries"
    return Text.assemble(what, (f": {named}", "dim"))


def given(body: e.Recalled) -> list[Line]:
    """Return what of long-term memory a run was given at its start, an entry a line; of many the first ones."""
    told = [Text(first_line(one.title) or visible(one.id)) for one in body.entries]
    if len(told) > _GIVEN:
        told[_GIVEN:] = [Text(f"and {len(told) - _GIVEN} more", "dim")]
    return [Line("" if number else "memory", row) for number, row in enumerate(told)]


def memories(entries: Sequence[Given]) -> list[Line]:
    """Return what of long-term memory a run was given, an entry a line."""
    rows = [Text.assemble(visible(one.id), "  ", visible(one.title), (_scope(one), "dim")) for one in entries]
    return [Line("" if number else "memory", row) for number, row in enumerate(rows)]


def _scope(one: Given) -> str:
    return "" if one.scope == "repo" else f"  {visible(one.scope)} {visible(one.scope_id)}"


def landing(body: e.Landing) -> Text:
    """Return which limit is near, in a line."""
    used = Use(body.what, body.used, body.limit, body.ahead).words
    return Text.assemble(("! ", "yellow"), f"{used} are used", (" · the model was told to land", "dim"))


def spent(seconds: float, usage: Usage, cost_usd: float | None, limits: RunLimits) -> str:
    """Return what a run took so far: time, tokens, money, and of how much where that is near."""
    tokens = usage.input_tokens + usage.output_tokens
    time = f" of {duration(limits.seconds)}" if Use("time", seconds, limits.seconds).near else ""
    counted = f" of {count(limits.tokens)}" if Use("tokens", tokens, limits.tokens).near else ""
    paid = f" of {money(limits.money_usd)}" if cost_usd and Use("money", cost_usd, limits.money_usd).near else ""
    return f"{duration(seconds)}{time} · {count(tokens)}{counted} tokens · {money(cost_usd)}{paid}"


def near(view: RunView, now: datetime) -> list[Line]:
    """Return which limits of a run are near, or reached, each in a line."""
    told = [Text.assemble(("! ", "yellow"), f"{use.words} are used") for use in uses(view, now) if use.near]
    return [Line("" if number else "limit", text) for number, text in enumerate(told)]


def _steps(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"


def set_up(body: e.SetUp) -> Text:
    """Return how the set-up went, in a line."""
    what = f"{plural(len(body.commands), 'command')} · network {body.network}"
    if body.failed:
        return Text.assemble(("✗ failed", "red"), (f" · {what}", "dim"))
    took = f"from the cache, once made in {duration(body.seconds)}" if body.cached else duration(body.seconds)
    return Text.assemble(("✓ ", "green"), took, (f" · {what}", "dim"))


def summary(text: str) -> list[Line]:
    """Return what the agent says it did."""
    rows = [row for row in lines(text) if row][:ACCEPTANCE_LINES]
    return [Line("" if number else "summary", Text(row), prose=True) for number, row in enumerate(rows)]


def costs(told: Costs) -> list[Line]:
    """Return what a run cost, and what it would have cost with other families."""
    if not told.replies:
        return []
    usage = told.usage
    cached = f", {usage.cached_tokens * 100 // usage.input_tokens} % of them cached" if usage.cached_tokens else ""
    tokens = f"{count(usage.input_tokens)} tokens in{cached}, {count(usage.output_tokens)} out"
    lines = [Line("cost", Text.assemble(money(told.cost_usd), (f" · {tokens}", "dim")))]
    if told.elsewhere:
        others = " · ".join(f"{visible(other.model)} {money(other.cost_usd)}" for other in told.elsewhere)
        lines.append(Line("elsewhere", Text(f"at the same usage: {others}", "dim"), prose=True))
    return lines


def changes(files: Sequence[FileChange], *, limit: int | None = FILES) -> list[Text]:
    """Return changed files, one a line: `M src/x.py +3 -1`; behind `limit` how many more there are."""
    told = []
    for file in files[:limit]:
        letter = (file.status, _STATUS_STYLES.get(file.status, "yellow"))
        told.append(Text.assemble(letter, f" {visible(file.path)}", (f" {file.extent}" if file.extent else "", "dim")))
    if limit is not None and len(files) > limit:
        told.append(Text(f"… and {plural(len(files) - limit, 'file')} more", "dim"))
    return told


def installs(told: Sequence[Install], *, limit: int = FILES) -> list[Text]:
    """Return what came and went, one a line: `+ pip requests 2.31.0`; behind `limit` how many more there are."""
    lines = []
    for one in told[:limit]:
        mark, style = _INSTALLS[one.change]
        version = f"{visible(one.before)} → {visible(one.version)}" if one.before else visible(one.version)
        lines.append(Text.assemble((mark, style), f" {visible(one.manager)} {visible(one.name)} {version}"))
    if len(told) > limit:
        lines.append(Text(f"… and {plural(len(told) - limit, 'install')} more", "dim"))
    return lines


def call_line(call: ToolCall) -> str:
    """Return a call in one line: a command as in a shell, anything else by its name and its telling argument."""
    if call.invalid:
        return f"{visible(call.name)}: its arguments can't be read"
    if call.name == "bash":
        return f"$ {first_line(str(call.arguments.get('command', '')))}"
    told = [first_line(_word(call.arguments[key])) for key in _TELLING if call.arguments.get(key)]
    told += [f"stop {first_line(_word(pid))}"] if (pid := call.arguments.get("stop")) else []
    return " ".join([visible(call.name), *told])


def sealed(policy: Mapping[str, str]) -> str:
    """Return the rules that a reader asks for first, in short; the whole policy is in `run --dry-run`."""
    return ", ".join(f"{name} {re.split('[:,]', policy[name])[0]}" for name in _RULES if name in policy)


def printed(content: str) -> str:
    """Return what a command printed: the result without the line on how it ended, which is told apart."""
    end = last(content)
    return content[: end.start] + content[end.end :].removeprefix("\n") if end else content


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _command(command: str) -> Text:
    return Text(f"$ {first_line(command)}")


def _acceptance(spec: RunSpec) -> Text:
    if spec.accept is None and spec.judge:
        return Text(f"none: {visible(spec.judge)} rules on the result; --accept CMD names one", "yellow")
    if spec.accept is None:
        return Text("none: the result will be unproven; --accept CMD names one", "yellow")
    origin = ORIGINS.get(spec.accept.origin, visible(spec.accept.origin))
    return Text.assemble(f"$ {first_line(spec.accept.command)}", (f"  ({origin})", "dim"))


def ended(body: e.CallFinished) -> Text:
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
