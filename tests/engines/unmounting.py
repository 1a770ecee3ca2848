"""What a worker that may not mount does: `setpriv … python unmounting.py NAME FOLDER` runs one function of it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repos import Repo

from sandbox import engine
from sandbox.cache import evict
from sandbox.container import POOL_LABEL, leftovers
from sandbox.errors import ChannelLost, WorkspaceError, WorkspaceFull
from sandbox.images import base_image
from sandbox.mounts import may_mount, volume_options
from sandbox.open import Sandbox, open_sandbox
from sandbox.pool import Pool
from sandbox.setup import SetUp
from sandbox.spec import HOME, JOB_UID, Base, Limits, SandboxSpec, SetupSpec
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = {"test": f"unmounting-{os.getpid()}"}
SPEC = SandboxSpec(image=base_image(), labels=LABELS)


def steps_and_rewinds(store: Store, base: Base, root: Path) -> None:
    """Checkpoints and rewinds are exact, though the container is another one after each."""
    with open_sandbox(SPEC, store, base, root) as box:
        say(box, "test -d .git && cat a.txt && cd src && export WORD=kept", "one\n")
        box.run("echo more >>../a.txt; rm b.txt; rm -r deep; mkdir deep ../build; echo n >deep/n; echo i >../build/i")
        first = box.checkpoint(note="1")
        changes = {(change.path, change.status) for change in first.changes}
        wanted = {("a.txt", "M"), ("src/b.txt", "D"), ("src/deep/c.txt", "D"), ("src/deep/n", "A")}
        assert changes == wanted, changes
        before = box.container_id
        say(box, "cd ..; mv src lib && rm a.txt && ln -s lib/deep l && ls lib/deep && echo h >~/h", "n\n")
        second = box.checkpoint(note="2")
        assert box.rewind(first.commit, shell=first.shell).tree == first.tree
        assert box.container_id != before
        say(
            box,
            "pwd; echo $WORD; ls deep; ls ..; cat ../build/i ~/h",
            "/workspace/src\nkept\nn\na.txt\nbuild\nsrc\ni\nh\n",
        )
        assert box.checkpoint(note="3").tree == first.tree
        box.rewind(second.commit)
        say(box, "find . -name n; cat l/n; ls -A build", "./lib/deep/n\nn\ni\n")
        assert box.checkpoint(note="4").tree == second.tree
        box.rewind(base.commit)
        assert box.checkpoint(note="5").tree == base.tree
    assert list((root / "open").iterdir()) == []


def marks_cant_be_forged(store: Store, base: Base, root: Path) -> None:
    """What the job writes into attributes of the overlay's names hides nothing and leads nowhere."""
    forge = (
        'python3 -c \'import os; os.mkdir("fake"); os.setxattr("src", "user.overlay.opaque", b"y")\n'
        'os.setxattr("fake", "user.overlay.redirect", b"/src")\' 2>/dev/null; touch fake/x; ls src'
    )
    with open_sandbox(SPEC, store, base, root) as box:
        say(box, forge, "b.txt\ndeep\n")
        forged = box.checkpoint(note="1")
        assert {(change.path, change.status) for change in forged.changes} == {("fake/x", "A")}
        box.rewind(forged.commit)
        say(box, "ls src fake", "fake:\nx\n\nsrc:\nb.txt\ndeep\n")


def set_up(store: Store, base: Base, root: Path) -> None:
    """Set-up makes a layer that shows below, and stays over a rewind."""
    spec = SetupSpec(**SPEC.model_dump(), commands=("mkdir build; echo made >build/x",))
    layer = SetUp(spec, store, base, root).layer()
    with open_sandbox(SPEC, store, base, root, layer=layer) as box:
        say(box, "cat build/x; echo more >>build/x; cat build/x", "made\nmade\nmore\n")
        box.rewind(base.commit)
        say(box, "cat build/x", "made\nmore\n")
    layer.held.release()


