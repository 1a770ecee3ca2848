"""Runs of a team: what is done to one of three hosts is a matter of time to its runs, and of nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from benchmarks.lan.work import until

if TYPE_CHECKING:
    from collections.abc import Callable

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
    assert [fault for run_id in ids for fault in runs.faults(run_id)] == []
    assert {runs.host_of(run_id) for run_id in ids} == {host.number for host in team.hosts}


def test_a_host_that_is_cut_off_and_comes_back(team: Team, work: Making) -> None:
    runs = work(steps=10)
    [run_id] = runs.submit()
    runs.reach(run_id, 3)
    lost = team.host(runs.host_of(run_id))
    team.network.cut(lost.number)
    until(lambda: runs.host_of(run_id) != lost.number)
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
    assert [fault for run_id in ids for fault in runs.faults(run_id)] == []
    assert lost.number in {runs.host_of(run_id) for run_id in ids}


def test_a_slow_host_that_loses_every_twentieth_packet(team: Team, work: Making) -> None:
    slow = team.hosts[0]
    team.network.slow(slow.number, ms=200, loss=0.05)
    runs = work(steps=5)
    ids = runs.submit(6)
    runs.end(ids)
    assert [fault for run_id in ids for fault in runs.faults(run_id)] == []
    assert slow.number in {host for run_id in ids for host in runs.hosts_of(run_id)}
