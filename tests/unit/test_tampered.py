"""What workers and keepers do with a run whose journal isn't as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from journals import Carried, carried, rechained, rewrite, stored

from orchestrator import events as e
from orchestrator.attempt import carry
from orchestrator.journal import index, keys
from orchestrator.journal.writer import create
from orchestrator.keeper import Keeper
from orchestrator.runs import Outcome, RunSpec, State, new_run_id
from orchestrator.settings import Settings
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.needs_redis


@pytest.fixture
def settings(tmp_path: Path, redis_server: str) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run", redis_url=redis_server)


@pytest.fixture
def run(client: Redis, run_id: str, settings: Settings) -> Carried:
    """Return a run whose worker died after its third step."""
    found = carried(client, run_id, settings.state_dir, over=False)
    client.hset(keys.record(run_id), "lease_until", 0)
    return found


@pytest.mark.parametrize("stripped", [False, True])
def test_a_worker_signs_nothing_that_somebody_else_wrote(
    client: Redis, run: Carried, settings: Settings, *, stripped: bool
) -> None:
    held = stored(client, run.run)
    forged = [
        held[0],
        held[1],
        held[2],
        *(one._replace(data=one.data.replace(b"echo 1", b"echo 9")) for one in held[3:]),
    ]
    forged = [one._replace(signature="") for one in forged] if stripped else forged
    rewrite(client, run.run, rechained(run.run, forged), record=True)
    carry(client, settings, run.run, 1, Stop(), signer=run.signer)
    view = index.record(client, run.run).view
    assert (view.state, view.outcome) == (State.DONE, Outcome.ERROR)
    assert view.reason.startswith("the journal isn't as it was written: ")
    last = stored(client, run.run)[-1]
    assert (last.seq, last.signature) == (len(held) + 1, "")


def test_a_tail_that_was_cut_off_is_not_carried_on(client: Redis, run: Carried, settings: Settings) -> None:
    rewrite(client, run.run, stored(client, run.run)[:11], record=True)
    carry(client, settings, run.run, 1, Stop(), signer=run.signer)
    assert "cut off after event 11" in index.record(client, run.run).view.reason


def test_a_journal_that_cannot_be_read_keeps_no_other_run_from_its_keeper(
    client: Redis, run: Carried, settings: Settings, spec: RunSpec
) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, [*held[:8], held[8]._replace(data=b"garbage"), *held[9:]])
    other = new_run_id()
    create(client, other, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
    carried(client, other, settings.state_dir, steps=1, over=False)
    for run_id in (run.run, other):
        client.hset(keys.record(run_id), "lease_until", 1)
    client.delete(keys.PENDING)
    Keeper(client, settings)._repair()
    assert index.record(client, other).attempt == 2
    assert stored(client, run.run)[8].data == b"garbage", "nothing is lost of the other"
