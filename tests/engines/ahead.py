"""What is started ahead where a worker may not mount; run as `unmounting.py` is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING

from repos import Repo
from unmounting import LABELS, SPEC, main, say

from benchmarks.stack import own_stack
from orchestrator.events import SandboxReady
from orchestrator.runs import STACK_LABEL, Outcome
from sandbox import engine
from sandbox.cache import evict
from sandbox.container import POOL_LABEL, leftovers
from sandbox.open import open_sandbox
from sandbox.pool import Pool
from sandbox.setup import SetUp
from sandbox.spec import HOME, JOB_UID, Base, SetupSpec
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.store import Store

AS_COLD = f"one\nthree\n. {JOB_UID} 755\n{HOME} {JOB_UID} 700\n"
EDITED = " M a.txt\n D src/b.txt\n D src/deep/c.txt\n"


def started_ahead(store: Store, base: Base, root: Path) -> None:
    """A commit's second sandbox was started ahead, and is what a cold one would be; a rewind puts a cold one there."""
    with ahead(root) as pool:
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            cold = box.container_id
            box.run("echo two >a.txt")
            step = box.checkpoint(note="1")
        (warm,) = ready(1)
        assert warm != cold
        with open_sandbox(SPEC, store, base, root, pool=pool, tree=step.tree) as box:
            assert box.container_id != warm
            say(box, "cat a.txt", "two\n")
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            assert box.container_id == warm
            say(box, "git status --short; cat a.txt src/deep/c.txt; stat -c '%n %u %a' . ~; ls -A ~", AS_COLD)
            say(
                box, "echo two >a.txt; rm -r src; mkdir build; echo i >build/i; echo h >~/h; git status --short", EDITED
            )
            again = box.checkpoint(note="1")
            assert {(change.path, change.status) for change in again.changes} == {
                ("a.txt", "M"),
                ("src/b.txt", "D"),
                ("src/deep/c.txt", "D"),
            }
            box.rewind(step.commit)
            assert box.container_id not in (warm, *ready(1))
            say(box, "cat a.txt; ls src; cat build/i ~/h", "two\nb.txt\ndeep\ni\nh\n")
            assert box.checkpoint(note="2").tree == step.tree
        assert warm not in ready(1), "none is given twice"


def other_commits(store: Store, base: Base, root: Path) -> None:
    """Another commit is cold at first. What lies below a warm one stays in the cache until its kind is given up."""
    other, third = (commit(store, root, f"{word}\n") for word in ("other", "third"))
    pristine = root / "pristine"
    with ahead(root) as pool:
        with open_sandbox(SPEC, store, base, root, pool=pool):
            pass
        ready(1)
        assert evicted(pristine) == {}
        before = running()
        with open_sandbox(SPEC, store, other, root, pool=pool) as box:
            assert box.container_id not in before
            say(box, "cat a.txt", "other\n")
        warm = ready(2)
        assert evicted(pristine) == {}
        for one, text in ((base, "one\n"), (other, "other\n")):
            with open_sandbox(SPEC, store, one, root, pool=pool) as box:
                assert box.container_id in warm
                say(box, "cat a.txt", text)
                assert box.checkpoint(note="1").tree == one.tree
        ready(2)
        assert evicted(pristine) == {}
        with open_sandbox(SPEC, store, third, root, pool=pool):
            pass
        until(lambda: len(evicted(pristine)) == 1)
        ready(2)
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            say(box, "cat a.txt", "one\n")
    assert len(evicted(pristine)) == 3


def set_up_ahead(store: Store, base: Base, root: Path) -> None:
    """What set-up made shows in one that was started ahead, and isn't taken for the commit alone."""
    spec = SetupSpec(**SPEC.model_dump(), commands=("mkdir build; echo made >build/x; echo set >~/set",))
    with ahead(root) as pool:
        layer = SetUp(spec, store, base, root).layer()
        with open_sandbox(SPEC, store, base, root, layer=layer, pool=pool):
            pass
        layer.held.release()
        (warm,) = ready(1)
        assert evicted(root / "layers") == {}
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            assert box.container_id != warm
            say(box, "ls", "a.txt\nsrc\n")
        layer = SetUp(spec, store, base, root).layer()
        with open_sandbox(SPEC, store, base, root, layer=layer, pool=pool) as box:
            assert box.container_id == warm
            say(box, "cat build/x ~/set; echo more >>build/x; cat build/x", "made\nset\nmade\nmore\n")
            assert box.checkpoint(note="1").tree == base.tree
        layer.held.release()
        assert evicted(root / "layers") == {}
    assert len(evicted(root / "layers")) == 1


