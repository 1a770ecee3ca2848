"""Runs of a team: what is done to one of three hosts is a matter of time to its runs, and of nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.lan.clock import off_by
from benchmarks.lan.release import VERSION, newer
from benchmarks.lan.team import each
from benchmarks.lan.work import until
from orchestrator.queue import drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.lan.team import Team
    from benchmarks.lan.work import Work

    Making = Callable[..., Work]

pytestmark = [
    pytest.mark.needs_engine,
    pytest.mark.needs_redis,
    pytest.mark.needs_root,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


def test_each_host_takes_runs(team: Team, work: Making) -> None:
    runs = work(steps=4)
    ids = runs.submit(6)
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert {runs.host_of(run_id) for run_id in ids} == {host.name for host in team.hosts}


def test_a_host_that_is_cut_off_and_comes_back(team: Team, work: Making) -> None:
    runs = work(steps=10)
    [run_id] = runs.submit()
    runs.reach(run_id, 3)
    lost = team.host(runs.host_of(run_id))
    team.network.cut(lost.number)
    until(lambda: runs.host_of(run_id) != lost.name)
    assert team.containers(lost, run_id) != []
    team.network.join(lost.number)
    until(lambda: team.containers(lost, run_id) == [])
    runs.end([run_id])
    assert runs.faults(run_id) == []
    assert runs.view(run_id).attempt == 2


def test_a_host_that_loses_its_power_and_boots_again(team: Team, work: Making) -> None:
    runs = work(steps=10)
    [run_id] = runs.submit()
    runs.reach(run_id, 3)
    lost = team.host(runs.host_of(run_id))
    lost.power_off()
    runs.end([run_id])
    assert runs.faults(run_id) == []
    assert runs.view(run_id).attempt == 2
    team.boot(lost)
    until(lambda: team.containers(lost, run_id) == [])
    ids = runs.submit(6)
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert lost.name in {runs.host_of(run_id) for run_id in ids}


def test_a_slow_host_that_loses_every_twentieth_packet(team: Team, work: Making) -> None:
    slow = team.hosts[0]
    team.network.slow(slow.number, ms=200, loss=0.05)
    runs = work(steps=5)
    ids = runs.submit(6)
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert slow.name in {host for run_id in ids for host in runs.hosts_of(run_id)}


def test_an_upgrade_of_one_host_after_the_other(team: Team, work: Making, tmp_path: Path) -> None:
    runs, ids, environ = work(steps=8, seconds=0.8), [], newer(tmp_path / "newer")
    for host in team.hosts:
        ids += runs.submit(10)
        host.restart(**environ)
    assert {worker.version for worker in team.door.workers()} == {VERSION}
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert sum(runs.lost(run_id) for run_id in ids) == 0
    assert any(runs.view(run_id).attempt > 1 for run_id in ids), "none was under way where it was stopped"


def test_two_hosts_of_one_name(team: Team, work: Making) -> None:
    twin, other = team.hosts[1], team.hosts[0]
    twin.rename(other.name)
    twin.restart(NAMED="twice")
    assert len({worker.name for worker in team.door.workers() if worker.host == other.name}) == 2 * team.workers
    runs = work(steps=8)
    ids = runs.submit(6)
    on_twin = [run_id for run_id in ids if team.where(run_id) is twin]
    twin.power_off()
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert on_twin != []
    assert {run_id for run_id in ids if runs.view(run_id).attempt > 1} == set(on_twin)


def test_hosts_whose_clocks_are_off_by_ten_minutes(team: Team, work: Making) -> None:
    fast, slow, right = team.hosts
    each(lambda host: host.restart(**off_by(600 if host is fast else -600)), fast, slow)
    runs = work(steps=8)
    ids = runs.submit(6)
    for run_id in ids:
        runs.reach(run_id, 1)
    hosts = {runs.host_of(run_id) for run_id in ids}
    on_fast = [run_id for run_id in ids if runs.host_of(run_id) == fast.name]
    fast.power_off()
    runs.end(ids)
    assert runs.all_faults(ids) == []
    assert hosts == {fast.name, slow.name, right.name}
    assert {run_id for run_id in ids if runs.view(run_id).attempt > 1} == set(on_fast)


def test_a_host_that_is_drained(team: Team, work: Making) -> None:
    runs = work(steps=12)
    ids = runs.submit(4)
    for run_id in ids:
        runs.reach(run_id, 2)
    drained = team.host(runs.host_of(ids[0]))
    moved = [run_id for run_id in ids if runs.host_of(run_id) == drained.name]
    drain(team.client, "ann", drained.name)
    until(lambda: all(runs.host_of(run_id) != drained.name for run_id in moved))
    runs.end(ids)
    assert runs.all_faults(ids) == []
    for run_id in moved:
        assert runs.lost(run_id) == 0
        bodies = [event.body for event in team.door.events(run_id)]
        calls = [(body.step, body.call.id) for body in bodies if body.type == "call_started"]
        assert len(calls) == len(set(calls)), "no command was repeated"
