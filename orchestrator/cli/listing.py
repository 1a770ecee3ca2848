"""The table of `dreamdock ps`, once or fresh each second."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.text import Text

from orchestrator.cli import document, layout, states, waits
from orchestrator.cli.text import age, first_line, money, short_ids, visible
from orchestrator.errors import UsageError
from orchestrator.journal.asks import user_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.cli.screen import Screen
    from orchestrator.reading import Listed, Listing
    from orchestrator.runs import RunView
    from orchestrator.standing import Waiting

_HEADER: Final = ("ID", "STATE", "STEPS", "AGE", "COST")
_FIGURES: Final = (2, 3, 4)
_NARROWEST: Final = 16
_NAMED: Final = 5
_EVERY_SECONDS: Final = 1.0


def table(screen: Screen, runs: Sequence[Listed], now: datetime) -> list[Text]:
    """Return the runs as aligned lines under a header; only on a terminal are ids short and tasks cut.

    Whose they are is told where there are several people, where they are where there are several hosts.
    """
    short = short_ids(listed.view.id for listed in runs)
    told = {"USER": [user_of(view.who) for view, _ in runs], "HOST": [view.host for view, _ in runs]}
    more = {word: names for word, names in told.items() if len({*names} - {""}) > 1}
    rows = [[Text(word, "dim") for word in (*_HEADER, *more, "TASK")]]
    for number, (view, waiting) in enumerate(runs):
        cells = [
            Text(short[view.id] if screen.tty else view.id, "bold"),
            states.state(view, waiting),
            Text(f"{view.depth}/{view.limits.steps}"),
            Text(age((now - view.created_at).total_seconds())),
            Text(money(view.cost_usd)),
            *(Text(visible(names[number])) for names in more.values()),
        ]
        rows.append([*cells, Text()])
    lines = layout.table(rows, right=_FIGURES)
    for line, (view, waiting) in zip(lines[1:], runs, strict=True):
        line.append_text(_what(view, waiting, screen.width - line.cell_len if screen.tty else None))
    return lines


def _what(view: RunView, waiting: Waiting | None, room: int | None) -> Text:
    """Return the task, and behind it what the run is doing or why it ended; both get their part of the room."""
    task = Text(first_line(view.spec.task))
    why = waits.sentence(waiting)
    doing = states.why(view.outcome, view.reason) if view.outcome else why or first_line(view.doing)
    if not doing:
        return task
    if room is not None:  # Why it waits is what one looks for here.
        least = min(max(room - len(doing) - 2, 0), room // 2) if why else room // 2
        task.truncate(max(least, _NARROWEST), overflow="ellipsis")
    return task.append(f"  {doing}", "dim")


def show(screen: Screen, found: Listing, *, everything: bool) -> None:
    """Print the runs once, and on stderr which ones can't be read."""
    runs, damaged = found
    if screen.json:
        told = [document.run_fields(view, waiting) for view, waiting in runs]
        document.write("dreamdock.ps/1", {"runs": told, "damaged": damaged})
        return
    for run_id in damaged[:_NAMED]:
        why = f"run {run_id} can't be read: dreamdock audit {run_id} --verify"
        screen.say(Text.assemble(("warning: ", "bold yellow"), why))
    if len(damaged) > _NAMED:
        screen.say(Text.assemble(("warning: ", "bold yellow"), f"{len(damaged) - _NAMED} more can't be read"))
    if not runs:
        screen.say("no runs yet" if everything else "nothing is running; -a shows finished runs")
        screen.next('dreamdock run "fix the failing tests"')
        return
    for line in table(screen, runs, datetime.now(UTC)):
        screen.line(line)


def watch(screen: Screen, runs: Callable[[], Listing]) -> None:
    """Keep the table on the terminal until q or Ctrl-C; with `--json` print it each second."""
    if screen.json:
        while True:
            show(screen, runs(), everything=True)
            time.sleep(_EVERY_SECONDS)
    if not screen.tty:
        raise UsageError(
            "--watch needs a terminal", cause="standard output is none", hint="dreamdock ps --watch --json"
        )
    from rich.console import Group
    from rich.live import Live

    from orchestrator.cli.keys import Keys

    with Keys() as keys, Live(console=screen.answer, screen=True, auto_refresh=False) as live:
        while True:
            now = datetime.now(UTC)
            found = runs()
            lines = table(screen, found.runs, now)
            for line in lines:
                line.no_wrap, line.overflow = True, "ellipsis"
            unread = f" · {len(found.damaged)} can't be read" if found.damaged else ""
            foot = Text(f"{len(lines) - 1} shown at {now:%H:%M:%S}Z{unread} · q leaves", "dim")
            live.update(Group(*lines, Text(), foot), refresh=True)
            if keys.pressed("q", within=_EVERY_SECONDS):
                return
