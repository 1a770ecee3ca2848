"""`dreamdock steps`: what a run has been at, and where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from orchestrator.cli.options import run_argument, with_screen

if TYPE_CHECKING:
    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.timeline import Moment, Timeline

_HEADER: Final = ("", "STEP", "TIME", "COST", "WHAT")


@click.command()
@run_argument
@with_screen
def steps(screen: Screen, /, run: str) -> None:
    """List the steps of a run, and where it is.

    ● is where it is, │ what led there; the others were left by a rewind, and can be returned to unless they were lost.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import found

    with found(run) as (door, run_id):
        timeline = door.timeline(run_id)
    if screen.json:
        line = {moment.step for moment in timeline.line(timeline.now)}
        told = [_fields(moment, timeline, line) for moment in timeline.moments.values()]
        document.write("dreamdock.steps/1", {"run": run_id, "steps": told})
        return
    for row in table(timeline):
        screen.line(row)
    short = screen.id(run_id)
    screen.next(f"dreamdock diff {short} N", f"dreamdock rewind {short} N", f"dreamdock fork {short} N")


def table(timeline: Timeline) -> list[Text]:
    """Return the moments as aligned lines under a header, in the order in which they came."""
    from rich.text import Text

    from orchestrator.cli import layout

    line = {moment.step for moment in timeline.line(timeline.now)}
    rows = [[Text(word, "dim") for word in _HEADER]]
    rows += [_row(moment, timeline, line) for moment in timeline.moments.values()]
    return layout.table(rows, right=(1, 3))


def _row(moment: Moment, timeline: Timeline, line: set[int]) -> list[Text]:
    from rich.text import Text

    from orchestrator.cli.text import money

    led = moment.step in line or moment is timeline.begin
    mark = "●" if moment is timeline.now else "│" if led else " "
    style = "" if led or moment is timeline.now else "dim"
    cost = money(moment.cost_usd) if moment.kind == "step" else ""
    cells = (mark, str(moment.step), f"{moment.at:%H:%M:%S}", cost, what(moment))
    return [Text(cell, style) for cell in cells]


def what(moment: Moment) -> str:
    """Return what a step did, in one line: its calls and its files."""
    from orchestrator.cli import wording
    from orchestrator.cli.text import first_line, plural

    if moment.kind == "begin":
        return "where it began"
    if moment.kind == "lost":
        return f"lost: back to {moment.to}, the last step that the checkpoint remote had"
    if moment.to is not None:
        said = first_line(moment.text.rpartition("\n\n")[2]) if "\n\n" in moment.text else ""
        return f"{moment.kind} to {moment.to}" + (f": {said}" if said else "")
    calls = "; ".join(wording.call_line(call) for call in moment.calls) or first_line(moment.text)
    files = f"  [{plural(len(moment.files), 'file')}]" if moment.files else ""
    return f"{calls}{files}" + "  (lost with its host)" * moment.lost


def _fields(moment: Moment, timeline: Timeline, line: set[int]) -> dict[str, Any]:
    fields = moment.model_dump(mode="json", exclude={"patch", "shell"})
    return {**fields, "current": moment is timeline.now, "on_line": moment.step in line or moment is timeline.begin}
