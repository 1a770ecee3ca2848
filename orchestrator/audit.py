"""What a run did, in plain words: the commands, file changes, installs and verdicts of its journal."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator import events as e
from orchestrator.dialogue import Value
from orchestrator.journal import signing
from orchestrator.journal.plain import require_plain
from orchestrator.journal.verify import check, collect
from orchestrator.limits import Use
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from redis import Redis

    from orchestrator.dialogue import ToolCall
    from orchestrator.events import Event
    from orchestrator.journal.stream import Entry
    from orchestrator.journal.verify import Check, Evidence, Journal
    from orchestrator.settings import Settings
    from sandbox.spec import Base, FileChange


_MOST: Final = 200
"""Characters of each argument of a call."""


class AuditEntry(Value):
    """One thing that a run did: a call, a file changed, an install, a verdict. `exit_code` is that inside the sandbox.

    `at` is unknown where the event can't be read. `agent` names the sub-agent that did it, empty for the run's own.
    """

    seq: int
    at: datetime | None
    step: int | None
    kind: str
    text: str
    exit_code: int | None = None
    duration_s: float | None = None
    agent: str = ""


class Audit(NamedTuple):
    """What a run did, and whether its journal is as it was written.

    `over` tells whether the run has ended, `unread` how many events this version can't read; `named` are the keys that
    a bundle names and nothing here vouches for; `bundled` tells whether it was read from one.
    """

    run: str
    entries: tuple[AuditEntry, ...]
    check: Check
    over: bool
    unread: int = 0
    named: tuple[tuple[str, str], ...] = ()
    bundled: bool = False


def gather(
    client: Redis, settings: Settings, run_id: str, commits: Callable[[Base, Sequence[str]], Mapping[str, bytes]]
) -> tuple[Journal, Evidence]:
    """Return a run's journal, and everything on this machine that it can be held against.

    `commits` returns those of some commits of a project that can be had. Raises NotFoundError, ConfigError.
    """
    known = signing.pinned(settings.state_dir, settings.signers)
    signed = signing.remembered(settings.state_dir, run_id)  # First: a living run's journal grows meanwhile.
    journal, evidence = collect(client, run_id)
    repo = next((one.body.spec.repo for one in journal.events if isinstance(one.body, e.Submitted)), None)

    def noted(wanted: Sequence[str]) -> Mapping[str, bytes]:
        with suppress(SandboxError):  # The store of this machine may not have the project.
            return commits(repo, wanted) if repo is not None else {}
        return {}

    return journal, evidence._replace(remembered=signed, keys=known, noted=noted)


def audit(journal: Journal, evidence: Evidence) -> Audit:
    """List what a journal tells, and check it against the evidence. What can't be read is listed as such."""
    entries = [*audited(journal.events), *(_unread(entry) for entry in journal.unread)]
    over = bool(journal.events) and isinstance(journal.events[-1].body, e.Finished)
    told = tuple(sorted(entries, key=lambda entry: entry.seq))
    return Audit(journal.run, told, check(journal, evidence), over, len(journal.unread))


def _unread(entry: Entry) -> AuditEntry:
    try:
        kind = str(require_plain(entry.data)["body"]["type"])[:40]
    except (ValueError, TypeError, KeyError):
        return AuditEntry(seq=entry.seq, at=None, step=None, kind="unreadable", text="damaged: it is no event")
    text = f"a {kind!r} event that this version can't read: a newer dreamdock may have written it"
    return AuditEntry(seq=entry.seq, at=None, step=None, kind="unreadable", text=text)


