"""The second route to a workspace: a worker without the right to mount, and the engine's local volume driver."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]
HERE = Path(__file__).parent
UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")


def carry_out(argv: Sequence[str | Path]) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent / 'helpers'}:{HERE.parents[1]}"}
    done = subprocess.run([*UNPRIVILEGED, sys.executable, *argv], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "name", ["steps_and_rewinds", "marks_cant_be_forged", "set_up", "a_kill", "odd_names", "a_limit"]
)
def test_without_the_right_to_mount(name: str, tmp_path: Path) -> None:
    carry_out([HERE / "unmounting.py", name, tmp_path])


@pytest.mark.parametrize("name", ["started_ahead", "other_commits", "set_up_ahead", "killed"])
def test_what_is_started_ahead_there(name: str, tmp_path: Path) -> None:
    carry_out([HERE / "ahead.py", name, tmp_path])


@pytest.mark.needs_redis
def test_whole_runs_there(tmp_path: Path) -> None:
    carry_out([HERE / "ahead.py", "whole_runs", tmp_path])


def test_other_engines(engine_at: str, tmp_path: Path) -> None:
    if engine_at == "podman":
        carry_out([HERE / "unmounting.py", "podman_refuses", tmp_path])
        return
    carry_out([HERE / "unmounting.py", "steps_and_rewinds", tmp_path / "cold"])
    carry_out([HERE / "ahead.py", "started_ahead", tmp_path / "warm"])


def test_every_promise_but_those_that_arent_made_is_kept_where_the_engine_mounts(tmp_path: Path) -> None:
    # SECURITY.md: there, the mount table names the state folder, and a workspace's limit is kept at a step's end.
    program = (
        "import sys; from pathlib import Path; from sandbox.attack.suite import attack; "
        "from sandbox.images import base_image; "
        "lost = {v.id: v.result for v in attack(base_image(), Path(sys.argv[1])) if not v.held}; "
        "told = 'upperdir=' in lost.get('host-identity', '') and 'no end' in lost.get('workspace-size', ''); "
        "sys.exit(0 if told and len(lost) == 2 else str(lost))"
    )
    carry_out(["-c", program, tmp_path / "attacked"])
