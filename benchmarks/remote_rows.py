"""The figures of the checkpoint remote: how soon it has a step, and what that costs the step."""

from __future__ import annotations

import statistics
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from benchmarks.lan.work import Work, until
from benchmarks.stack import own_stack

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.host_rows import Telling
    from benchmarks.lan.team import Team
    from benchmarks.report import Row
    from benchmarks.stack import Stack

REACHED_S: Final = 2.0
ADDED_PERCENT: Final = 5.0
_STEPS: Final = 20
_P95: Final = 0.95


def measure(team: Team, folder: Path, told: Telling, *, brief: bool) -> list[Row]:
    """Return the rows."""
    folder.mkdir()
    reached = [one for number in range(1 if brief else 5) for one in reached_after(team, folder / str(number))]
    by_hand = [pushed_by_hand(team, folder) for _ in range(3 if brief else 11)]
    added = added_percent(team, folder, rounds=1 if brief else 5)
    return [
        told("a checkpoint reaching the remote, p95", reached, "s", REACHED_S, _P95),
        told("the same as a `git push` by hand", by_hand, "s", REACHED_S),
        told("added to step time by pushing", added, "%", ADDED_PERCENT),
    ]


def reached_after(team: Team, folder: Path) -> list[float]:
    """Return for each step of a run the seconds from its commit in the journal to the remote's ref at it, or behind."""
    work = Work(team.door, folder, steps=_STEPS)
    [run_id] = work.submit()
    ref, seen = f"refs/dreamdock/{work.spec.repo.project}/run/{run_id}", dict[str, float]()
    while not work.is_over(run_id):
        seen.setdefault(_at(team, ref), time.time())
        time.sleep(0.02)
    until(lambda: not team.door.runs(include_done=False).runs)
    seen.setdefault(_at(team, ref), time.time())
    commits = work.commits(run_id)
    moments = [seen.get(one.id) for one in commits]
    return [
        min(moment for moment in moments[place:] if moment is not None) - one.at
        for place, one in enumerate(commits)
        if any(moments[place:])
    ]


def pushed_by_hand(team: Team, folder: Path) -> float:
    """Return the seconds of a push of one commit to the same server."""
    clone, identity = folder / "by-hand", ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
    if not clone.is_dir():
        subprocess.run(["git", "init", "--quiet", str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), *identity, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    began = time.perf_counter()
    push = ["git", "-C", str(clone), "push", "--quiet", "--force", team.services.remote, "HEAD:refs/heads/by-hand"]
    subprocess.run(push, check=True)
    return time.perf_counter() - began


def added_percent(team: Team, folder: Path, *, rounds: int) -> list[float]:
    """Return by how much a step takes longer where it's pushed: the same runs in turns, on two stacks of a worker."""
    remote = {"DREAMDOCK_CHECKPOINT_REMOTE": team.services.remote}
    found = []
    with own_stack({}) as without, own_stack(remote) as pushing:
        for number in range(rounds):
            plain = step_seconds(without, folder / f"plain-{number}")
            pushed = step_seconds(pushing, folder / f"pushed-{number}")
            found.append((pushed / plain - 1) * 100)
    return found


def step_seconds(stack: Stack, folder: Path) -> float:
    """Return the median seconds of a run's steps."""
    work = Work(stack.door, folder, steps=_STEPS)
    [run_id] = work.submit()
    work.end([run_id])
    return statistics.median(after.at - before.at for before, after in pairwise(work.commits(run_id)))


def _at(team: Team, ref: str) -> str:
    """Return the checkpoint that a run's ref leads to: the second parent of its last link; empty for none."""
    argv = ["git", "-C", str(team.services.repository), "rev-parse", "--quiet", "--verify", f"{ref}^2"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