def audited(events: Iterable[Event]) -> Iterator[AuditEntry]:  # noqa: C901, PLR0912, PLR0915  # One case per kind of event.
    """Yield the journal's commands, file changes, installs and verdicts in plain words."""
    for event in events:
        line = {"seq": event.seq, "at": event.at}
        match event.body:
            case e.Within() | e.ChildStarted() | e.ChildFinished() | e.ChildMerged():
                yield from _of_children(event)
            case e.CallStarted(step=step, call=call):
                yield AuditEntry(**line, step=step, kind="call", text=_called(call))
            case e.CallFinished(duration_s=took) as done:
                text = f"{done.result.name}: {done.total_bytes} bytes" + ("" if done.result.ok else " (refused)")
                yield AuditEntry(
                    **line, step=done.step, kind="result", text=text, exit_code=done.exit_code, duration_s=took
                )
            case e.Proposed() | e.Chosen() as body:
                yield from (AuditEntry(**line, step=body.step, **told) for told in _candidates(body))
            case e.Checkpointed(step=step, files=files):
                for file in files:
                    yield AuditEntry(**line, step=step, kind="file", text=_changed(file))
                yield from (AuditEntry(**line, step=step, **told) for told in _installs(event.body))
            case e.Built() | e.SetUp() as body:
                yield AuditEntry(**line, step=None, kind=body.type, text=_prepared(body))
                if isinstance(body, e.SetUp):
                    yield from (AuditEntry(**line, step=None, **told) for told in _installs(body))
            case e.Recalled(step=step, entries=entries):
                for given in entries:
                    text = f"{given.id} of {given.scope} {given.scope_id} is given: {given.title!r}"
                    yield AuditEntry(**line, step=step, kind=event.body.type, text=text)
            case e.RulesRead(step=step, path=path):
                yield AuditEntry(**line, step=step, kind=event.body.type, text=f"{path} counts from here on")
            case e.Judged(verdict=verdict):
                how = filter(None, ("with the base's tests" if verdict.base_tests else "", verdict.flaky))
                text = verdict.command + "".join(f" ({one})" for one in how)
                ended = {"exit_code": verdict.exit_code, "duration_s": verdict.duration_s}
                yield AuditEntry(**line, step=None, kind="accept", text=text, **ended)
            case e.Weakened(found=found):
                for one in found:
                    text = one.words
                    yield AuditEntry(**line, step=None, kind=event.body.type, text=text)
            case e.Ruled(step=step, ruling=ruling, seconds=took):
                text = "; ".join(filter(None, (f"{ruling.verdict} by {ruling.judge}", ruling.why, *ruling.unmet)))
                yield AuditEntry(**line, step=step, kind=event.body.type, text=text, duration_s=took)
            case e.Refused(step=step, why=why, again=again):
                more = " (nothing had changed)" if again else ""
                yield AuditEntry(**line, step=step, kind=event.body.type, text=f"{why}{more}")
            case e.Guarded(step=step, kind=kind, level=level, reason=reason):
                yield AuditEntry(**line, step=step, kind=event.body.type, text=f"{kind} ({level}): {reason}")
            case e.Landing(what=what, used=used, limit=limit, ahead=ahead) as near:
                yield AuditEntry(**line, step=near.step, kind=near.type, text=Use(what, used, limit, ahead).words)
            case e.RewindRequested() | e.Rewound() | e.Forked():
                text = f"{_travelled(event.body)}, by {event.who}"
                yield AuditEntry(**line, step=None, kind=event.body.type, text=text)
            case e.Steered(text=said):
                yield AuditEntry(**line, step=None, kind=event.body.type, text=f"{said!r}, by {event.who}")
            case e.Asked() | e.Answered() as body:
                yield AuditEntry(**line, step=None, kind=body.type, text=_asking(body, event.who))
            case e.Parked(text=why) | e.PreemptRequested(text=why):
                yield AuditEntry(**line, step=None, kind=event.body.type, text=f"{why}, by {event.who}")
            case (
                e.Submitted()
                | e.CancelRequested()
                | e.PauseRequested()
                | e.ResumeRequested()
                | e.RetryRequested()
                | e.AttemptLost()
                | e.Finished()
            ):
                yield AuditEntry(**line, step=None, kind=event.body.type, text=f"by {event.who}")
            case _:
                continue