def a_kill(store: Store, base: Base, root: Path) -> None:
    """A kill ends the container that there is, also the one that a rewind has started."""
    with open_sandbox(SPEC, store, base, root) as box:
        box.rewind(base.commit)
        box.kill()
        with pytest.raises(ChannelLost):
            box.run("true")


def a_limit(store: Store, base: Base, root: Path) -> None:
    """A step, or set-up, that leaves more than the limit is refused, wherever that lies; the steps before it stay."""
    limits = Limits(workspace_mb=16, memory_mb=256)
    fill, spec = "head -c 20000000 /dev/urandom", SPEC.model_copy(update={"limits": limits})
    for place in ("filler", "build/x", "~/filler"):
        with open_sandbox(spec, store, base, root) as box:
            box.run("head -c 12000000 /dev/urandom >new")
            step = box.checkpoint(note="1")
            assert box.run(f"rm new; mkdir build; {fill} >{place}").exit_code == 0
            for _ in range(2):
                with pytest.raises(WorkspaceFull, match="takes too much") as caught:
                    box.checkpoint(note="2")
            assert "16 MiB" in caught.value.cause
            box.run(f"rm {place}")
            assert [change.path for change in box.checkpoint(note="2").changes] == ["new"]
        with open_sandbox(spec, store, base, root, tree=step.tree) as box:
            say(box, "stat -c %s new", "12000000\n")
    setup = SetupSpec(**spec.model_dump(), commands=(f"mkdir build; {fill} >build/x",))
    with pytest.raises(WorkspaceFull, match="takes too much"):
        SetUp(setup, store, base, root).layer()
    assert evict(root / "layers", 0) == {}


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


def odd_names(store: Store, base: Base, root: Path) -> None:
    """A state directory that can't be named in the options of a mount is refused in words."""
    odd = root.with_name("a,b")
    with pytest.raises(WorkspaceError, match="can't mount"), open_sandbox(SPEC, store, base, odd):
        pass
    assert list((odd / "open").iterdir()) == []
    with pytest.raises(WorkspaceError):
        volume_options(Path("/a:b"), lower="l", upper="u", work="w")


def podman_refuses(store: Store, base: Base, root: Path) -> None:
    """Podman passes over the options of a container's volume: that is said, nothing is started."""
    with pytest.raises(WorkspaceError, match="Podman can't mount"), open_sandbox(SPEC, store, base, root):
        pass
    assert list((root / "open").iterdir()) == []


AS_COLD = f"one\nthree\n. {JOB_UID} 755\n{HOME} {JOB_UID} 700\n"
EDITED = " M a.txt\n D src/b.txt\n D src/deep/c.txt\n"


def ahead(root: Path) -> Pool:
    """Return a pool that keeps one of each kind."""
    return Pool(root, size=1, first=SPEC, labels=LABELS)


def running(*, all: bool = False) -> list[str]:  # noqa: A002  # The engine's word.
    """Return the pool's containers, claimed or not."""
    with contextlib.closing(engine.client()) as client:
        label = {"label": [POOL_LABEL, f"test={LABELS['test']}"]}
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


def say(box: Sandbox, command: str, wanted: str) -> None:
    """Run a command and require what it prints."""
    found = box.run(command).output.decode()
    assert found == wanted, found


def main() -> None:
    """Run one of them, and look at what it leaves with the engine."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    assert os.geteuid() == 0
    assert not may_mount()
    repo = Repo(folder / "source")
    repo.commit({"a.txt": "one\n", "src/b.txt": "two\n", "src/deep/c.txt": "three\n", ".gitignore": "build/\n"})
    store = Store(folder / "store")
    with contextlib.closing(engine.client()) as client:
        before = {volume["Name"] for volume in client.api.volumes()["Volumes"] or ()}
        globals()[name](store, store.import_commit(repo.path), folder / "spaces")
        mine = {"label": f"test={LABELS['test']}"}
        assert client.api.containers(all=True, filters=mine) == []
        after = [volume for volume in client.api.volumes()["Volumes"] or () if volume["Name"] not in before]
        assert [volume for volume in after if str(folder) in str(volume.get("Options"))] == []


if __name__ == "__main__":
    main()
