"""What goes of the state folder by itself, and what never does."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator import events as e
from orchestrator.errors import DeniedError, LimitError
from orchestrator.journal.writer import Writer, create
from orchestrator.keeper import prune_daily
from orchestrator.runs import Outcome, new_run_id
from orchestrator.settings import Settings
from orchestrator.upkeep import Daily, give_up, require_room, trim
from sandbox.cache import hold
from sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from orchestrator.runs import RunSpec
    from sandbox.spec import Base

DAY = 24 * 3600.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def base(settings: Settings, tmp_path: Path) -> Base:
    repo = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", repo], check=True)
    identity = ["-c", "user.name=u", "-c", "user.email=u"]
    subprocess.run(["git", "-C", repo, *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    return Store(settings.state_dir / "repos").import_commit(repo)


@pytest.fixture
def store(settings: Settings) -> Store:
    return Store(settings.state_dir / "repos")


def queued(client: Redis, spec: RunSpec, store: Store, base: Base) -> str:
    run_id = new_run_id()
    create(client, run_id, "ann", [e.Submitted(spec=spec.model_copy(update={"repo": base})), e.Dispatched(attempt=1)])
    store.keep(base.project, run_id, base.commit)
    return run_id


def end(client: Redis, run_id: str) -> None:
    Writer(client, run_id, who="ann").append(e.Finished(outcome=Outcome.CANCELLED), operation="finish")


def aged(store: Store, base: Base, run_id: str, days: float) -> None:
    when = time.time() - days * DAY
    os.utime(store.git_dir(base.project) / "refs/dreamdock/run" / run_id, (when, when))


def test_only_what_is_over_for_long_goes(
    client: Redis, settings: Settings, spec: RunSpec, store: Store, base: Base
) -> None:
    live, over = queued(client, spec, store, base), queued(client, spec, store, base)
    end(client, over)
    lost, unknown = new_run_id(), new_run_id()
    for run_id in (lost, unknown):
        store.keep(base.project, run_id, base.commit)
    for run_id in (live, over, lost):
        aged(store, base, run_id, 40)  # The end counts, not the last step; but for one that nobody knows.
    assert give_up(client, settings, dry_run=True).runs == (lost,)
    assert set(store.kept(base.project)) == {live, over, lost, unknown}
    gone = give_up(client, settings)
    assert (gone.runs, gone.dry_run) == ((lost,), False)
    assert gone.store_bytes == store.measured() > 0
    assert set(store.kept(base.project)) == {live, over, unknown}
    assert set(give_up(client, settings, days=0).runs) == {over, unknown}
    assert set(store.kept(base.project)) == {live}


def test_a_journal_that_cannot_be_read_keeps_its_run(
    client: Redis, settings: Settings, spec: RunSpec, store: Store, base: Base
) -> None:
    run_id = queued(client, spec, store, base)
    end(client, run_id)
    for key in client.scan_iter(f"*{run_id}*"):
        if client.type(key) == b"hash":
            client.hset(key, "view", "no view")
        else:
            client.delete(key)
    assert give_up(client, settings, days=0).runs == ()
    assert set(store.kept(base.project)) == {run_id}


def megabyte(place: Path) -> None:
    (place / "x").write_bytes(b"x" * 10**6)


def test_caches_are_trimmed_to_their_quota(client: Redis, settings: Settings) -> None:
    for kind in ("pristine", "layers"):
        for name in ("a", "b"):
            hold(settings.state_dir / "workspaces" / kind, name, megabyte).release()
    small = settings.model_copy(update={"cache_gb": 0.0015})
    would = give_up(client, small, dry_run=True)
    assert (would.checkouts, would.layers) == (("a",), ("a",))
    assert would.freed_bytes > 2 * 10**6
    gone = give_up(client, small)
    assert (gone.checkouts, gone.layers, gone.freed_bytes) == (("a",), ("a",), would.freed_bytes)
    assert trim(small) == {"pristine": {}, "layers": {}}


def test_a_full_store_takes_no_new_run_and_one_that_nobody_measured_does(
    settings: Settings, store: Store, base: Base
) -> None:
    full = settings.model_copy(update={"store_gb": store.disk_bytes(base.project) / 2e9})
    require_room(full)
    store.measure()
    with pytest.raises(LimitError) as caught:
        require_room(full)
    assert caught.value.exit_code == 7
    assert "store_gb" in caught.value.cause
    assert "dreamdock prune" in caught.value.hint
    require_room(settings)


def test_once_a_day_is_remembered_in_a_file(tmp_path: Path) -> None:
    daily = Daily(tmp_path / "note")
    assert daily.due()
    daily.done()
    assert not Daily(tmp_path / "note").due()
    os.utime(tmp_path / "note", (time.time() - DAY - 1,) * 2)
    assert daily.due()


def test_the_keeper_prunes_when_it_is_due(client: Redis, settings: Settings, store: Store, base: Base) -> None:
    lost = new_run_id()
    store.keep(base.project, lost, base.commit)
    aged(store, base, lost, 31)
    Daily(settings.state_dir / "pruned").done()
    prune_daily(client, settings)
    assert list(store.kept(base.project)) == [lost]
    os.utime(settings.state_dir / "pruned", (1, 1))
    prune_daily(client, settings)
    assert store.kept(base.project) == {}


@pytest.mark.needs_root
def test_who_may_not_write_there_is_told(client: Redis, settings: Settings, store: Store, base: Base) -> None:
    settings.state_dir.chmod(0o700)
    for folder in (settings.state_dir.parent, settings.state_dir.parent.parent):
        folder.chmod(0o755)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            give_up(client, settings)
        except DeniedError as error:
            code = 0 if "sudo" in error.hint else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.projects() == [base.project]
