"""What `dreamdock demo` shows: which project, the run itself, what `ps` says of it, the audit, and what is learned."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import settings
from orchestrator.api import audit_bundle
from orchestrator.cli import audit, learning, listing, steps, submission
from orchestrator.cli.door import opened, told_away
from orchestrator.cli.follow import tell
from orchestrator.cli.layout import put
from orchestrator.cli.reporter import TalkReporter
from orchestrator.cli.text import visible
from orchestrator.demo import prepare
from orchestrator.demo.forgery import forged
from orchestrator.events import CallStarted, Claimed, Event
from orchestrator.models import catalog, is_scripted
from orchestrator.stack.crash import kill_worker
from orchestrator.stack.up import ensure_served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.api import Door
    from orchestrator.cli.screen import Screen
    from orchestrator.demo import Prepared
    from orchestrator.journal.live import Said
    from orchestrator.requests import RunRequest
    from orchestrator.settings import Settings


def carry_out(screen: Screen) -> int:
    """Run the demo. Returns the run's exit code; 1 where an edited journal isn't caught, or nothing is learned."""
    loaded = settings.load()
    reporter = TalkReporter(screen)
    ensure_served(loaded, reporter)
    with reporter.step("fetching the demo's project"):
        prepared = prepare(loaded.state_dir)
    screen.say(f"demo: {prepared.name}, {prepared.about}")
    request = _with_model(screen, prepared, loaded.model or catalog(loaded.families).default(os.environ))
    code = submission.carry_out(screen, request)
    if screen.json:
        return code
    with opened() as door:
        run_id = door.find("@", Path(prepared.request.repo))
        if prepared.rewind and code == 0:
            _rewind(screen, door, loaded, run_id, prepared.rewind)
        screen.say("")
        screen.say("what `dreamdock ps -a -n 3` says:")
        listing.show(screen, door.runs(include_done=True, limit=3), everything=True)
        screen.say("")
        screen.say(f"what `dreamdock audit {screen.id(run_id)} --verify` says:")
        journal = BytesIO()
        audit.show(screen, door.audit(run_id, export=journal), verify=True)
        caught = _forge(screen, loaded, run_id, journal.getvalue())
        shorter = learning.show(screen, reporter, door, loaded.state_dir / "demo")
        screen.say("")
        screen.say("the stack stays up; on a repository of your own:")
        screen.next('dreamdock run "fix the failing tests"', "dreamdock doctor --attack", "dreamdock down")
    return code if caught and shorter else 1


def _forge(screen: Screen, loaded: Settings, run_id: str, journal: bytes) -> bool:
    """Edit copies of the journal, and show what the audit says of them. Returns whether each is caught."""
    caught = []
    folder = loaded.state_dir / "demo"
    for name, rechained in (("edited", False), ("rechained", True)):
        copy, path = forged(journal, rechained=rechained), folder / f"{run_id}-{name}.bundle"
        path.write_bytes(copy.data)
        screen.say("")
        also = ", and every hash after it is computed anew" if rechained else ""
        screen.say(f"in a copy of the journal, event {copy.seq} is edited from {copy.was} to {copy.now}{also};")
        screen.say(f"what `dreamdock audit --verify --bundle {path}` says, below the same list:")
        told = audit_bundle(loaded, BytesIO(copy.data))
        audit.conclude(screen, told)
        screen.say(f"exit code {audit.exit_code(told)}")
        caught.append(not told.check.ok)
    return all(caught)


def _rewind(screen: Screen, door: Door, loaded: Settings, run_id: str, step: int) -> None:
    """Take the finished run back to a step, and show how it goes on from there, also when its worker is killed."""
    screen.say("")
    screen.say(f"what `dreamdock rewind {screen.id(run_id)} {step}` does: files, shell and dialogue go back together")
    known = list(door.events(run_id))
    door.rewind(run_id, step)
    events = _with_a_crash(screen, loaded, door.listen(run_id, after=known[-1].seq, away=told_away(screen)))
    end, _outcome = tell(screen, run_id, events, progress=True, known=known)
    put(screen, end)
    screen.say("")
    screen.say(f"what `dreamdock steps {screen.id(run_id)}` says:")
    for row in steps.table(door.timeline(run_id)):
        screen.line(row)


def _with_a_crash(screen: Screen, loaded: Settings, events: Iterator[Event | Said]) -> Iterator[Event | Said]:
    """Pass events on; the worker is killed, once, in the middle of the first command."""
    worker, crashed = "", False
    for event in events:
        yield event
        match event.body if isinstance(event, Event) else None:
            case Claimed() as body:
                worker = body.worker
            case CallStarted() as body if body.call.name == "bash" and not crashed:
                crashed = True
                name = kill_worker(loaded, int(worker.rpartition(":")[2] or 0))
                then = (
                    f"once the lease has run out ({loaded.lease_seconds:.0f} s), that step is undone and done again, "
                    "by the model's reply in the journal: it isn't paid for twice"
                )
                screen.say(
                    f"demo: kill -9 of {name}, in the middle of step {body.step}; {then}"
                    if name
                    else "demo: its worker isn't killed here: it runs as a service, or isn't this account's to kill"
                )
            case _:
                continue


def _with_model(screen: Screen, prepared: Prepared, model: str) -> RunRequest:
    """Choose the model, and say plainly where it is none."""
    if not is_scripted(model):
        screen.say(f"model: {visible(model)}")
        return prepared.request.model_copy(update={"model": model})
    screen.say("no model key is set: a script that ships with dreamdock stands in")
    screen.say("it knows what to type; every command still runs for real, sealed")
    return prepared.request.model_copy(update={"model": f"scripted/{prepared.script}"})
