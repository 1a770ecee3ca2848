"""What runs take on disk: their own limit, what is kept of them, and what goes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from kit import MEND, SUBMIT

from orchestrator.journal.connection import connect, redis_url
from orchestrator.keeper import prune_daily, tidy
from orchestrator.runs import Outcome
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


def done(stack: Stack, path: Path, repo: Path, *flags: str) -> str:
    run_id = stack.detached(path, repo, *flags)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    return run_id


def committed(repo: Path, **files: str) -> None:
    for name, text in files.items():
        (repo / name.replace("_toml", ".toml")).write_text(text)
    identity = ["-c", "user.name=u", "-c", "user.email=u"]
    subprocess.run(["git", "-C", repo, "add", "-A"], check=True)
    subprocess.run(["git", "-C", repo, *identity, "commit", "-qm", "x"], check=True)


def results(stack: Stack, run_id: str) -> list[Any]:
    return [event.body for event in stack.door.events(run_id) if event.body.type == "call_finished"]


def test_a_run_that_fills_its_disk_is_told_and_mends_the_bug_after_it(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    committed(repo, dreamdock_toml="[sandbox]\nworkspace_mb = 32\n")
    fill = "head -c 100000000 /dev/urandom >filler"
    write = ("write", {"path": "more.txt", "content": "x" * 300_000})
    run_id = done(stack, script(fill, write, "rm filler", MEND, SUBMIT), repo)
    filled, refused, *_ = results(stack, run_id)
    assert "No space left on device" in filled.result.content
    assert "no space is left there" in refused.result.content
    view = stack.door.show(run_id).view
    assert (view.outcome, view.step, view.attempt) == (Outcome.SUCCEEDED, 5, 1)
    assert b"filler" not in stack.door.diff(run_id)


def test_the_limit_is_shown_and_a_repository_can_only_lower_it(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    committed(repo, dreamdock_toml="[sandbox]\nworkspace_mb = 1000000\ncheckpoints_mb = 20\n")
    ask = ("run", "x", "--repo", str(repo), "--model", f"scripted/{script(SUBMIT)}", "--dry-run")
    policy = stack.json(*ask)["policy"]
    assert policy["workspace"].startswith("a disk of its own of 8192 MiB")
    assert policy["checkpoints"].startswith("20 MiB")
    assert "a disk of its own of 8192 MiB" in stack(*ask).stdout


def test_checkpoints_without_end_end_the_run_with_its_work_kept(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    committed(repo, dreamdock_toml="[sandbox]\ncheckpoints_mb = 16\n")
    write = "head -c 9000000 /dev/urandom >large"
    run_id = stack.detached(script(write, write, SUBMIT), repo)
    code, view = stack("wait", run_id).returncode, stack.door.show(run_id).view
    assert code == 7, (view.reason, stack("logs", run_id).stdout)
    assert (view.outcome, view.step) == (Outcome.LIMIT, 1)
    assert "checkpoints take too much" in view.reason
    assert b"large" in stack.door.diff(run_id)


def test_what_a_run_does_not_see_of_its_repository_is_said_at_once(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo / "model.bin").write_text(pointer)
    head = subprocess.run(["git", "-C", repo, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    link = ["update-index", "--add", "--cacheinfo", f"160000,{head.strip()},libs/theirs"]
    subprocess.run(["git", "-C", repo, *link], check=True)
    (repo / "libs/theirs").mkdir(parents=True)
    committed(repo)
    ask = ("run", "x", "--repo", str(repo), "--model", f"scripted/{script(MEND, SUBMIT)}")
    spec = stack.json(*ask, "--dry-run")["spec"]
    assert (spec["submodules"], spec["lfs_pointers"]) == (["libs/theirs"], ["model.bin"])
    told = stack(*ask, "-d")
    assert "submodules: libs/theirs: empty directories to the run\n" in told.stderr
    assert "LFS files: model.bin: pointers to the run, without their content\n" in told.stderr
    stack("wait", told.stdout.strip())
    assert "LFS files" in stack("logs", told.stdout.strip()).stdout


def test_a_kept_run_goes_back_anywhere_after_a_collection_and_a_pruned_one_says_so(
    stack: Stack, repo: Path, script: Callable[..., Path]
) -> None:
    path = script("echo one > one.txt", "echo two > two.txt; rm one.txt", MEND, SUBMIT)
    run_id = done(stack, path, repo)
    store = Store(stack.settings.state_dir / "repos")
    project = stack.door.show(run_id).view.spec.repo.project
    assert run_id in store.kept(project)
    told = stack.json("prune")
    assert run_id not in told["runs"], "it has just ended"
    assert store.collect(project, grace_s=-1)
    assert stack("rewind", run_id, "1").returncode == 0
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    assert "+one" in stack("diff", run_id, "1").stdout
    fork = stack.json("fork", run_id, "2")["run"]["id"]
    assert stack("wait", fork).returncode == 0, stack("logs", fork).stdout
    would = stack.json("prune", "--days", "0", "--dry-run")
    assert run_id in would["runs"]
    assert fork in would["runs"]
    assert would["dry_run"]
    assert "given up" in stack("prune", "--days", "0").stdout
    assert store.kept(project) == {}
    store.collect(project, grace_s=-1)
    for command in (("rewind", run_id, "1"), ("undo", run_id), ("fork", run_id, "1"), ("diff", run_id, "1")):
        refused = stack(*command)
        assert refused.returncode == 3, command
        assert f"error: the checkpoints of run {run_id} were given up" in refused.stderr
        assert "retention_days" in refused.stderr
        error = json.loads(stack(*command, "--json").stdout)
        assert "given up" in error["error"]
    assert "ledger/split.py" in stack("diff", run_id).stdout
    assert stack("audit", run_id, "--verify").returncode == 0
    again = done(stack, path, repo)
    assert stack("fork", again, "1").returncode == 0


def test_a_live_run_is_never_pruned_and_a_full_store_takes_no_new_one(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Any
) -> None:
    run_id = stack.detached(script("echo one > one.txt", "sleep 300", SUBMIT), repo)
    until(lambda: "sleep 300" in stack.door.show(run_id).view.doing)
    assert run_id not in stack.json("prune", "--days", "0")["runs"]
    tidy(stack.settings)
    full = stack.environ | {"DREAMDOCK_STORE_GB": "0.000001"}
    for command in (("run", "x", "--repo", str(repo), "-d"), ("fork", run_id, "1")):
        refused = stack(*command, env=full)
        assert refused.returncode == 7, refused.stderr
        assert "the store of repositories and checkpoints is full" in refused.stderr
        assert "dreamdock prune" in refused.stderr
    assert stack("cancel", run_id).returncode == 0
    assert b"one.txt" in stack.door.diff(run_id)


def test_the_keeper_prunes_once_a_day(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    run_id = done(stack, script(MEND, SUBMIT), repo)
    note = stack.settings.state_dir / "pruned"
    project = stack.door.show(run_id).view.spec.repo.project
    store = Store(stack.settings.state_dir / "repos")
    with connect(redis_url(stack.settings)) as client:
        prune_daily(client, stack.settings)
        first = note.stat().st_mtime
        prune_daily(client, stack.settings)
    assert note.stat().st_mtime == first
    assert run_id in store.kept(project)
