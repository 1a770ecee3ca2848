"""The audit of real runs: who vouches for a journal, and what is said once somebody has written to Redis."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from journals import rechained, rewrite, stored
from kit import MEND, SUBMIT

from orchestrator import events as e
from orchestrator.demo.forgery import forged
from orchestrator.journal.connection import connect, redis_url
from orchestrator.journal.signing import Head, Signer, own_key
from sandbox.container import leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Redis]:
    """Yield a client with the rights of somebody who has found the way to the stack's Redis."""
    with connect(redis_url(stack.settings)) as client:
        yield client


@pytest.fixture
def run(stack: Stack, client: Redis, repo: Path, script: Callable[..., Path]) -> Iterator[str]:
    """Yield a finished run, and put its journal back afterwards."""
    run_id = stack.detached(script("echo looking", MEND, SUBMIT), repo)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    held = stored(client, run_id)
    yield run_id
    rewrite(client, run_id, held, record=True)
    assert stack("audit", run_id, "--verify").returncode == 0


def test_a_worker_signs_each_step_and_the_store_vouches_too(stack: Stack, client: Redis, run: str) -> None:
    told = stack.json("audit", run, "--verify")
    assert (told["verified"], told["over"], told["unread"]) == (True, True, 0)
    assert told["signed_to"] == told["events"], "the end is signed"
    assert told["checkpoints"] == 3
    key = own_key(stack.settings.state_dir)
    assert key is not None
    assert [one["key"] for one in told["signers"]] == [key.text]
    signed = {entry.seq for entry in stored(client, run) if entry.signature}
    kinds = [event.body.type for event in stack.door.events(run) if event.seq in signed]
    assert kinds == ["claimed", "checkpointed", "checkpointed", "checkpointed", "finished"]


def test_the_key_is_on_the_workers_disk_and_nowhere_else(stack: Stack, client: Redis, run: str) -> None:
    private = (stack.settings.state_dir / "signer" / "key").read_bytes().strip()
    everything = b"".join(client.dump(key) or b"" for key in client.keys("*"))
    assert private not in everything
    others = [path for path in stack.settings.state_dir.rglob("*") if path.is_file() and path.parent.name != "signer"]
    assert not [path for path in others if private in path.read_bytes()]
    assert stored(client, run)


def test_whoever_writes_to_redis_is_caught(stack: Stack, client: Redis, run: str) -> None:
    held = stored(client, run)
    at = next(
        number for number, entry in enumerate(held) if b"echo looking" in entry.data and b"call_started" in entry.data
    )
    edited = held[at]._replace(data=held[at].data.replace(b"echo looking", b"echo nothing"))
    rewrite(client, run, [*held[:at], edited, *held[at + 1 :]])
    plain = stack("audit", run, "--verify")
    assert (plain.returncode, f"✗ altered · event {at + 1} was altered" in plain.stdout) == (1, True)

    rewrite(client, run, rechained(run, [*held[:at], edited, *held[at + 1 :]]), record=True)
    forged_anew = json.loads(stack("audit", run, "--json").stdout)
    assert (forged_anew["verified"], forged_anew["kind"]) == (False, "altered")
    assert forged_anew["broken_at"] <= at + 1

    bare = [entry._replace(signature="") for entry in rechained(run, [*held[:at], edited, *held[at + 1 :]])]
    rewrite(client, run, bare, record=True)
    unsigned = json.loads(stack("audit", run, "--json").stdout)
    assert "the checkpoint of step 1 in the store carries another head" in unsigned["why"]

    rewrite(client, run, held[: at + 4], record=True)
    cut = json.loads(stack("audit", run, "--json").stdout)
    assert (cut["broken_at"], cut["kind"]) == (at + 5, "cut off")

    other = Signer.load(stack.settings.state_dir.parent / "attacker")
    assert other.key != own_key(stack.settings.state_dir)
    again = [
        entry._replace(signature=other.sign(run, Head(entry.seq, entry.hash)) if entry.signature else "")
        for entry in held
    ]
    rewrite(client, run, again, record=True)
    assert json.loads(stack("audit", run, "--json").stdout)["kind"] == "unpinned"


def test_a_bundle_of_a_real_run_verifies_where_there_is_nothing_else(stack: Stack, run: str, tmp_path: Path) -> None:
    path = tmp_path / "run.bundle"
    assert stack("audit", run, "--export", str(path)).returncode == 0
    key = own_key(stack.settings.state_dir)
    assert key is not None
    nothing = {name: value for name, value in stack.environ.items() if not name.startswith("DREAMDOCK_")}
    there = nothing | {
        "DREAMDOCK_STATE_DIR": str(tmp_path / "elsewhere"),
        "DREAMDOCK_REDIS_URL": "unix:///nonexistent.sock",
        "PATH": "/nonexistent",
    }
    done = stack("audit", "--bundle", str(path), "--key", key.text, "--json", env=there)
    told = json.loads(done.stdout)
    assert (done.returncode, told["verified"], told["checkpoints"]) == (0, True, 3)
    assert told["entries"] == json.loads(stack("audit", run, "--json").stdout)["entries"]
    for again in (False, True):
        copy = forged(path.read_bytes(), rechained=again)
        edited = tmp_path / f"edited-{again}.bundle"
        edited.write_bytes(copy.data)
        caught = stack("audit", "--bundle", str(edited), "--key", key.text, "--json", env=there)
        found = json.loads(caught.stdout)
        assert (caught.returncode, found["kind"]) == (1, "altered")
        assert found["broken_at"] <= copy.seq


def test_a_run_that_went_over_two_attempts_is_signed_by_both(
    stack: Stack, repo: Path, script: Callable[..., Path], until: Callable[..., None]
) -> None:
    run_id = stack.detached(script("echo one", "sleep 3", SUBMIT), repo, "--accept", "true")
    until(lambda: any(isinstance(event.body, e.Checkpointed) for event in stack.door.events(run_id)))
    for container in stack.containers(run_id):
        next(left for left in leftovers() if left.id == container).remove()
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    told = stack.json("audit", run_id)
    assert told["verified"], told["why"]
    assert told["signed_to"] == told["events"]
    assert any(entry["kind"] == "attempt_lost" for entry in told["entries"])


def test_the_demo_shows_that_an_edited_event_is_caught(stack: Stack) -> None:
    done = stack("demo", env={**stack.environ, "DREAMDOCK_MODEL": "scripted/the-demos-own"})
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    whole = next(number for number, line in enumerate(lines) if line.startswith("✓ verified"))
    caught = [line for line in lines[whole:] if line.startswith("✗ altered")]
    assert len(caught) == 2
    assert done.stderr.count("exit code 1") == 2
    assert "what `dreamdock audit --verify --bundle" in done.stderr
    run_id = stack.json("ps", "-a")["runs"][2]["id"]  # Two runs that show its memory come behind.
    assert stack("audit", run_id, "--verify").returncode == 0, "the run itself is untouched"
    copy = next((stack.settings.state_dir / "demo").glob(f"{run_id}-edited.bundle"))
    assert stack("audit", "--verify", "--bundle", str(copy)).returncode == 1
