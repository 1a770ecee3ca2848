"""What can be typed wrongly or be missing: an exit code, three lines, and nothing half-made."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from kit import MEND, SUBMIT

from orchestrator.journal import keys
from orchestrator.journal.connection import connect, redis_url
from orchestrator.queue import ENTRY_POINT, call
from orchestrator.standing import workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "x", "--model", "nobody/nothing"], 4, "unknown model"),
        (["run", "x", "--repo", "repo", "--model", "kimi/kimi-k2.6"], 4, "key"),
        (["run", "x", "--model", "scripted/none.jsonl"], 3, "no script"),
        (["run", "x", "--repo", "missing"], 3, "missing"),
        (["run", "x", "--repo", "."], 3, "git"),
        (["run", "   ", "--repo", "repo"], 2, "empty"),
        (["run", "-f", "missing.toml"], 3, "missing.toml"),
        (["run", "-f", "spec.toml"], 4, "colour"),
        (["run", "x", "--repo", "repo", "--rev", "nowhere"], 3, "nowhere"),
        (["run", "x", "--repo", "repo", "--rev", "--upload-pack=touch x"], 3, "revision"),
        (["run", "x", "--repo", "repo", "--steps", "0"], 2, "steps"),
        (["run", "x", "--repo", "repo", "--image", "nobody/has-this:1"], 4, "nobody/has-this:1"),
        (["run", "x" * 100_001, "--repo", "repo"], 2, "100000 characters"),
        (["run", "-f", "/dev/zero"], 2, "too long"),
        (["run", "bad \udcff", "--repo", "repo"], 2, "no UTF-8 text"),
        (["run", "x", "--repo", "repo", "--accept", "y" * 10_001], 2, "10000 characters"),
        (["cancel", "@"], 3, "no git repository"),
        (["show", "nothing"], 3, "no run"),
        (["logs", "zzzz"], 3, "no run"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_an_error_is_three_lines_and_its_exit_code(
    stack: Stack, repo: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    repo.rename(tmp_path / "repo")
    (tmp_path / "spec.toml").write_text('task = "x"\nrepo = "repo"\ncolour = "red"\n')
    before = len(stack.json("ps", "-a")["runs"])
    done = stack(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) <= 3, done.stderr
    assert lines[0].startswith("error: ")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(stack.json("ps", "-a")["runs"]) == before, "nothing half-made stays behind"


def test_redis_away_is_unavailable(stack: Stack) -> None:
    environ = stack.environ | {"DREAMDOCK_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = stack("ps", env=environ)
    assert done.returncode == 5
    assert done.stderr.startswith("error: Redis doesn't answer")


def test_an_engine_away_is_unavailable(stack: Stack, repo: Path) -> None:
    environ = stack.environ | {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
    done = stack("run", "x", "--repo", str(repo), env=environ)
    assert done.returncode == 5, done.stdout + done.stderr
    assert done.stderr.splitlines()[-3].startswith("error:") or done.stderr.startswith("error:")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIMITS", '{"x":1'),
        ("LIMITS", '{"money_usd": "inf"}'),
        ("REDIS_URL", "bogus"),
        ("REDIS_URL", "redis://127.0.0.1:1/?foo=bar"),
        ("WORKERS", "abc"),
        ("WOKERS", "3"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(stack: Stack, name: str, value: str) -> None:
    done = stack("ps", env=stack.environ | {f"DREAMDOCK_{name}": value})
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 3


@pytest.mark.parametrize("text", ["a=" + "[" * 5000, 'accept = "x\\u0000"', "accept = 3"])
def test_a_hostile_project_file_is_refused(stack: Stack, repo: Path, text: str) -> None:
    (repo / "dreamdock.toml").write_text(text)
    git = ["git", "-C", str(repo), "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    done = stack("run", "x", "--repo", str(repo))
    assert done.returncode == 4, done.stderr
    assert "dreamdock.toml" in done.stderr


def test_a_redis_that_would_throw_journals_away_is_told_of_loudly(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    with connect(redis_url(stack.settings)) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            arguments = ("run", "x", "--repo", str(repo), "--model", f"scripted/{script(SUBMIT)}", "--accept", "", "-d")
            done = stack(*arguments)
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert done.returncode == 0, done.stderr
    assert "warning: Redis evicts when its memory is full (allkeys-lru)" in done.stderr
    assert stack("wait", done.stdout.strip()).returncode == 0
    assert "warning" not in stack(*arguments).stderr


def test_an_entry_for_a_run_that_does_not_exist_is_passed_over(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    job_id = "zzzzzzzzzzzz-a1"
    with connect(redis_url(stack.settings)) as client:
        client.hset(f"rq:job:{job_id}", mapping={"data": call(ENTRY_POINT, job_id), "status": "queued"})
        client.rpush(f"{keys.RQ_QUEUE}{workers(client)[0].presence.name}", job_id)
    run_id = stack.detached(script(MEND, SUBMIT), repo)
    assert stack("wait", run_id).returncode == 0, "the worker goes on"
    logs = "".join(path.read_text() for path in (stack.settings.state_dir / "logs").glob("worker-*.log"))
    assert "not claimed" in logs
    assert "UNKNOWN" in logs
