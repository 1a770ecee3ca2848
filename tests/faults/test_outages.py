"""Redis gone or hung for half a minute: for longer than a lease."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

import pytest

from orchestrator.journal.connection import ping, redis_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from disturbed import Disturbed

    Opened = Callable[..., AbstractContextManager[Disturbed]]

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
OUTAGE_S: Final = 30.0


def test_redis_refused(disturbed: Opened) -> None:
    with disturbed() as run:
        supervisor = run.supervisor()
        os.kill(supervisor, signal.SIGSTOP)  # Nobody starts it again.
        os.kill(run.child("redis"), signal.SIGKILL)
        time.sleep(OUTAGE_S)
        assert not ping(redis_url(run.stack.settings))
        assert run.unpaused() == []
        os.kill(supervisor, signal.SIGCONT)
    assert run.final.attempt == 1, "it went on under its own fence"


def test_redis_hung(disturbed: Opened) -> None:
    with disturbed() as run:
        redis = run.child("redis")
        os.kill(redis, signal.SIGSTOP)
        time.sleep(OUTAGE_S)
        assert run.unpaused() == []
        os.kill(redis, signal.SIGCONT)
    assert run.final.attempt == 1, "it went on under its own fence"
