"""A whole stack with no more rights in Redis than a worker's: a run is carried to its end, and its traces removed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from disturbed import on_own_stack
from redis_team import redis_team

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_a_run_needs_no_more_than_a_workers_rights(tmp_path: Path) -> None:
    with redis_team() as team:
        named = ("DREAMDOCK_REDIS_URL", "DREAMDOCK_REDIS_PASSWORD_FILE")
        environ = {name: value for name, value in team.environ("worker").items() if name in named}
        with on_own_stack(tmp_path, Random(1), environ, None) as run:  # noqa: S311  # No secret.
            run.begin()
            assert run.until(run.is_over)
        assert next(iter(run.stack.door.events(run.run_id))).who == "worker"
