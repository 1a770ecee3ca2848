"""`dreamdock show`: one run, with what it was asked, where it stands, and what proves it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from orchestrator.cli.screen import Screen
    from orchestrator.cli.wording import Line
    from orchestrator.reading import Listed
    from orchestrator.runs import RunView

_USUAL: Final = 1
"""Steps that the checkpoint remote is behind when a step is committed, where all is well."""


@click.command()
@run_argument
@click.option("--memory", is_flag=True, help="Instead: its working memory, as of its last step.")
@click.option("--context", is_flag=True, help="Instead: what is in the model's window, and what each rebuild dropped.")
@click.option(
    "--diagnostics",
    is_flag=True,
    help="Instead: each error and warning that its commands showed, and what became of it.",
)
@with_screen
def show(screen: Screen, /, run: str, *, memory: bool, context: bool, diagnostics: bool) -> None:
    """Show one run.

    What it was asked for, where it stands, what it took, and what its acceptance said.
    """
    if memory + context + diagnostics > 1:
        raise click.UsageError("--memory, --context and --diagnostics are three answers; ask for one of them")
    if memory or context:
        _inside(screen, run, memory=memory)
        return
    if diagnostics:
        _stories(screen, run)
        return
    from orchestrator.cli import document
    from orchestrator.cli.door import found
    from orchestrator.cli.layout import put
    from orchestrator.runs import Outcome, State
    from orchestrator.steering import taking_up

    with found(run) as (door, run_id):
        listed = door.show(run_id)
    if screen.json:
        document.write("dreamdock.show/1", {"run": document.run_fields(*listed)})
        return
    short = screen.id(run_id)
    put(screen, lines(listed, datetime.now(UTC), short))
    if listed.view.question is not None:
        return  # What to type is told with it.
    if listed.view.state is State.WAITING:
        screen.next(f"dreamdock resume {short}", f"dreamdock diff {short}", f"dreamdock cancel {short}")
        return
    if not listed.view.outcome:
        screen.next(f"dreamdock logs -f {short}", f"dreamdock cancel {short}")
        return
    again = () if listed.view.outcome is Outcome.SUCCEEDED else (taking_up(listed.view, short),)
    screen.next(f"dreamdock diff {short}", *again, f"dreamdock audit {short}")


def _inside(screen: Screen, run: str, *, memory: bool) -> None:
    """Show what the run's agent has in view."""
    from rich.text import Text

    from orchestrator.cli import document, inside, layout
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        told = door.inside(run_id)
        limit = 0 if memory else door.prompt_limit(run_id, told.context.limits)
    if screen.json and memory:
        kept = told.context.memory.model_dump(mode="json")
        document.write("dreamdock.memory/1", {"run": run_id, "step": told.context.step, "memory": kept})
    elif screen.json:
        document.write("dreamdock.context/1", {"run": run_id, **inside.fields(told, limit)})
    elif memory:
        layout.put(screen, inside.memory(told.context.memory))
    else:
        for line in inside.context(told, limit):
            screen.line(line)
        for failure in inside.failures(told):
            layout.beside(screen, Text("! ", "yellow"), failure)


def _stories(screen: Screen, run: str) -> None:
    """Show what became of each error and warning that the run's commands showed."""
    from orchestrator.cli import document, layout, stories
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        told = door.stories(run_id)
    if screen.json:
        document.write("dreamdock.diagnostics/1", {"run": run_id, "diagnostics": stories.fields(told)})
    else:
        layout.put(screen, stories.lines(told))


def lines(listed: Listed, now: datetime, short: str = "RUN") -> list[Line]:
    """Return a run as labelled lines; commands to paste call it `short`."""
    from rich.text import Text

    from orchestrator.cli import states, text, wording
    from orchestrator.cli.team import sub_agents
    from orchestrator.cli.waits import sentence
    from orchestrator.runs import State

    view, waiting = listed
    told = [wording.Line("run", Text.assemble((view.id, "bold"), (f"  by {text.visible(view.who)}", "dim")))]
    why = states.why(view.outcome, view.reason) if view.outcome else ""
    reason = f": {why}" if why else ""
    told.append(wording.Line("state", Text.assemble(states.state(view, waiting), reason), prose=True))
    if waiting is not None:
        why = sentence(waiting) or "for a worker that is free"
        told.append(wording.Line("waits", Text(f"{why} ({text.ordinal(waiting.place)} in line)"), prose=True))
    told += _asked(view, short)
    if view.host:
        told.append(wording.Line("host", Text(text.visible(view.host))))
    if view.doing:
        told.append(wording.Line("doing", Text(text.first_line(view.doing))))
    if view.rewinding:
        when = "when the run is resumed" if view.state is State.WAITING else "before the next step"
        told.append(wording.Line("rewind", Text(f"{view.rewinding} is asked for; it comes {when}"), prose=True))
    if view.fork_of:
        whence = f"from step {view.fork_step} of run {text.visible(view.fork_of)}"
        told.append(wording.Line("forked", Text(whence)))
    told += wording.describe(view.spec)
    waited = ((view.ended_at or now) - view.created_at).total_seconds()
    took = text.duration(view.spent_s(now) if view.started_at else waited)
    tokens = f"{text.count(view.usage.input_tokens)} in, {text.count(view.usage.output_tokens)} out"
    steps = wording.reached(view.step, view.depth, view.limits.steps)
    spent = f"{steps} · {took} · {tokens} · {text.money(view.cost_usd)}"
    told += [wording.Line("spent", Text(spent)), *wording.near(view, now)]
    told.append(wording.Line("queued", Text(text.moment(view.created_at))))
    if view.started_at:
        attempts = f"  ({text.ordinal(view.attempt)} attempt now)" if view.attempt > 1 else ""
        told.append(wording.Line("started", Text(f"{text.moment(view.started_at)}{attempts}")))
    if view.ended_at:
        told.append(wording.Line("ended", Text(text.moment(view.ended_at))))
    if remote := _remote(view):
        told.append(wording.Line("remote", Text(remote), prose=True))
    told += [*wording.memories(view.recalled), *sub_agents(view.children)]
    return told + _proof(view) + wording.summary(view.summary)


def _proof(view: RunView) -> list[Line]:
    """Return what was found of the run's present tree, and how often one before it was refused."""
    from rich.text import Text

    from orchestrator.cli import text, wording

    told = []
    if view.refusals:
        many = f"{text.plural(view.refusals, 'submission')}; the {text.ordinal(view.limits.submits)} ends the run"
        told.append(wording.Line("refused", Text(many)))
    for verdict in view.verdicts:
        first, *rest = wording.judged(verdict)
        told += [wording.Line("verdict", first), *(wording.Line("", row) for row in rest)]
    told += wording.weakened(view.weakened)
    return told + (wording.ruled(view.ruling) if view.ruling else [])


def _asked(view: RunView, short: str) -> list[Line]:
    """Return what the run waits for a person with; nothing where it doesn't."""
    from rich.text import Text

    from orchestrator.cli import text, wording

    told = wording.asked(view.question, short) if view.question is not None else []
    if told and view.pausing:
        told.append(wording.Line("pause", Text(f"then it waits on, as {text.visible(view.pausing)} asked")))
    return told


def _remote(view: RunView) -> str:
    """Return how far the checkpoint remote was at the last step; empty where it had all but the newest, or none is."""
    from orchestrator.cli import text

    behind, why = view.step - view.pushed, view.push_failed
    if not (view.pushed or why) or (not why and behind <= _USUAL):
        return ""
    return f"{text.plural(behind, 'step')} behind at the last step" + (f": {text.visible(why)}" if why else "")
