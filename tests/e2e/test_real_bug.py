"""A real bug of a real open-source project, other than the demo's, through the whole product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.demo import make

if TYPE_CHECKING:
    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_tabulate_is_repaired(stack: Stack, tmp_path: Path) -> None:
    made = make(Path(__file__).parent / "tabulate", tmp_path)
    accept = str(made.request.accept)
    arguments = ("--repo", made.request.repo, "--accept", accept, "--model", f"scripted/{made.script}")
    done = stack("run", made.request.task, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "IndexError" in done.stdout, "the failing output was seen"
    assert "+            if idx < len(aligns):" in done.stdout