def killed(store: Store, base: Base, root: Path) -> None:
    """Of a worker that is killed, and of a pool, nothing stays once the keeper has looked."""
    reads, writes = os.pipe()
    worker = os.fork()
    if not worker:
        pool = ahead(root)
        pool.ensure()
        with open_sandbox(SPEC, store, base, root, pool=pool):
            pass
        ready(1)
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            ready(2)
            os.write(writes, box.container_id.encode())
            time.sleep(1000)
    claimed = os.read(reads, 64).decode()
    assert claimed in running()
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    until(lambda: running() == [] and running(all=True) == [claimed])
    reap(root)
    with ahead(root) as pool:
        with open_sandbox(SPEC, store, base, root, pool=pool):
            pass
        (warm,) = ready(1)
        os.kill(pool.pid, signal.SIGKILL)
        until(lambda: running() == [])
        with open_sandbox(SPEC, store, base, root, pool=pool) as box:
            assert box.container_id != warm
            say(box, "cat a.txt", "one\n")
        reap(root)
        pool.ensure()
        with open_sandbox(SPEC, store, base, root, pool=pool):
            pass
        ready(1)


def whole_runs(_store: Store, _base: Base, root: Path) -> None:
    """A commit's second run begins in a sandbox that was started ahead; one that takes too much ends."""
    repo = Repo(root.parent / "source")
    repo.commit({"dreamdock.toml": "[sandbox]\nworkspace_mb = 16\n"})
    script = root.parent / "script.jsonl"
    commands = ("echo two >a.txt", "head -c 20000000 /dev/urandom >~/filler")
    calls = [{"name": "bash", "arguments": {"command": command}} for command in commands]
    script.write_text("".join(json.dumps({"text": "next", "calls": [call]}) + "\n" for call in calls))
    with own_stack({}) as stack:
        LABELS[STACK_LABEL] = stack.settings.stack_id
        del LABELS["test"]
        warm: list[str] = []
        for _ in range(2):
            run = stack.detached(script, repo.path)
            code, view = stack("wait", run).returncode, stack.door.show(run).view
            assert (code, view.outcome, view.step) == (7, Outcome.LIMIT, 1), view.reason
            assert "takes too much" in view.reason
            assert b"+two" in stack.door.diff(run)
            (box,) = (event.body for event in stack.door.events(run) if isinstance(event.body, SandboxReady))
            assert box.policy["workspace"].startswith("16 MiB")
            assert not warm or box.container in warm
            warm = ready(1)


def ahead(root: Path) -> Pool:
    """Return a pool that keeps one of each kind."""
    return Pool(root, size=1, first=SPEC, labels=LABELS)


def running(*, all: bool = False) -> list[str]:  # noqa: A002  # The engine's word.
    """Return the pool's containers, claimed or not."""
    with contextlib.closing(engine.client()) as client:
        label = {"label": [POOL_LABEL, *(f"{name}={value}" for name, value in LABELS.items())]}
        return [item["Id"] for item in client.api.containers(all=all, filters=label)]


def ready(count: int) -> list[str]:
    """Wait until so many of the pool's containers are there."""
    until(lambda: len(running()) == count)
    time.sleep(0.5)  # From a start to the runner's word.
    return running()


def evicted(folder: Path) -> dict[str, int]:
    """Evict all that nobody holds, whether it shows in this mount table that it's in use or not."""
    return evict(folder, 0, in_use=lambda _: False)


def until(what: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reap(root: Path) -> None:
    """Do what the keeper does, and require that nothing is left."""
    for left in leftovers():
        if left.labels.get("test") == LABELS["test"]:
            left.remove()
    Workspace.sweep(root)
    assert running(all=True) == []
    assert list((root / "open").iterdir()) == []


def commit(store: Store, root: Path, text: str) -> Base:
    """Commit once more."""
    repo = Repo(root.parent / "source")
    repo.commit({"a.txt": text})
    return store.import_commit(repo.path)


if __name__ == "__main__":
    main(globals())
