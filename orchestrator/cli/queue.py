"""`dreamdock queue`: who waits for what, and stopping and starting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import with_screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from orchestrator.cli.screen import Screen
    from orchestrator.standing import Line, QueueState


def _named(_ctx: click.Context, _param: click.Parameter, host: str | None) -> str:
    """Return a host's name, empty for every host; an empty one that was typed is a script's unset variable."""
    if host is not None and not host.strip():
        raise click.BadParameter("it's empty; leave it out for every host")
    return host or ""


@click.group(invoke_without_command=True)
@click.pass_context
@with_screen
def queue(screen: Screen, ctx: click.Context, /) -> None:
    """Show who has what under way, and who waits; pause, resume or drain.

    By user: runs under way, runs waiting, money spent today, and the limits where there are some.
    """
    if ctx.invoked_subcommand is not None:
        return
    from orchestrator.cli import document
    from orchestrator.cli.door import opened

    with opened() as door:
        state = door.queue()
    if screen.json:
        document.write("dreamdock.queue/1", _fields(state))
        return
    for line in _told(state):
        screen.line(line)


@queue.command()
@with_screen
def pause(screen: Screen, /) -> None:
    """Begin no more runs.

    What is under way goes on, and runs can be queued.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import opened

    with opened() as door:
        door.pause_queue()
    if screen.json:
        document.write("dreamdock.queue_paused/1", {"paused": True})
        return
    screen.line("paused: nothing more is begun; what is under way goes on")
    screen.next("dreamdock queue resume")


@queue.command()
@click.argument("host", required=False, default=None, callback=_named)
@with_screen
def resume(screen: Screen, /, host: str) -> None:
    """Begin runs again: everywhere, or on HOST alone after it was drained."""
    from orchestrator.cli import document
    from orchestrator.cli.door import opened

    with opened() as door:
        door.resume_queue(host)
    if screen.json:
        document.write("dreamdock.queue_resumed/1", {"host": host or None})
        return
    screen.line(f"{host} takes runs again" if host else "resumed: runs are begun again")
    screen.next("dreamdock workers")


@queue.command()
@click.argument("host", required=False, default=None, callback=_named)
@with_screen
def drain(screen: Screen, /, host: str) -> None:
    """Have runs give their workers up at the end of their step, and begin no more.

    With HOST (a name of `dreamdock workers`) only there: its runs go on elsewhere, and no step is lost.
    Without it everywhere: runs wait in the queue until `queue resume`.
    """
    from orchestrator.cli import document
    from orchestrator.cli.door import opened

    with opened() as door:
        door.drain(host)
    if screen.json:
        document.write("dreamdock.queue_drained/1", {"host": host or None})
        return
    where = f"on {host}" if host else "everywhere"
    screen.line(f"draining: runs {where} give their workers up at the end of their step")
    screen.next("dreamdock workers", f"dreamdock queue resume {host}".rstrip())


def _told(state: QueueState) -> Iterator[Text]:
    """Yield what holds the queue up, then a table of users."""
    from rich.text import Text

    from orchestrator.cli import layout
    from orchestrator.cli.text import age, money, visible

    if state.paused_by:
        yield Text(f"‖ paused by {visible(state.paused_by)}: dreamdock queue resume", "yellow")
    for host, who in sorted(state.draining.items()):
        where = visible(host) if host else "every host"
        yield Text(f"‖ {where} is drained, as {visible(who)} asked: dreamdock queue resume {host}".rstrip(), "yellow")
    rows = [[Text(word, "dim") for word in ("USER", "UNDER WAY", "WAITING", "LONGEST", "TODAY", "SHARE")]]
    for user in _users(state):
        share = state.policy.of(user)
        held = sum(one.user == user for one in state.held.values())
        lines = [line for line in state.lines if line.user == user]
        rows.append(
            [
                Text(visible(user), "bold"),
                Text(_of(held, share.runs)),
                Text(str(sum(line.length for line in lines))),
                Text(age(max(line.oldest_s for line in lines)) if lines else "-"),
                Text(_money(money(state.spent.get(f"user:{user}", 0.0)), share.usd_per_day)),
                Text(f"{share.weight:g}" + (f" · team {visible(share.team)}" if share.team else "")),
            ]
        )
    if len(rows) == 1:
        yield Text("nothing waits, and nothing is under way")
        return
    yield from layout.table(rows, right=(1, 2, 3, 4))
    for team, limits in sorted(state.policy.teams.items()):
        held = sum(one.team == team for one in state.held.values())
        spent = _money(money(state.spent.get(f"team:{team}", 0.0)), limits.usd_per_day)
        yield Text(f"team {visible(team)}: {_of(held, limits.runs)} under way, {spent} today")


def _users(state: QueueState) -> list[str]:
    spenders = {name.removeprefix("user:") for name in state.spent if name.startswith("user:")}
    return sorted(spenders | {line.user for line in state.lines} | {one.user for one in state.held.values()})


def _of(number: int, limit: int) -> str:
    return f"{number} of {limit}" if limit else str(number)


def _money(spent: str, limit: float) -> str:
    return f"{spent} of ${limit:.2f}" if limit else spent


def _fields(state: QueueState) -> dict[str, Any]:
    return {
        "paused_by": state.paused_by or None,
        "draining": state.draining,
        "policy": state.policy.model_dump(mode="json"),
        "lines": [_line(line) for line in state.lines],
        "under_way": {run_id: held._asdict() for run_id, held in state.held.items()},
        "spent_today": state.spent,
    }


def _line(line: Line) -> dict[str, Any]:
    return {**line._asdict(), "requires": line.requires.model_dump(mode="json")}
