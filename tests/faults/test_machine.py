"""The engine is killed, or the whole machine: on a machine of the test's own."""

from __future__ import annotations

import os
import signal
from random import Random
from typing import TYPE_CHECKING

import pytest
from machine import on_own_machine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.needs_engine,
    pytest.mark.needs_redis,
    pytest.mark.needs_root,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.xdist_group("machine"),  # They share the engine's data, one after the other.
]


@pytest.fixture(scope="session")
def engine_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an engine's data."""
    return tmp_path_factory.mktemp("engine")


def test_dockerd(engine_data: Path, tmp_path: Path, seed: int, tree: str) -> None:
    random = Random(f"dockerd {seed}")  # noqa: S311  # The same moments each time.
    with on_own_machine(engine_data, tmp_path, random, tree) as (run, machine):
        run.begin()
        run.reach_a_step()
        os.kill(machine.dockerd(), signal.SIGKILL)
        machine.wait_for_engine()
    assert run.final.attempt <= 2, "commands may have gone on without the engine, or not"


def test_a_machine_that_loses_its_power_and_is_switched_on_again(
    engine_data: Path, tmp_path: Path, seed: int, tree: str
) -> None:
    random = Random(f"machine {seed}")  # noqa: S311  # As above.
    with on_own_machine(engine_data, tmp_path, random, tree) as (run, machine):
        run.begin()
        run.reach_a_step()
        machine.cut()
        machine.boot()
    assert run.final.attempt == 2
