"""`kill -9` of each process that a run rests on, at a random moment."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from disturbed import Disturbed

    Opened = Callable[..., AbstractContextManager[Disturbed]]

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_the_work_horse(disturbed: Opened) -> None:
    with disturbed() as run:
        os.kill(run.horse(), signal.SIGKILL)
    assert run.final.attempt == 2


def test_the_worker(disturbed: Opened) -> None:
    with disturbed() as run:
        os.kill(run.worker(), signal.SIGKILL)
    assert run.final.attempt == 2


def test_the_keeper(disturbed: Opened) -> None:
    with disturbed() as run:
        os.kill(run.child("keeper"), signal.SIGKILL)
    assert run.final.attempt == 1


def test_redis(disturbed: Opened) -> None:
    with disturbed() as run:
        os.kill(run.child("redis"), signal.SIGKILL)
    assert run.final.attempt == 1


def test_the_container(disturbed: Opened) -> None:
    with disturbed() as run:
        [held] = run.containers()
        run.engine.api.kill(held.id)
    assert run.final.attempt == 2


def test_the_runner(disturbed: Opened) -> None:
    with disturbed() as run:
        [held] = run.containers()
        os.kill(run.engine.api.inspect_container(held.id)["State"]["Pid"], signal.SIGKILL)
    assert run.final.attempt == 2