def _of_children(event: Event) -> Iterator[AuditEntry]:
    """Yield what a sub-agent did as what a run's own agent does, under its name; and how it began and ended."""
    inner, path = e.innermost(event.body)
    if path:
        told = audited([event.model_copy(update={"body": inner})])
        yield from (entry.model_copy(update={"agent": "/".join((*path, entry.agent)).rstrip("/")}) for entry in told)
        return
    match inner:
        case e.ChildStarted(child=child, kind=kind, task=task):
            text = f"{child} ({kind}) begins: {task[:_MOST]!r}"
        case e.ChildFinished(child=child, outcome=outcome):
            text = f"{child} ends: {outcome}"
        case e.ChildMerged(child=child, merged=merged, conflicts=conflicts, failure=failure):
            text = f"{child} is merged" if merged else f"{child} isn't merged: {', '.join(conflicts) or failure}"
        case _:
            return
    yield AuditEntry(seq=event.seq, at=event.at, step=inner.step, kind="sub-agent", text=text)


def _asking(body: e.Asked | e.Answered, who: str) -> str:
    """Return what a person was asked, or what the answer is."""
    if isinstance(body, e.Answered):
        why = f": {body.why}" if body.why else ""
        return f"{body.id}: {body.answer}{why}, by {who if body.by == 'person' else 'nobody in time'}"
    options = f" ({'; '.join(body.options)})" if body.options else ""
    return f"{body.id}: {body.text}{options}; else at {body.deadline:%Y-%m-%dT%H:%M:%SZ}: {body.default}"


def _prepared(body: e.Built | e.SetUp) -> str:
    if isinstance(body, e.SetUp):
        return f"{'; '.join(body.commands)} (network {body.network}{', from the cache' * body.cached})"
    how = "failed" if body.failed else "from an earlier build" if body.cached else "built now"
    return f"{body.image} from {body.dockerfile} ({how})"


def _changed(file: FileChange) -> str:
    return f"{file.status} {file.path} {file.extent}".rstrip()


def _candidates(body: e.Proposed | e.Chosen) -> Iterator[dict[str, Any]]:
    """Yield what each candidate asks for; then what was run in forks, call by call, and which one was taken."""
    if isinstance(body, e.Proposed):
        for number, proposed in enumerate(body.candidates, start=1):
            for call in proposed.reply.calls if proposed.reply is not None else ():
                yield {"kind": "candidate", "text": f"candidate {number}: {_called(call)}"}
        return
    for one in body.tried:
        for ran in one.ran:
            what = {"exit_code": ran.exit_code, "duration_s": ran.duration_s}
            refused = "" if ran.ok else " (refused)"
            yield {"kind": "tried", "text": f"candidate {one.candidate}: {ran.call_id} in a fork{refused}", **what}
        text = one.failure or f"$ {body.command} in the fork"
        yield {"kind": "tried", "text": f"candidate {one.candidate}: {text}", "exit_code": one.exit_code}
    taken = f"candidate {body.candidate} is taken" if body.candidate else "none is taken"
    yield {"kind": body.type, "text": f"{taken}: {body.why}"}


def _installs(body: e.Checkpointed | e.SetUp) -> Iterator[dict[str, str]]:
    for one in body.installs:
        what = f"{one.manager} {one.name} {one.version}".rstrip()
        change = f"changed from {one.before}" if one.before else one.change
        yield {"kind": "install", "text": f"{what} {change} ({one.place})"}
    for path in body.unlooked:
        yield {"kind": "unlooked", "text": f"{path}: not looked through for installs"}


def _travelled(body: e.RewindRequested | e.Rewound | e.Forked) -> str:
    match body:
        case e.RewindRequested(step=step, why=why):
            return f"{why} to step {step}"
        case e.Rewound(step=step, to=to):
            return f"step {step} is step {to} again"
        case e.Forked(run=run, step=step):
            return f"from step {step} of {run}"


def _called(call: ToolCall) -> str:
    """Return a call as it would be typed: a command behind `$`, a path bare; its other arguments by their names."""
    telling = {"bash": "command", "read": "path", "edit": "path", "write": "path"}.get(call.name, "")
    rest = [f"{key}={str(value)[:_MOST]!r}" for key, value in call.arguments.items() if key != telling]
    bare = [str(call.arguments[telling])[:_MOST]] if telling in call.arguments else []
    return " ".join(["$" if call.name == "bash" else call.name, *bare, *rest])
