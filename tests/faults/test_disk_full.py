"""The disk with the journal and the checkpoints is full for a while."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest
from disturbed import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from disturbed import Disturbed

    Opened = Callable[..., AbstractContextManager[Disturbed]]

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
FULL_S: Final = 3 * LEASE_S


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a disk of 128 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(disturbed: Opened, disk: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("redis", "repos"):  # The workspaces lie elsewhere: what a command sees is part of its result.
        (disk / name).mkdir()
        state.mkdir(exist_ok=True)
        (state / name).symlink_to(disk / name)
    with disturbed(DREAMDOCK_STATE_DIR=str(state)) as run, filled(disk):
        run.until(lambda: not run.unpaused())
        before = run.view.step
        time.sleep(FULL_S)
        assert run.view.step == before
    assert run.final.attempt <= 2


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Leave not a byte free while the block runs, whoever frees some."""
    ended = threading.Event()

    def fill() -> None:
        with (disk / "filled").open("wb", buffering=0) as file:
            size = 1 << 20
            while not ended.wait(0 if size > 1 else 0.005):
                try:
                    file.write(bytes(size))
                except OSError:
                    size = max(1, size // 2)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        (disk / "filled").unlink()
