"""The journal folded into the view that people see: one pure step per event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator import events as e
from orchestrator.runs import TRANSITIONS, Child, Outcome, Question, RunView, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.events import Event


_UNPROVEN: Final[dict[str, Any]] = {"verdicts": (), "weakened": (), "ruling": None}
"""What a run has that goes on: what was found of an earlier state of it proves nothing."""
_REOPENED: Final[dict[str, Any]] = {
    "outcome": None,
    "started_at": None,
    "ended_at": None,
    **_UNPROVEN,
    "refusals": 0,
    "summary": "",
    "cancel_requested": False,
    "parked_s": 0.0,
}
"""What a run that is taken up again after its end begins with anew."""


_TELLING: Final = ("command", "path", "pattern", "summary", "query", "text")
"""What a call is told by, in one line."""
_MOST_RECALLED: Final = 200
_TASK: Final = 120
"""Characters of a sub-agent's task."""
_NOBODYS: Final[dict[str, Any]] = {"doing": "", "preempting": "", "host": ""}
"""What is so of a run that nobody carries."""
_PARKED: Final = {"paused": "paused", "lost": "parked", "question": "question", "approval": "approval"}
"""What a parked run waits for, in a word."""


def fold(run_id: str, events: Iterable[Event]) -> RunView:
    """Fold a whole journal. Raises ValueError where it doesn't begin with a submission."""
    rest = iter(events)
    view = begin(run_id, next(rest))
    for event in rest:
        view = apply(view, event)
    return view


def begin(run_id: str, event: Event) -> RunView:
    """Return the view after the first event."""
    if not isinstance(event.body, e.Submitted):
        raise ValueError("a journal begins with the run's submission")  # noqa: TRY004  # A wrong value, not a wrong type.
    spec = event.body.spec
    return RunView(id=run_id, spec=spec, who=event.who, created_at=event.at, tree=spec.repo.tree)


def apply(view: RunView, event: Event) -> RunView:
    """Return the view after one more event. Events that don't show in the view leave it as it is."""
    changes = _changes(view, event)
    if not changes:
        return view
    state = changes.get("state", view.state)
    if state != view.state and state not in TRANSITIONS[view.state]:
        raise ValueError(f"a run can't go from {view.state} to {state}")
    return view.model_copy(update=changes)


def _changes(view: RunView, event: Event) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912  # One case per kind of event.
    match event.body:
        case e.Forked() as body:
            whence = {"fork_of": body.run, "fork_step": body.step}
            return {"step": body.step, "tree": body.tree, "checkpoint": body.commit, "shell": body.shell, **whence}
        case e.Dispatched(attempt=attempt, reason=reason):
            again = _REOPENED if view.state is State.DONE else _resumed(view, event)
            none = {"question": None, **_NOBODYS}
            return {"attempt": attempt, "state": State.QUEUED, "reason": reason, **none, **again}
        case e.Claimed(host=host):
            return {"state": State.STARTING, "reason": "", "started_at": view.started_at or event.at, "host": host}
        case e.SandboxReady():
            return {"state": State.RUNNING, **_UNPROVEN}
        case e.Prompted(heard=heard):
            return {"heard": heard} if heard else {}
        case e.Replied(step=step):
            return {**_paid(view, event), "doing": f"step {step}: replied"}
        case e.Recalled() as body:
            return _recalled(view, body)
        case e.Within() as body:
            return {**_paid(view, event), **_within(view, body), **_children(view, event)}
        case e.ChildStarted() | e.ChildFinished() | e.ChildMerged():
            return _children(view, event)
        case e.Proposed(step=step, candidates=candidates):
            return {**_paid(view, event), "doing": f"step {step}: trying {len(candidates)} candidates"}
        case e.CallStarted(call=call):
            return {"doing": _one_line(call.name, call.arguments)}
        case e.Checkpointed() as body:
            remote = {"pushed": body.pushed, "push_failed": body.push_failed}
            return {**_moment(view, body), "depth": view.depth + 1, "doing": "thinking", **remote}
        case e.RewindRequested(step=step, why=why):
            how = "denied: back" if why == "denied" else why
            return {"rewinding": f"{how} to step {step}", "rewind_at": event.seq}
        case e.Rewound() as body:
            answered = body.asked or (0 if body.why == "lost" else view.rewind_at)
            later = view.rewind_at > answered  # Somebody asked for another one meanwhile.
            rewinding = view.rewinding if later else ""
            return {**_moment(view, body), "depth": body.depth, "doing": "thinking", "rewinding": rewinding}
        case e.FinishStarted(command=command):
            return {"state": State.FINISHING, "doing": f"accept: {command}" if command else "judging"}
        case e.Judged(verdict=verdict):
            return {"verdicts": (*view.verdicts, verdict)}
        case e.Weakened(found=found):
            return {"weakened": found}
        case e.Ruled(ruling=ruling):
            return {"ruling": ruling, **_paid(view, event)}
        case e.Refused():
            return {"state": State.RUNNING, "doing": "thinking", "refusals": view.refusals + 1}
        case e.CancelRequested():
            return {"cancel_requested": True}
        case e.PauseRequested():
            return {"pausing": event.who}
        case e.PreemptRequested(why=why, text=text):
            return {"preempting": text or why}
        case e.ResumeRequested():
            return {"pausing": ""}
        case e.Parked(why=why, text=text):
            told = {"reason": _PARKED[why], **_NOBODYS, "doing": text, **_UNPROVEN}
            if view.question is None:  # Else who asked for a pause gets it when the answer is there.
                told["pausing"] = ""
            return {"state": State.WAITING, "parked_at": view.parked_at or event.at, **told}
        case e.Asked() as body:
            return {"question": Question(**body.model_dump(exclude={"type"}))}
        case e.Answered():
            return {"question": None}
        case e.Steered():
            return {"steered": event.seq}
        case e.RetryRequested(limits=limits):
            return {"extended": limits or view.extended}
        case e.AttemptLost():
            return {"doing": "", **_UNPROVEN}
        case e.Finished() as body:
            return {
                "state": State.DONE,
                "outcome": Outcome(body.outcome),
                "reason": body.reason,
                "summary": body.summary,
                "tree": body.tree or view.tree,
                "ended_at": event.at,
                "pausing": "",
                "question": None,
                **_NOBODYS,
                "rewinding": "",
                **_resumed(view, event),
            }
        case _:
            return _paid(view, event)


