"""Runs that don't fit into their model's window: nothing that matters is lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import horizon_rows as rows
from benchmarks.long_runs import Course, Ground, ground

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.fake_agent_model import Mode

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
STEPS = 120


@pytest.fixture(scope="module")
def place() -> Iterator[Ground]:
    with ground() as place:
        yield place


def test_facts_stay_in_view_or_are_one_search_away_and_no_step_is_done_twice(place: Ground) -> None:
    ran = place.run(Course("small", STEPS, lines=20, window=16_384, knowing=True))
    assert (ran.not_done, ran.redone) == (0, 0), ran.ended
    assert len(ran.rebuilt) >= 3
    assert len(ran.record.asks) == 3
    assert [fact.text for _, fact in ran.record.missing if fact.kind != "printed"] == []
    early = [fact for step, fact in ran.record.missing if step < ran.record.asks[-1]]
    assert len(early) > 0
    assert ran.record.searched >= len(early), "the last ones have no steps left to be searched in"
    assert ran.record.not_found == ()


@pytest.mark.parametrize("mode", rows.FAILURES)
def test_every_step_is_done_without_any_summary(place: Ground, mode: Mode) -> None:
    ran = place.run(rows.failing(STEPS // 2, mode))
    assert ran.not_done == 0, ran.ended
    assert len(ran.rebuilt) >= 1
    asked = [asked for asked in ran.record.asked if asked.kind == "condense"]
    assert 0 < len(asked) <= rows.cap(ran)
