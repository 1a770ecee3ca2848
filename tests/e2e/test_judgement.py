"""A run that goes in circles, and one that leaves its failing test out: both end as they should, and say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kit import SUBMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def test_a_loop_ends_with_the_work_kept(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    path = script("echo kept > kept.txt", *["cat kept.txt"] * 20, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 7, done.stdout + done.stderr
    assert "the same call of bash gave the same result 7 times" in done.stdout
    assert "it is to make a new plan" in done.stdout
    shown = stack("show", "@", cwd=repo)
    assert "limit: the same call of bash gave the same result 7 times" in shown.stdout
    assert "kept.txt" in stack("diff", "@", cwd=repo).stdout


def test_a_test_that_is_left_out_is_named_beside_the_verdict(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    test = min((repo / "tests").glob("test_*.py")).relative_to(repo)
    skip = f"sed -i '0,/^def test/s//import pytest\\n\\n\\n@pytest.mark.skip\\ndef test/' {test}"
    path = script(skip, SUBMIT)
    done = stack("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"test left out · {test}:" in done.stdout
    assert f"test left out · {test}:" in stack("show", "@", cwd=repo).stdout
    assert "weakened" in stack("audit", "@", cwd=repo).stdout
    run_id = stack.json("ps", "-a", "-n", "1")["runs"][0]["id"]
    [found] = stack.json("show", run_id)["run"]["weakened"]
    assert (found["path"], found["text"]) == (str(test), "@pytest.mark.skip")
