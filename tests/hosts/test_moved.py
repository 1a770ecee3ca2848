"""Redis moves to another server while runs go on; the last of this tier, because all stacks are started anew for it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from benchmarks.lan.sentinels import Sentinels
from benchmarks.lan.team import each
from benchmarks.lan.work import Work
from orchestrator import api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.lan.team import Team

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


@pytest.fixture
def sentinels(team: Team) -> Iterator[Sentinels]:
    """Yield sentinels, from which every stack learns where Redis is."""
    sentinels = Sentinels(team.services)
    sentinels.start()
    each(lambda host: host.restart(DREAMDOCK_REDIS_URL=sentinels.url), *team.hosts)
    yield sentinels
    sentinels.end()


def test_redis_that_moves(team: Team, sentinels: Sentinels, tmp_path: Path) -> None:
    settings = team.settings.model_copy(update={"redis_url": sentinels.url})
    with closing(api.connect(settings)) as door:
        runs = Work(door, tmp_path / "work", steps=12)
        ids = runs.submit(6)
        for run_id in ids:
            runs.reach(run_id, 2)
        sentinels.fail()
        runs.end(ids)
        assert runs.all_faults(ids) == []
