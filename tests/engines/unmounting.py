"""What a worker that may not mount does: `setpriv … python unmounting.py NAME FOLDER` runs one function of it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repos import Repo

from sandbox import engine
from sandbox.cache import evict
from sandbox.errors import ChannelLost, WorkspaceError, WorkspaceFull
from sandbox.images import base_image
from sandbox.mounts import may_mount, volume_options
from sandbox.open import Sandbox, open_sandbox
from sandbox.setup import SetUp
from sandbox.spec import Base, Limits, SandboxSpec, SetupSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def say(box: Sandbox, command: str, wanted: str) -> None:
    """Run a command and require what it prints."""
    found = box.run(command).output.decode()
    assert found == wanted, found


def main(known: Mapping[str, Callable[[Store, Base, Path], None]]) -> None:
    """Run one of them, and look at what it leaves with the engine."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    assert os.geteuid() == 0
    assert not may_mount()
    repo = Repo(folder / "source")
    repo.commit({"a.txt": "one\n", "src/b.txt": "two\n", "src/deep/c.txt": "three\n", ".gitignore": "build/\n"})
    store = Store(folder / "store")
    with contextlib.closing(engine.client()) as client:
        before = {volume["Name"] for volume in client.api.volumes()["Volumes"] or ()}
        known[name](store, store.import_commit(repo.path), folder / "spaces")
        mine = {"label": [f"{name}={value}" for name, value in LABELS.items()]}
        assert client.api.containers(all=True, filters=mine) == []
        after = [volume for volume in client.api.volumes()["Volumes"] or () if volume["Name"] not in before]
        assert [volume for volume in after if str(folder) in str(volume.get("Options"))] == []


if __name__ == "__main__":
    main(globals())
