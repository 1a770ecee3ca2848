"""What a dream verifies against: which commit is the head, where this host has it, and under which limits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from repos import Repo

from orchestrator.dream.sealed import DREAM_LABEL, Sealed
from orchestrator.dream.verifier import verifier
from orchestrator.holdings import Holdings
from orchestrator.runs import STACK_LABEL, RunSpec
from orchestrator.settings import DreamSettings, Settings, SetupSettings
from sandbox.spec import Base, Limits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def run_of(base: Base, name: str = "r1", **fields: Any) -> tuple[str, RunSpec]:
    return name, RunSpec(**({"task": "t", "model": "scripted", "image": "x:1", "repo": base} | fields))


def test_the_head_is_the_newest_commit_that_no_other_run_goes_on_from(settings: Settings, repo: Repo) -> None:
    holdings = Holdings(settings)
    bases = []
    for number in range(3):
        repo.commit({"a": str(number)})
        bases.append(holdings.store.import_commit(repo.path))
    repo.git("checkout", "-q", "-b", "side", bases[0].commit)
    repo.commit({"b": "b"})
    side = holdings.store.import_commit(repo.path)
    again = run_of(bases[0], "again")  # Somebody asked for an old commit, and that's the newest run.
    found = verifier(settings, holdings, [again, *map(run_of, reversed(bases))])
    assert found is not None
    assert found.head == bases[2].commit
    found = verifier(settings, holdings, [again, run_of(side), *map(run_of, reversed(bases))])
    assert found is not None
    assert found.head == side.commit, "of two branches the one that was worked on last"


def test_what_this_host_does_not_have_is_passed_over(settings: Settings, repo: Repo) -> None:
    holdings = Holdings(settings)
    lost = Base(project="0" * 12, commit="1" * 40, tree="2" * 40, name="x", source="/x")
    assert verifier(settings, holdings, []) is None
    assert verifier(settings, holdings, [run_of(lost)]) is None
    repo.commit({"a": "a"})
    base = holdings.store.import_commit(repo.path)
    found = verifier(settings, holdings, [run_of(base.model_copy(update={"commit": "1" * 40})), run_of(base)])
    assert found is not None
    assert found.head == base.commit


def test_commands_are_tried_as_the_runs_within_this_hosts_limits(settings: Settings, repo: Repo) -> None:
    repo.commit({"a": "a"})
    holdings = Holdings(settings)
    base = holdings.store.import_commit(repo.path)
    own = settings.model_copy(
        update={
            "sandbox": Limits(memory_mb=512),
            "setup": SetupSettings(network="on"),
            "dream": DreamSettings(seconds=100),
        }
    )
    asked = Limits(memory_mb=4096, command_seconds=200, pids=100)
    found = verifier(own, holdings, [run_of(base, sandbox=asked, setup=("make deps",))])
    assert found is not None
    assert isinstance(found.sealing, Sealed)
    assert found.sealing.spec.limits == Limits(memory_mb=512, command_seconds=200, pids=100)
    assert found.sealing.spec.labels == {STACK_LABEL: own.stack_id, DREAM_LABEL: base.project}
    assert found.sealing.setup is not None
    assert (found.sealing.setup.commands, found.sealing.setup.network) == (("make deps",), True)
    assert (found.sealing.spec.image, found.command_seconds) == ("x:1", 200)
    assert 90 < found.until - time.monotonic() <= 100
    off = verifier(own.model_copy(update={"dream": DreamSettings(commands="off")}), holdings, [run_of(base)], seconds=5)
    assert off is not None
    assert (off.sealing, off.command_seconds) == (None, 300)
    assert off.seconds_left <= 5
