"""What a run did, in plain words: the commands, file changes and verdicts of its journal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator import events as e
from orchestrator.dialogue import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.events import Event
    from orchestrator.journal.verify import Check


class AuditEntry(Value):
    """One thing that a run did: a call, a file changed, a verdict. `exit_code` is that inside the sandbox."""

    seq: int
    at: datetime
    step: int | None
    kind: str
    text: str
    exit_code: int | None = None
    duration_s: float | None = None


class Audit(NamedTuple):
    """What a run did, and whether its journal is as it was written."""

    entries: tuple[AuditEntry, ...]
    check: Check


def audited(events: Iterable[Event]) -> Iterator[AuditEntry]:  # noqa: C901  # One case per kind of event.
    """Yield the journal's commands, file changes and verdicts in plain words."""
    for event in events:
        line = {"seq": event.seq, "at": event.at}
        match event.body:
            case e.CallStarted(step=step, call=call):
                yield AuditEntry(**line, step=step, kind="call", text=f"{call.name} {_arguments(call.arguments)}")
            case e.CallFinished() as done:
                text = f"{done.result.name}: {done.total_bytes} bytes" + ("" if done.result.ok else " (refused)")
                took = done.duration_s
                yield AuditEntry(
                    **line, step=done.step, kind="result", text=text, exit_code=done.exit_code, duration_s=took
                )
            case e.Checkpointed(step=step, files=files):
                for file in files:
                    text = f"{file.status} {file.path} +{file.added} -{file.removed}"
                    yield AuditEntry(**line, step=step, kind="file", text=text)
            case e.Built() | e.SetUp() as body:
                yield AuditEntry(**line, step=None, kind=body.type, text=_prepared(body))
            case e.Judged(verdict=verdict):
                text = verdict.command + (" (with the base's tests)" if verdict.base_tests else "")
                took = verdict.duration_s
                yield AuditEntry(
                    **line, step=None, kind="accept", text=text, exit_code=verdict.exit_code, duration_s=took
                )
            case e.RewindRequested() | e.Rewound() | e.Forked():
                text = f"{_travelled(event.body)}, by {event.who}"
                yield AuditEntry(**line, step=None, kind=event.body.type, text=text)
            case e.Steered(text=said):
                yield AuditEntry(**line, step=None, kind=event.body.type, text=f"{said!r}, by {event.who}")
            case e.Parked(text=why):
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


def _prepared(body: e.Built | e.SetUp) -> str:
    if isinstance(body, e.SetUp):
        return f"{'; '.join(body.commands)} (network {body.network}{', from the cache' * body.cached})"
    how = "failed" if body.failed else "from an earlier build" if body.cached else "built now"
    return f"{body.image} from {body.dockerfile} ({how})"


def _travelled(body: e.RewindRequested | e.Rewound | e.Forked) -> str:
    match body:
        case e.RewindRequested(step=step, why=why):
            return f"{why} to step {step}"
        case e.Rewound(step=step, to=to):
            return f"step {step} is step {to} again"
        case e.Forked(run=run, step=step):
            return f"from step {step} of {run}"


def _arguments(arguments: dict[str, Any]) -> str:
    return " ".join(f"{key}={str(value)[:200]!r}" for key, value in arguments.items())
