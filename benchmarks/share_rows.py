"""The figures of a fair queue: three users on three hosts, and how long a dispatch takes."""

from __future__ import annotations

import getpass
import os
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.lan.work import Work, until
from orchestrator import api
from orchestrator.queue import pause_queue, resume_queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.host_rows import Telling
    from benchmarks.lan.team import Team
    from benchmarks.report import Row

WEIGHTS: Final = {"ann": 1.0, "bob": 1.0, "eve": 2.0}
RUNS: Final = 300
DISTANCE_PERCENT: Final = 10.0
_LONGEST_S: Final = 900.0


def measure(team: Team, folder: Path, told: Telling, *, brief: bool) -> list[Row]:
    """Return the rows."""
    runs = 24 if brief else RUNS
    work = Work(team.door, folder, steps=1, seconds=0)
    began = time.monotonic()
    owners = submitted(team, work, runs)
    until(lambda: not team.door.runs(include_done=False, limit=1).runs, longest_s=_LONGEST_S)
    took = time.monotonic() - began
    lost = [run_id for run_id in owners if not work.succeeded(run_id)]
    twice = [run_id for run_id in owners if len(work.hosts_of(run_id)) != 1 or work.faults(run_id)]
    what = f"{RUNS} runs by 3 users (1:1:2) over {len(team.hosts)} hosts"
    return [
        told(
            f"{what}: largest distance from the weights at a quarter", distances(team, owners), "%", DISTANCE_PERCENT, 1
        ),
        told("of those lost", [float(len(lost))], "runs", 0.0),
        told("of those done twice", [float(len(set(twice) - set(lost)))], "runs", 0.0),
        told("of those, seconds each", [took / runs], "s", _LONGEST_S / RUNS),
    ]


def submitted(team: Team, work: Work, runs: int) -> dict[str, str]:
    """Queue each user's part of the runs, one user after the other, and let the queue go; return who has which."""
    owners: dict[str, str] = {}
    pause_queue(team.client, "benchmark")
    for user, weight in WEIGHTS.items():
        with acting(user), closing(api.connect(team.settings)) as door:
            many = round(runs * weight / sum(WEIGHTS.values()))
            owners |= dict.fromkeys([door.submit(work.spec).id for _ in range(many)], user)
    resume_queue(team.client)
    return owners


def distances(team: Team, owners: dict[str, str]) -> list[float]:
    """Return, for each quarter of the work, by how many percent of his part a user has more or less of it."""
    ended = sorted(owners, key=lambda run_id: list(team.door.events(run_id))[-1].at)
    found = []
    for quarter in (1, 2, 3):
        done = ended[: len(ended) * quarter // 4]
        parts = {user: len(done) * weight / sum(WEIGHTS.values()) for user, weight in WEIGHTS.items()}
        counts = {user: sum(owners[run_id] == user for run_id in done) for user in WEIGHTS}
        found.append(max(abs(counts[user] / part - 1) * 100 for user, part in parts.items()))
    return found


@contextmanager
def acting(user: str) -> Iterator[None]:
    """Be another user for what asks the environment who it is."""
    before = os.environ.get("LOGNAME")
    os.environ["LOGNAME"] = user
    try:
        if getpass.getuser() != user:
            raise RuntimeError("the environment doesn't name the user")
        yield
    finally:
        del os.environ["LOGNAME"]
        if before is not None:
            os.environ["LOGNAME"] = before
