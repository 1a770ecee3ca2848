"""A container that is frozen: nothing in it runs, what waits for it goes on, and it can be removed."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sandbox import engine
from sandbox.attack.suite import opened
from sandbox.container import leftovers
from sandbox.errors import ChannelLost, SandboxError
from sandbox.images import base_image

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.open import Sandbox
    from sandbox.spec import CommandResult

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


def in_background(box: Sandbox, command: str) -> tuple[threading.Thread, list[CommandResult | SandboxError]]:
    said: list[CommandResult | SandboxError] = []

    def run() -> None:
        try:
            said.append(box.run(command))
        except SandboxError as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.3)
    return thread, said


def test_nothing_runs_while_it_is_frozen_and_everything_goes_on_after(tmp_path: Path) -> None:
    with opened(base_image(), tmp_path) as box:
        box.run("(while :; do date +%s%N >> ticks; sleep 0.02; done) & echo $!")
        thread, said = in_background(box, "sleep 0.6; wc -l < ticks")
        box.pause()
        first = engine_state(box)
        time.sleep(1)
        assert thread.is_alive()
        box.resume()
        thread.join(10)
        [result] = said
        assert first == "paused"
        assert not isinstance(result, SandboxError)
        assert result.exit_code == 0
        gaps = box.run("awk 'NR > 1 && ($1 - last) / 1e9 > 0.9 {print \"gap\"} {last = $1}' ticks")
        assert b"gap" in gaps.output, "a busy machine may make more of them"


def test_what_is_frozen_can_be_ended(tmp_path: Path) -> None:
    with opened(base_image(), tmp_path) as box:
        thread, said = in_background(box, "sleep 60")
        box.pause()
        box.kill()
        thread.join(10)
        assert isinstance(said[0], ChannelLost)
        assert box.container_id not in [left.id for left in leftovers()]


def test_what_is_gone_can_not_be_frozen(tmp_path: Path) -> None:
    with opened(base_image(), tmp_path) as box:
        box.kill()
        with pytest.raises(SandboxError):
            box.pause()


def test_what_somebody_else_paused_stays_his_and_a_calls_time_counts_again(tmp_path: Path) -> None:
    with opened(base_image(), tmp_path) as box, contextlib.closing(engine.client()) as client:
        client.api.pause(box.container_id)
        with pytest.raises(ChannelLost, match="somebody else"):
            box.pause()
        client.api.unpause(box.container_id)
        box.checkpoint(note="")
        assert engine_state(box) == "running"
        assert box.run("sleep 5", timeout_s=0.2).timed_out


def engine_state(box: Sandbox) -> str:
    client = engine.client()
    try:
        state: str = client.api.inspect_container(box.container_id)["State"]["Status"]
    finally:
        client.close()
    return state