def _paid(view: RunView, event: Event) -> dict[str, Any]:
    """Return what a run has used with the replies of one more event; its cost is unknown once one of theirs is."""
    if not (replies := e.paid(event.body)):
        return {}
    usage, cost = view.usage, view.cost_usd
    for reply in replies:
        usage += reply.usage
        cost = None if cost is None or reply.cost_usd is None else cost + reply.cost_usd
    return {"usage": usage, "cost_usd": cost}


def _recalled(view: RunView, body: e.Recalled) -> dict[str, Any]:
    """Return what a run was given of the library with one more event; of very much the first."""
    entries = dict.fromkeys((*view.recalled, *body.entries))
    return {"recalled": tuple(entries)[:_MOST_RECALLED]}


def _within(view: RunView, body: e.Within) -> dict[str, Any]:
    """Return what a sub-agent is doing, or was given."""
    inner, path = e.innermost(body)
    match inner:
        case e.Recalled():
            return _recalled(view, inner)
        case e.CallStarted(call=call):
            return {"doing": f"{'/'.join(path)}: {_one_line(call.name, call.arguments)}"}
        case _:
            return {}


def _children(view: RunView, event: Event) -> dict[str, Any]:
    """Return a run's sub-agents with one that begins, ends or is merged."""
    body, path = e.innermost(event.body)
    if not isinstance(body, e.ChildStarted | e.ChildFinished | e.ChildMerged):
        return {}
    name = "/".join((*path, body.child))
    if isinstance(body, e.ChildStarted):
        new = Child(name=name, kind=body.kind, step=body.step, task=body.task.partition("\n")[0][:_TASK])
        others = [one for one in view.children if (one.name, one.step) != (name, body.step)]
        return {"children": (*others, new)}
    told: dict[str, Any] = (
        {"outcome": body.outcome, "files": len(body.files)}
        if isinstance(body, e.ChildFinished)
        else {"merged": body.merged}
    )
    mine = [(one.name, one.step) == (name, body.step) for one in view.children]
    changed = (one.model_copy(update=told) if own else one for one, own in zip(view.children, mine, strict=True))
    return {"children": tuple(changed)}


def _resumed(view: RunView, event: Event) -> dict[str, Any]:
    """Return what a run that was parked leaves behind: the time for which it was."""
    if view.parked_at is None:
        return {}
    return {"parked_at": None, "parked_s": view.parked_s + max((event.at - view.parked_at).total_seconds(), 0.0)}


def _moment(view: RunView, body: e.Checkpointed | e.Rewound) -> dict[str, Any]:
    unproven = _UNPROVEN if body.tree != view.tree else {}  # What was found of a tree holds as long as it's the run's.
    return {"step": body.step, "tree": body.tree, "checkpoint": body.commit, "shell": body.shell, **unproven}


def _one_line(name: str, arguments: dict[str, Any]) -> str:
    """Return a call in one line of at most 120 characters: its name and its most telling argument."""
    telling = next((str(arguments[key]) for key in _TELLING if key in arguments), "")
    first = telling.strip().partition("\n")[0]
    return f"{name}: {first}"[:120] if first else name
