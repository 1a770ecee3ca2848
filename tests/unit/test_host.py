"""What an attempt waits for before it begins."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.host import SPARE_BYTES, lacking, wait_until_fit
from orchestrator.settings import Settings
from orchestrator.stop import CANCELLED, Stop, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "repos"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * SPARE_BYTES}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.needs_engine
@pytest.mark.needs_root
def test_an_attempt_begins_only_where_its_checkpoints_have_room(small: Path, tmp_path: Path) -> None:
    assert lacking(tmp_path) == ""
    (small / "much").write_bytes(bytes(SPARE_BYTES + 1))
    assert lacking(tmp_path) == "the disk is full"


@pytest.mark.usefixtures("no_engine")
def test_an_attempt_waits_for_an_engine_until_it_has_to_end(tmp_path: Path) -> None:
    stop, ended = Stop(), threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped, match=CANCELLED):
            wait_until_fit(Settings(state_dir=tmp_path), stop)
        ended.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    assert waiting.is_alive()
    stop.set(CANCELLED)
    waiting.join(5)
    assert ended.is_set()
