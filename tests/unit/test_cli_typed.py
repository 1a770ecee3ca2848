"""What people type: text, or a usage error; and no keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.journal.stream import read

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.needs_redis
KEY = "ghp_" + "a1B2c3D4e5" * 4


def dreamdock(
    redis_server: str, tmp_path: Path, *words: str | bytes, said: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    own = {
        "DREAMDOCK_REDIS_URL": redis_server,
        "DREAMDOCK_STATE_DIR": str(tmp_path / "state"),
        "DREAMDOCK_RUNTIME_DIR": str(tmp_path / "run"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    argv = [sys.executable, "-m", "orchestrator.cli", *words]
    return subprocess.run(argv, input=said, capture_output=True, check=False, env={**os.environ, **own, **environ})


@pytest.mark.parametrize(
    "words",
    [
        [b"run", b"\xff"],
        [b"steer", b"RUN", b"\xff"],
        [b"retry", b"RUN", b"-m", b"\xff"],
        [b"cancel", b"\xff"],
        [b"show", b"\xff"],
        [b"run", b"--model", b"\xff", b"x"],
    ],
)
def test_an_argument_that_is_no_text_is_a_usage_error(redis_server: str, tmp_path: Path, words: list[bytes]) -> None:
    done = dreamdock(redis_server, tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"is no UTF-8 text" in done.stderr
    assert b"try:" in done.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_so_is_standard_input(redis_server: str, tmp_path: Path, run_id: str, locale: str) -> None:
    done = dreamdock(redis_server, tmp_path, "steer", run_id, "-", said=b"a\xff", LC_ALL=locale)
    assert done.returncode == 2, done.stderr
    assert b"UTF-8" in done.stderr


def test_a_key_in_a_message_is_left_out_and_that_is_said(
    client: Redis, redis_server: str, tmp_path: Path, run_id: str
) -> None:
    own = "an-own-key-of-this-shell"
    done = dreamdock(redis_server, tmp_path, "steer", run_id, f"use {KEY} or {own}", MIMO_API_KEY=own)
    assert done.returncode == 0, done.stderr
    assert b"2 secrets were left out of the message" in done.stderr
    assert list(read(client, run_id))[-1].body.model_dump()["text"] == "use [redacted] or [redacted]"
