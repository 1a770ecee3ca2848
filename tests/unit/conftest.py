"""A Redis with a team's rules, and who comes to it in which role."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from redis_team import redis_team

from orchestrator import api
from orchestrator import events as e
from orchestrator.journal.connection import connect
from orchestrator.journal.writer import create
from orchestrator.runs import RunSpec, new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis_team import Team


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    with redis_team() as team:
        yield team


@pytest.fixture
def admin(team: Team) -> Iterator[Redis]:
    with connect(team.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def member(team: Team, admin: Redis) -> Iterator[api.Door]:
    assert admin.ping()
    with closing(api.connect(team.settings("member"))) as door:
        yield door


@pytest.fixture
def queued(admin: Redis, spec: RunSpec) -> str:
    run_id = new_run_id()
    create(admin, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    return run_id
