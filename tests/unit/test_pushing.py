from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.pushing import NoCopies, Pushed, Pushing
from orchestrator.stop import LOST, PAUSED, Stop
from sandbox.errors import RemoteUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable


class Elsewhere:
    """A remote that takes its time, hangs or refuses as it's told to."""

    def __init__(self) -> None:
        self.pushes: list[float] = []
        self.refuses = ""
        self.takes_s = 0.0
        self.killed = threading.Event()

    def push(self) -> None:
        self.pushes.append(time.monotonic())
        if self.killed.wait(self.takes_s):
            raise RemoteUnavailable("it was ended")
        if self.refuses:
            raise RemoteUnavailable("no", cause=self.refuses)


@pytest.fixture
def there() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def stop() -> Stop:
    return Stop()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_many_steps_make_few_pushes_and_the_last_one_is_always_among_them(there: Elsewhere, stop: Stop) -> None:
    with Pushing(there.push, there.killed.set, stop) as pushing:
        for step in range(1, 41):
            pushing.committed(step)
            time.sleep(0.025)
        pushing.settle(5)
        assert pushing.pushed == Pushed(40)
    assert 2 <= len(there.pushes) <= 6
    pauses = [after - before for before, after in zip(there.pushes[:-2], there.pushes[1:-1], strict=True)]
    assert all(pause >= 0.24 for pause in pauses)


def test_one_that_refuses_holds_up_nobody_is_told_of_and_catches_up(there: Elsewhere, stop: Stop) -> None:
    there.refuses = "the disk is full"
    with Pushing(there.push, there.killed.set, stop, pushed=3) as pushing:
        began = time.monotonic()
        for step in range(4, 1000):
            pushing.committed(step)
        assert time.monotonic() - began < 1
        until(lambda: bool(pushing.pushed.failed))
        assert pushing.pushed == Pushed(3, "no: the disk is full")
        pushing.settle(5)
        assert pushing.pushed.step == 3
        there.refuses = ""
        pushing.settle(5)
        assert pushing.pushed == Pushed(999)


def test_one_that_hangs_is_waited_for_no_longer_than_is_said(there: Elsewhere, stop: Stop) -> None:
    there.takes_s = 60
    began = time.monotonic()
    with Pushing(there.push, there.killed.set, stop) as pushing:
        pushing.committed(1)
        pushing.settle(0.5)
        assert 0.5 <= time.monotonic() - began < 3
        assert pushing.pushed.step == 0
        time.sleep(5.2)
        assert "under way for" in pushing.pushed.failed
    assert time.monotonic() - began < 9


def test_nothing_is_pushed_while_it_is_unsure_who_owns_the_run_nor_once_it_is_lost(
    there: Elsewhere, stop: Stop
) -> None:
    with Pushing(there.push, there.killed.set, stop) as pushing:
        stop.hold()
        pushing.committed(1)
        time.sleep(0.3)
        assert there.pushes == []
        stop.go_on()
        until(lambda: pushing.pushed.step == 1)
        stop.set(LOST)
        pushing.committed(2)
        pushing.settle(5)
        time.sleep(1.2)
        assert len(there.pushes) == 1


def test_an_attempt_that_was_asked_to_stop_pushes_its_last_step(there: Elsewhere, stop: Stop) -> None:
    with Pushing(there.push, there.killed.set, stop) as pushing:
        stop.set(PAUSED)
        pushing.committed(1)
        pushing.settle(5)
        assert pushing.pushed == Pushed(1)


def test_without_a_remote_nothing_is_pushed() -> None:
    with NoCopies() as none:
        none.committed(1)
        none.settle(1)
        assert none.pushed == Pushed(0, "")
