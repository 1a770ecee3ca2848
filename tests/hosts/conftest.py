"""Three hosts for all tests of a session: `team`, and `work`, which is runs for it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from benchmarks.lan.team import team as on
from benchmarks.lan.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.lan.team import Team


@pytest.fixture(scope="session")
def three() -> Iterator[Team]:
    """Yield three hosts that are up; this process is on a laptop in their network."""
    with on(workers=2, DREAMDOCK_WARM="0") as team:
        yield team
    gc.collect()  # The engine's SDK leaves sockets open where a host went away; they aren't to be told of later.


@pytest.fixture
def team(three: Team) -> Iterator[Team]:
    """Yield them as they were at the beginning, and put back afterwards what a test has done to them."""
    yield three
    three.mend()
    three.rest()


@pytest.fixture
def work(team: Team, tmp_path: Path) -> Callable[..., Work]:
    """Return a function that makes runs: `work(steps=…, seconds=…)`."""

    def make(**shape: float) -> Work:
        return Work(team.door, tmp_path / "work", **shape)

    return make
