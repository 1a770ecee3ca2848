"""The sandbox where the kernel has cgroup v2 alone, as today's distributions do; see `helpers/emulated.py`."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import emulated
import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("test_container.py", "test_pause.py", "test_freezer.py")
pytestmark = pytest.mark.timeout(1600)  # Emulated, all of it takes ten times as long.


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Return what the escape checks and some tests say there."""
    python = f"cd {shlex.quote(str(ROOT))} && {shlex.quote(sys.executable)}"
    tests = " ".join(f"tests/sandbox/{name}" for name in TESTS)
    commands = [
        f"{python} -m orchestrator.cli doctor --attack",
        f"{python} -m pytest -q -p no:cacheprovider --timeout=900 --basetemp=/scratch/tests {tests}",
    ]
    return emulated.run(tmp_path_factory.mktemp("emulated"), commands)


def test_every_promise_is_kept(told: list[tuple[int, str]]) -> None:
    code, said = told[0]
    assert code == 0, said
    assert "cgroup v2" in said
    found = re.search(r"(\d+) of (\d+) promises held", said)
    assert found is not None, said
    assert found[1] == found[2]
    assert int(found[1]) >= 36  # As many as there are today: none fell out.


def test_containers_are_limited_frozen_and_removed(told: list[tuple[int, str]]) -> None:
    code, said = told[1]
    assert code == 0, said
    assert re.search(r"^\d+ passed", said, re.MULTILINE), said
    assert "skipped" not in said
