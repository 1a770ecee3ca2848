"""What an attempt needs of a run before it begins, on whichever host: the base, and the last checkpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator import events as e
from orchestrator.agent import wording
from orchestrator.errors import NotFoundError
from orchestrator.timeline import Timeline
from sandbox.errors import RemoteUnavailable

if TYPE_CHECKING:
    from orchestrator.holdings import Holdings
    from orchestrator.journal.writer import Writer
    from orchestrator.stop import Stop
    from orchestrator.timeline import Moment
    from sandbox.remote import Remote

_PATIENCE: Final = 60.0
"""Seconds that a remote is waited for, before another attempt may try it elsewhere."""
_EVERY: Final = 1.0
_log = structlog.get_logger(__name__)


def restore(journal: Writer, holdings: Holdings, stop: Stop) -> None:
    """Have the run's base and last checkpoint in this host's store; where the last steps are gone, say so.

    The run goes on from the newest step that there is; the model is told. Raises NotFoundError where there is nothing
    to go on from, RemoteUnavailable, Stopped.
    """
    view = journal.view
    repo, wanted = view.spec.repo, view.checkpoint or view.spec.repo.commit
    if holdings.remote is None:
        if not holdings.has(repo.project, wanted):
            raise _nowhere(holdings, view.id)
        return
    if _brought(journal, holdings, holdings.remote, stop, wanted):
        return
    timeline = Timeline(journal.events, view.id)
    line = timeline.line(timeline.now)
    have = holdings.store.leads_to(repo.project, view.id, [moment.commit for moment in (timeline.begin, *line)])
    to = next((moment for moment in reversed(line) if moment.commit in have), timeline.begin)
    if to.commit not in have or not line:
        raise _nowhere(holdings, view.id)
    _tell(journal, line, to)


def _brought(journal: Writer, holdings: Holdings, remote: Remote, stop: Stop, commit: str) -> bool:
    """Whether a commit of the run is here, now at least."""
    view, deadline = journal.view, time.monotonic() + _PATIENCE
    forget = stop.on_set(remote.kill)
    try:
        while True:
            try:
                return bool(holdings.bring(view.id, view.spec.repo, [commit]))
            except RemoteUnavailable as error:
                stop.check()
                if time.monotonic() > deadline:
                    raise
                _log.warning("an attempt waits for the checkpoint remote", run=view.id, why=error.cause)
                time.sleep(_EVERY)
    finally:
        forget()


def _tell(journal: Writer, line: list[Moment], to: Moment) -> None:
    """Write down that the steps behind `to` are lost, for the model too; a request to go back to one is answered."""
    view = journal.view
    gone = [moment for moment in line if moment.step > to.step]
    asked = _requested(journal)
    told = {"first": str(gone[0].step), "last": str(gone[-1].step), "step": str(to.step)}
    answered = view.rewind_at if asked in {moment.step for moment in gone} else 0
    journal.append(
        e.Rewound(
            step=view.step + 1,
            to=to.step,
            why="lost",
            commit=to.commit,
            tree=to.tree,
            depth=to.depth,
            shell=to.shell,
            message=wording.fill("lost", **told),
            asked=answered,
        )
    )


def _requested(journal: Writer) -> int | None:
    """Return the step that somebody asked to go back to and nobody has gone back to yet."""
    if not journal.view.rewinding:
        return None
    bodies = (event.body for event in reversed(journal.events))
    return next((body.step for body in bodies if isinstance(body, e.RewindRequested)), None)


def _nowhere(holdings: Holdings, run_id: str) -> NotFoundError:
    what = "this host has neither the run's base nor its checkpoints"
    if holdings.remote is None:
        hint = "set checkpoint_remote on every host, or let workers of the host that it was submitted on take it"
        return NotFoundError(what, cause="checkpoint_remote isn't set here", hint=hint)
    hint = f"submit it anew; what it had changed: dreamdock diff {run_id} | git apply"
    return NotFoundError(what, cause="the checkpoint remote doesn't have them either", hint=hint)
