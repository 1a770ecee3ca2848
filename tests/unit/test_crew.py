from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The real parent, with workers that write down who they are and end when asked to.
CREW = """
import sys
from orchestrator.stack import crew
worker = "import os, pathlib, signal, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); signal.pause()"
crew.serve(3, [sys.argv[1]], command=(sys.executable, "-c", worker))
"""


def until(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.02)


def living(folder: Path) -> set[int]:
    return {int(item.name) for item in folder.iterdir() if Path(f"/proc/{item.name}").exists()}


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", CREW, str(tmp_path)], stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def test_it_keeps_so_many_workers_running(crew: subprocess.Popen[bytes], tmp_path: Path) -> None:
    until(lambda: len(living(tmp_path)) == 3)
    first = living(tmp_path)
    os.kill(min(first), signal.SIGKILL)
    until(lambda: len(living(tmp_path) - first) == 1)
    assert crew.poll() is None


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_they_end_with_it(crew: subprocess.Popen[bytes], tmp_path: Path, signum: signal.Signals) -> None:
    until(lambda: len(living(tmp_path)) == 3)
    crew.send_signal(signum)
    assert crew.wait(10) == (0 if signum != signal.SIGKILL else -9)
    until(lambda: not living(tmp_path))
