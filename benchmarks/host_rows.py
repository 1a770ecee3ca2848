"""The figures of a host's loss, and of a run that is more urgent than those under way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.lan.work import Commit, Work, until
from orchestrator.runs import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.lan.team import Team
    from benchmarks.report import Row

RESUMED_S: Final = 15.0
REPEATED_S: Final = 5.0
URGENT_S: Final = 5.0
_P95: Final = 0.95


class Telling(Protocol):
    """Makes a row of samples."""

    def __call__(self, what: str, samples: Sequence[float], unit: str, target: float, at: float = 0.5) -> Row:
        """Return it."""


def measure(team: Team, folder: Path, told: Telling, *, brief: bool) -> list[Row]:
    """Return the rows."""
    lost = losses(team, folder / "lost", 2 if brief else 20)
    urgent = [urgent_after(team, folder / f"urgent-{number}") for number in range(1 if brief else 10)]
    return [
        told("host lost: resumed on another, p95", [resumed for resumed, _ in lost], "s", RESUMED_S, _P95),
        told("steps repeated after a host was lost, p95", [repeated for _, repeated in lost], "s", REPEATED_S, _P95),
        told("pre-emption asked to the high run's first command, p95", urgent, "s", URGENT_S, _P95),
    ]


def losses(team: Team, folder: Path, count: int) -> list[tuple[float, float]]:
    """Take hosts' power in turn, each while it carries runs, until there are so many samples.

    Each is the seconds from the kill to the first step that another host committed, and the seconds of the steps,
    whole and begun, that were done again.
    """
    work, found, turn = Work(team.door, folder, steps=30), list[tuple[float, float]](), 0
    while len(found) < count:
        ids = work.submit(4)
        for run_id in ids:
            work.reach(run_id, 3)
        lost, turn = team.hosts[turn % len(team.hosts)], turn + 1
        hit = [run_id for run_id in ids if work.host_of(run_id) == lost.name]
        if hit:
            killed = time.time()
            lost.power_off()
            found += [_resumed(team, work, run_id, killed) for run_id in hit]
        team.mend()
        team.rest()
    return found


def _resumed(team: Team, work: Work, run_id: str, killed: float) -> tuple[float, float]:
    first: Commit = until(lambda: next((one for one in work.commits(run_id) if one.at > killed), None))
    kept = [one for one in work.commits(run_id) if one.at <= killed]
    for event in team.door.events(run_id):
        if event.body.type == "rewound" and event.at.timestamp() <= first.at:
            kept = [one for one in kept if one.step <= event.body.to]
    began = next(event.at for event in team.door.events(run_id) if event.body.type == "sandbox_ready")
    return first.at - killed, killed - (kept[-1].at if kept else began.timestamp())


def urgent_after(team: Team, folder: Path) -> float:
    """Return the seconds from an urgent run's submission, with every worker at work, to its first command."""
    work, quick = Work(team.door, folder, steps=20), Work(team.door, folder / "urgent", steps=1, seconds=0)
    ids = work.submit(team.workers * len(team.hosts))
    for run_id in ids:
        work.reach(run_id, 1)
    began = time.time()
    urgent = team.door.submit(quick.spec.model_copy(update={"priority": Priority.HIGH})).id

    def first() -> float:
        started = [event.at for event in team.door.events(urgent) if event.body.type == "call_started"]
        return started[0].timestamp() if started else 0.0

    until(first)
    team.rest()
    return first() - began
