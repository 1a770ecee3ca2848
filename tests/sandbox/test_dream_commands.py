"""Commands of the library, tried in real containers: sealed, each in a workspace of its own, and nothing stays."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.dream.batch import Action, Batch
from orchestrator.dream.commands import Holds, Tried, in_turn, tried
from orchestrator.dream.sealed import DREAM_LABEL, Sealed
from orchestrator.dream.verifier import verifier
from orchestrator.dream.verify import verify
from orchestrator.holdings import Holdings
from orchestrator.keeper import Keeper
from orchestrator.library.entry import Entry
from orchestrator.runs import STACK_LABEL, RunSpec
from orchestrator.settings import Settings
from orchestrator.stop import Stop, Stopped
from sandbox import engine, images
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import Limits, SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis
    from repos import Repo, SmallDisk

    from orchestrator.dream.verifier import Verifier

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]
SMALL = Limits(memory_mb=256, pids=64, workspace_mb=64, command_seconds=20)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", runtime_dir=tmp_path / "run")


@pytest.fixture
def at_head(settings: Settings, repo: Repo) -> Iterator[Callable[..., Verifier]]:
    """Return a maker of what is verified against, by a run of the repository; no container may be left at the end."""

    def made(**fields: Any) -> Verifier:
        holdings = Holdings(settings)
        base = holdings.store.import_commit(repo.path)
        known = {"task": "t", "model": "scripted", "image": base_image(), "sandbox": SMALL}
        found = verifier(settings, holdings, [("r1", RunSpec(repo=base, **(known | fields)))], seconds=120)
        assert found is not None
        return found

    yield made
    assert containers(settings) == []
    assert list((settings.state_dir / "workspaces/open").glob("*")) == []


def containers(settings: Settings) -> list[str]:
    with contextlib.closing(engine.client()) as client:
        label = f"{STACK_LABEL}={settings.stack_id}"
        return [item["Id"] for item in client.api.containers(all=True, filters={"label": label})]


def results(repo: Verifier, *commands: str, failing: tuple[str, ...] = ()) -> dict[str, Tried]:
    return dict(tried(commands, repo, Stop(), lambda _done, _of: None, failing=failing))


def test_what_passes_and_what_fails_each_in_a_fresh_workspace(at_head: Callable[..., Verifier]) -> None:
    see, spoil = "test -f README.md && test ! -e new && test -z $SEEN", "export SEEN=1; touch new; rm README.md"
    found = results(at_head(), spoil, see, "echo one >&2; echo 'no such thing'; exit 3")
    assert [one.holds for one in found.values()] == [Holds.YES, Holds.YES, Holds.NO]
    assert list(found.values())[2].why == "exit code 3: no such thing"


def test_it_is_sealed(at_head: Callable[..., Verifier]) -> None:
    connect = "python3 -c \"import socket; socket.create_connection(('1.1.1.1', 53), 3)\""
    alone = "! tail -n +3 /proc/net/dev | grep -v lo:"
    found = results(at_head(), connect, alone, failing=(connect,))
    assert found[connect].holds is Holds.NO
    assert "unreachable" in found[connect].why
    assert found[alone].holds is Holds.YES


def test_what_deletes_everything_harms_nothing(at_head: Callable[..., Verifier]) -> None:
    repo = at_head()
    wipe, see = (
        "rm -rf --no-preserve-root / 2>/dev/null; rm -rf /workspace/* /workspace/.[a-z]* ~; exit 0",
        "cat README.md",
    )
    found = results(repo, wipe, see)
    assert found[see].holds is Holds.YES
    subprocess.run(["git", "--git-dir", repo.git_dir, "fsck", "--no-dangling"], check=True, capture_output=True)


def test_what_hangs_is_ended_and_a_bomb_is_held(at_head: Callable[..., Verifier]) -> None:
    repo = at_head(sandbox=SMALL.model_copy(update={"command_seconds": 2}))
    bomb, eats = "b() { b | b & b; }; b", "python3 -c \"x = 'x' * (1 << 30)\""
    began = time.monotonic()
    found = results(repo, "trap '' TERM INT; sleep 1000", bomb, eats, "true", failing=(bomb, eats))
    assert time.monotonic() - began < 60
    holds = [one.holds for one in found.values()]
    assert (holds[0], holds[3]) == (Holds.UNKNOWN, Holds.YES)
    assert next(iter(found.values())).why == "no end after 2 s"
    assert holds[1] is not Holds.YES
    assert holds[2] is Holds.UNKNOWN, "it's our limit that ended it"


def test_a_full_disk_is_the_commands_own(at_head: Callable[..., Verifier]) -> None:
    fill = "dd if=/dev/zero of=big bs=1M count=500 2>/dev/null"
    found = results(at_head(), fill, "true", failing=(fill,))
    assert [one.holds for one in found.values()] == [Holds.NO, Holds.YES]


def test_what_a_run_saw_at_its_checkpoint_is_verified_at_a_later_head(
    at_head: Callable[..., Verifier], settings: Settings, repo: Repo
) -> None:
    text = "".join(f"{number} bottles of something that is long enough\n" for number in range(30))
    repo.commit({"src/old.py": f"def count_bottles(): pass\n{text}"})
    store = Holdings(settings).store
    base = store.import_commit(repo.path)
    with open_sandbox(SandboxSpec(image=base_image()), store, base, settings.state_dir / "workspaces") as box:
        box.run("echo new >made.py; echo more >>src/old.py")
        step = box.checkpoint(note="step 1").commit
    repo.git("mv", "src/old.py", "src/new.py")
    repo.commit({"src/new.py": text, "check.sh": "grep -q bottles src/new.py\n"})
    known = {"kind": "fact", "scope": "repo", "scope_id": base.project, "origin": "agent", "confidence": 0.6}
    proof = {"evidence": [{"run": "r1", "step": 1, "commit": step}]}
    entries = [
        Entry(id="moved", title="m", paths=[{"path": "src/old.py", "commit": step}], **known, **proof),
        Entry(id="made", title="m", paths=[{"path": "made.py", "commit": step}], **known, **proof),
        Entry(id="code", title="`count_bottles()` counts", **known, **proof),
        Entry(id="passes", title="m", command="bash check.sh", status="unverified", **known, **proof),
        Entry(id="fails", title="m", command="bash other.sh", **known, **proof),
    ]
    found = verify(Batch({one.id: one for one in entries}), at_head())
    assert {change.entry: change.action for change in found.changes} == {
        "moved": Action.MOVED,
        "code": Action.DOUBTED,
        "passes": Action.CONFIRMED,
        "fails": Action.STALE,
    }
    assert found.entries["moved"].paths[0].path == "src/new.py"
    assert "No such file" in next(one.why for one in found.changes if one.entry == "fails")
    assert verify(Batch(found.entries), at_head()).entries == found.entries


def test_a_full_disk_of_the_host_is_nobodys_failure(repo: Repo, small_disk: SmallDisk, tmp_path: Path) -> None:
    settings = Settings(state_dir=small_disk("4m"), runtime_dir=tmp_path / "run")
    holdings = Holdings(settings)
    base = holdings.store.import_commit(repo.path)
    (settings.state_dir / "big").write_bytes(bytes((4 << 20) - (1 << 19)))
    spec = RunSpec(task="t", model="scripted", image=base_image(), sandbox=SMALL, repo=base)
    found = verifier(settings, holdings, [("r1", spec)])
    assert found is not None
    told = results(found, "true", "false")
    assert {one.holds for one in told.values()} == {Holds.UNKNOWN}
    assert {one.why for one in told.values() if "disk" not in one.why} == set()
    assert containers(settings) == []


def test_it_has_what_the_runs_set_up_made(at_head: Callable[..., Verifier]) -> None:
    repo = at_head(setup=("mkdir made", "echo yes >made/it"))
    assert results(repo, "grep yes made/it")["grep yes made/it"].holds is Holds.YES
    broken = results(at_head(setup=("echo broken; false",)), "true")["true"]
    assert broken.holds is Holds.UNKNOWN
    assert "a set-up command failed" in broken.why


def test_an_image_that_is_not_there_or_not_built_is_nobodys_failure(at_head: Callable[..., Verifier]) -> None:
    missing = results(at_head(image="dreamdock-test/nowhere:1"), "true")["true"]
    assert missing.holds is Holds.UNKNOWN
    assert "no image" in missing.why
    repo = at_head(build="Dockerfile")
    unbuilt = results(repo, "true")["true"]
    assert unbuilt.holds is Holds.UNKNOWN
    assert "isn't built" in unbuilt.why
    assert isinstance(repo.sealing, Sealed)
    name = images.repo_image(repo.sealing.base, "Dockerfile")
    with contextlib.closing(engine.client()) as client:
        client.api.tag(base_image(), *name.split(":"))
        try:
            assert results(repo, "true")["true"].holds is Holds.YES
        finally:
            client.api.remove_image(name)


def test_several_in_one_workspace_up_to_the_first_that_fails(at_head: Callable[..., Verifier]) -> None:
    repo = at_head()
    assert in_turn(["echo 1 >a", "grep 1 a"], repo, Stop()) == Tried(Holds.YES, "`grep 1 a`: 1")
    assert in_turn(["echo 1 >a", "grep 2 a", "hang"], repo, Stop()) == Tried(Holds.NO, "`grep 2 a`: exit code 1")


def test_a_stop_ends_what_is_under_way(at_head: Callable[..., Verifier]) -> None:
    stop = Stop()
    timer = threading.Timer(2, stop.set, ["lost"])
    timer.start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        list(tried(["sleep 100"], at_head(), stop, lambda _done, _of: None))
    assert time.monotonic() - began < 15
    timer.join()


PROGRAM = """
import sys
from orchestrator.dream.verifier import verifier
from orchestrator.holdings import Holdings
from orchestrator.runs import RunSpec
from orchestrator.settings import Settings
from orchestrator.stop import Stop
settings = Settings(state_dir=sys.argv[1], runtime_dir=sys.argv[2])
repo = verifier(settings, Holdings(settings), [("r1", RunSpec.model_validate_json(sys.argv[3]))])
with repo.sealing.ready(Stop(), 60) as fresh, fresh() as box:
    box.run("sleep 1000 &")
    print("ready", flush=True)
    box.run("sleep 1000")
"""


def test_the_keeper_leaves_a_dreams_container_alone_and_removes_a_dead_ones(
    at_head: Callable[..., Verifier], settings: Settings, client: Redis, repo: Repo
) -> None:
    at_head()
    base = Holdings(settings).store.import_commit(repo.path)
    spec = RunSpec(task="t", model="scripted", image=base_image(), sandbox=SMALL, repo=base)
    argv = [sys.executable, "-c", PROGRAM, settings.state_dir, settings.runtime_dir, spec.model_dump_json()]
    keeper = Keeper(client, settings)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as dream:
        assert dream.stdout is not None
        assert dream.stdout.readline() == "ready\n"
        (there,) = containers(settings)
        keeper._sweep()
        assert containers(settings) == [there]
        with contextlib.closing(engine.client()) as docker:
            assert docker.api.inspect_container(there)["Config"]["Labels"][DREAM_LABEL] == base.project
        dream.kill()
    deadline = time.monotonic() + 30
    while containers(settings):
        keeper._sweep()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    keeper._sweep()
