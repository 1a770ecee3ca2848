from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import engine
from sandbox.errors import ChannelLost, ImageMissing
from sandbox.images import base_image
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.spec import Base
    from sandbox.store import Store

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_root]


@pytest.fixture
def spec(request: pytest.FixtureRequest) -> SandboxSpec:
    return SandboxSpec(image=base_image(), labels={"test": request.node.name[:60]})


@pytest.fixture
def base(store: Store, new_repo: Callable[..., object]) -> Base:
    repo = new_repo("source")
    repo.commit({"a.txt": "one\n", "src/b.txt": "two\n"})  # type: ignore[attr-defined]  # The fixture's own class.
    return store.import_commit(repo.path)  # type: ignore[attr-defined]  # As above.


def left_behind(spec: SandboxSpec, root: Path) -> list[str]:
    with contextlib.closing(engine.client()) as client:
        label = f"test={spec.labels['test']}"
        found = [item["Id"] for item in client.api.containers(all=True, filters={"label": label})]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    rooms = list((root / "open").iterdir()) if (root / "open").is_dir() else []
    return found + [mount for mount in mounts if mount.startswith(str(root))] + [str(room) for room in rooms]


def test_a_sandbox_shows_the_commit_and_a_checkpoint_holds_what_changed(
    store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    with open_sandbox(spec, store, base, root) as box:
        assert box.run("cat a.txt src/b.txt; git status --short; git log --oneline | wc -l").output == b"one\ntwo\n1\n"
        box.run("echo more >>a.txt; rm src/b.txt; mkdir new; echo three >new/c.txt; echo secret >~/x; git add -A")
        first = box.checkpoint(note="step 1")
        assert {(change.path, change.status) for change in first.changes} == {
            ("a.txt", "M"),
            ("src/b.txt", "D"),
            ("new/c.txt", "A"),
        }
        box.write("a.txt", b"other\n")
        second = box.checkpoint(note="step 2")
        assert [change.path for change in second.changes] == ["a.txt"]
        assert len(box.container_id) == 64
        assert box.image_id.startswith("sha256:")
    assert left_behind(spec, root) == []
    assert store.read_file(base.project, second.tree, "a.txt") == b"other\n"


def test_a_sandbox_on_a_tree_goes_on_from_there(store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> None:
    with open_sandbox(spec, store, base, tmp_path / "spaces") as box:
        box.run("echo more >>a.txt; rm -r src")
        tree = box.checkpoint(note="step 1").tree
    with open_sandbox(spec, store, base, tmp_path / "spaces", tree=tree) as box:
        assert box.run("cat a.txt; ls").output == b"one\nmore\na.txt\n"
        box.run("echo last >>a.txt")
        again = box.checkpoint(note="step 2")
    assert again.patch.count(b"\n+") == 2, "the patch is against the tree, not the base"
    assert store.compose(base.project, tree, [again.patch]) == again.tree


def test_a_kill_ends_the_step_and_leaves_nothing(store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> None:
    root = tmp_path / "spaces"
    with pytest.raises(ChannelLost), open_sandbox(spec, store, base, root) as box:  # noqa: PT012  # The way out is tested.
        box.run("(while :; do echo x >>a.txt; done) &")
        threading.Timer(0.2, box.kill).start()
        while True:
            box.checkpoint(note="step")
    assert left_behind(spec, root) == []


def test_a_sandbox_that_cant_be_opened_leaves_nothing(
    store: Store, base: Base, spec: SandboxSpec, tmp_path: Path
) -> None:
    root = tmp_path / "spaces"
    missing = spec.model_copy(update={"image": "no-such-image:1"})
    with pytest.raises(ImageMissing), open_sandbox(missing, store, base, root):
        pytest.fail("it can't be open")
    assert left_behind(spec, root) == []


def test_the_workspace_has_the_jobs_rights_alone(store: Store, base: Base, spec: SandboxSpec, tmp_path: Path) -> None:
    with open_sandbox(spec, store, base, tmp_path / "spaces") as box:
        result = box.run("find . -not -user 61357; cp /bin/ls own && chmod u+s own && ./own -d own; echo $HOME")
        assert result.output == b"own\n/workspace/.dreamdock/home\n"


def test_work_that_is_done_is_not_lost_because_its_workspace_cannot_be_removed_yet(
    store: Store, base: Base, spec: SandboxSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "spaces"
    with open_sandbox(spec, store, base, root) as box:
        box.checkpoint(note="step 1")
        held = (box._workspace.merged / "a.txt").open()
    assert "a workspace can't be removed: the workspace is still in use" in caplog.text
    held.close()
    box.close()
    assert left_behind(spec, root) == []
