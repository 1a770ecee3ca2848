"""One Redis, one checkpoint remote, and hosts that have nothing else in common: stacks with a state of their own."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from git_servers import bare, daemon, refs, refuse_pushes
from kit import MEND, SUBMIT
from redis_server import RedisServer

from benchmarks.stack import Stack, own_stack
from orchestrator import events as e
from orchestrator.runs import Outcome, State
from orchestrator.stack.packages import Rights
from orchestrator.stack.report import PlainReporter
from orchestrator.stack.status import Status
from orchestrator.stack.up import ensure_up, take_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]

LARGE = "seq 3000000 > large.txt"  # More than a patch in the journal may have.


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextmanager
def host(redis: RedisServer, remote: str) -> Iterator[Stack]:
    shared = {"DREAMDOCK_REDIS_URL": redis.url, "DREAMDOCK_CHECKPOINT_REMOTE": remote}
    with own_stack(shared | {"DREAMDOCK_LEASE_SECONDS": "2"}) as stack:
        yield stack


def kill(stack: Stack) -> None:
    """Kill all processes of a stack at once, as though its host were gone."""
    status, rights = Status.read(stack.settings.runtime_dir), Rights.probe()
    assert status is not None
    assert rights.as_root is not None
    for process in (status.supervisor, *status.children.values()):
        process.kill(signal.SIGKILL, as_root=rights.as_root)


def mounted(stack: Stack) -> bool:
    return str(stack.settings.state_dir) in Path("/proc/self/mountinfo").read_text()


def slow(steps: int) -> list[str]:
    return [f"sleep 0.3; echo {number} >> log.txt; cd {'tests' if number % 2 else '..'}" for number in range(steps)]


def test_a_run_outlives_its_host_and_is_read_everywhere(
    redis: RedisServer,
    tmp_path: Path,
    repo: Path,
    script: Callable[..., Path],
    until: Callable[[Callable[[], object]], object],
) -> None:
    there = bare(tmp_path / "remote/all.git")
    path = script("echo begun > one.txt", LARGE, *slow(24), MEND, SUBMIT)
    with daemon(there.parent) as address, host(redis, f"{address}/all.git") as first:
        run_id = first.detached(path, repo)
        assert first.door.show(run_id).view.spec.requires.store == "remote"
        until(lambda: first.door.show(run_id).view.pushed >= 4)
        hook = refuse_pushes(there, "not now")  # What is committed from here on is lost with the host.
        pushed = first.door.show(run_id).view.step
        until(lambda: first.door.show(run_id).view.step >= pushed + 4)
        kill(first)
        at_death = first.door.show(run_id).view.step
        hook.unlink()
        with host(redis, f"{address}/all.git") as second:
            assert second("wait", run_id).returncode == 0, second("logs", run_id).stdout
            view = second.door.show(run_id).view
            assert view.outcome is Outcome.SUCCEEDED
            undisturbed = second.detached(path, repo)
            assert second("wait", undisturbed).returncode == 0
            assert second.door.show(undisturbed).view.tree == view.tree

            bodies = [event.body for event in second.door.events(run_id)]
            (lost,) = [body for body in bodies if isinstance(body, e.Rewound)]
            assert (lost.why, lost.step) == ("lost", at_death + 1)
            assert 4 <= lost.to <= pushed + 1
            assert f"what came after step {lost.to} was lost with its host" in second("logs", run_id).stdout
            assert f"lost: back to {lost.to}" in second("steps", run_id).stdout
            refused = second("rewind", run_id, str(at_death))
            assert (refused.returncode, "was lost" in refused.stderr) == (3, True)

            # A laptop with nothing of its own.
            with elsewhere(second, tmp_path / "laptop") as laptop:
                large = laptop("diff", run_id, "1..2")
                assert large.stdout.count("\n+") > 2_000_000, large.stderr
                assert "+begun" in laptop("diff", run_id).stdout
                audit = laptop("audit", run_id, "--verify")
                assert "altered" not in audit.stdout
                assert laptop.json("steps", run_id)["steps"][-1]["step"] == view.step
                applied = laptop("apply", run_id, "--repo", str(repo))
                assert applied.returncode == 0, applied.stderr
                assert (repo / "one.txt").read_text() == "begun\n"
                forked = laptop("fork", run_id, "3")
                assert forked.returncode == 0, forked.stderr
                child = next(run["id"] for run in second.json("ps", "-a")["runs"] if run["fork_of"] == run_id)
                assert second("wait", child).returncode == 0, second("logs", child).stdout
                assert second.door.show(child).view.tree == view.tree

        # The first host comes back: it clears up, and overwrites nothing.
        before = refs(there)
        ensure_up(first.settings, PlainReporter())
        until(lambda: not mounted(first))
        assert refs(there) == before


@contextmanager
def elsewhere(stack: Stack, state: Path) -> Iterator[Stack]:
    """Yield the command as on a machine whose state folder is empty, and without workers."""
    environ = stack.environ | {"DREAMDOCK_STATE_DIR": str(state), "DREAMDOCK_RUNTIME_DIR": str(state / "run")}
    yield Stack(stack.settings, environ, stack.door)


def test_where_the_remote_refuses_the_run_goes_on_and_says_so_and_later_it_catches_up(
    redis: RedisServer,
    tmp_path: Path,
    repo: Path,
    script: Callable[..., Path],
    until: Callable[[Callable[[], object]], object],
) -> None:
    there = bare(tmp_path / "remote/all.git")
    path = script("echo begun > one.txt", *slow(8), MEND, SUBMIT)
    with daemon(there.parent) as address, host(redis, f"{address}/all.git") as only:
        hook = refuse_pushes(there, "the disk quota is used up")
        refused = only("run", "mend it", "--repo", str(repo), "--model", f"scripted/{path}", "-d")
        assert refused.returncode == 5, refused.stdout
        assert "nothing was queued" in refused.stderr
        assert all(run["state"] == "done" for run in only.json("ps", "-a")["runs"])

        hook.rename(hook.with_suffix(".off"))
        run_id = only.detached(path, repo)
        until(lambda: only.door.show(run_id).view.pushed)
        hook.with_suffix(".off").rename(hook)
        until(lambda: only.door.show(run_id).view.push_failed)
        told = only("show", run_id).stdout
        assert "remote" in told
        assert "pre-receive hook declined" in told
        assert only("wait", run_id).returncode == 0
        view = only.door.show(run_id).view
        assert view.state is State.DONE
        assert view.pushed < view.step
        hook.unlink()
        tip = only.settings.state_dir / f"repos/{view.spec.repo.project}.git/refs/dreamdock/run/{run_id}"
        ref = f"refs/dreamdock/{view.spec.repo.project}/run/{run_id}"
        assert refs(there).get(ref) != tip.read_text().strip()
        take_down(only.settings)
        ensure_up(only.settings, PlainReporter())
        for _ in range(3):  # The keeper comes by once a minute.
            try:
                until(lambda: refs(there).get(ref) == tip.read_text().strip())
                break
            except AssertionError:
                continue
        assert refs(there)[ref] == tip.read_text().strip()
        checked = subprocess.run(["git", "--git-dir", str(there), "fsck"], check=False, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
