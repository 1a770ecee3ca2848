from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repos import UID

from sandbox.errors import DiskFull, WorkspaceError
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from repos import NewRepo, Opener, Repo, SmallDisk

pytestmark = pytest.mark.needs_root


def mounts(below: Path) -> list[str]:
    """Return the mount table's lines that concern a directory."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {below}" in line]


def as_job(workspace: Workspace, *argv: str) -> str:
    """Run a command in the workspace as the job's account would, and return what it prints."""
    closed = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(argv, cwd=workspace.merged, user=UID, group=UID, env=closed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape")


@pytest.fixture
def reachable(tmp_path: Path) -> None:
    """Let the job's account through to the workspace; in production only a container gets there."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):  # noqa: S108  # Open to all already.
            folder.chmod(folder.stat().st_mode | 0o011)


def open_to_job(workspace: Workspace) -> None:
    for folder in (workspace.room, workspace.room.parent, workspace.room.parent.parent):
        folder.chmod(0o711)


def test_it_shows_the_commit_and_belongs_to_the_job(store: Store, repo: Repo, open_workspace: Opener) -> None:
    workspace = open_workspace(store.import_commit(repo.path))
    top = workspace.merged
    assert (top / "src/a.py").read_text() == "a = 1\n"
    assert (top / "link").readlink() == Path("src/a.py")
    assert stat.S_IMODE((top / "bin/run").stat().st_mode) == 0o755
    assert {path.lstat().st_uid for path in (top, *top.rglob("*"))} == {UID}
    assert stat.S_IMODE((top / ".dreamdock/home").stat().st_mode) == 0o700
    assert stat.S_IMODE(workspace.room.stat().st_mode) == 0o700


def test_mounts_are_closed_and_name_nothing_of_the_host(
    store: Store, repo: Repo, open_workspace: Opener, tmp_path: Path
) -> None:
    workspace = open_workspace(store.import_commit(repo.path))
    room, disk, slot, overlay = mounts(tmp_path)
    for closed in (room, disk, slot):
        assert {"nosuid", "nodev", "noexec"} <= set(closed.split()[5].split(","))
    assert slot.split()[3] == "/", "where the slot lies on the host would show in the container"
    assert slot.split()[5].startswith("ro,")
    assert {"nosuid", "nodev"} <= set(overlay.split()[5].split(","))
    options = overlay.partition(" - overlay ")[2]
    assert str(tmp_path) not in options
    assert "small" not in options
    assert "redirect_dir=on" in options.split(",")
    assert (workspace.merged / "bin/run").exists()


@pytest.mark.usefixtures("reachable")
def test_programs_in_it_run(store: Store, repo: Repo, open_workspace: Opener) -> None:
    workspace = open_workspace(store.import_commit(repo.path))
    open_to_job(workspace)
    (workspace.merged / "new").write_text("#!/bin/sh\necho ran\n")
    (workspace.merged / "new").chmod(0o755)
    assert as_job(workspace, "./new") == "ran\n"


@pytest.mark.usefixtures("reachable")
def test_its_git_is_whole_clean_and_knows_nothing_of_the_source(
    store: Store, repo: Repo, open_workspace: Opener
) -> None:
    repo.git("remote", "add", "origin", "https://secret.example/x.git")
    base = store.import_commit(repo.path)
    workspace = open_workspace(base)
    open_to_job(workspace)
    assert as_job(workspace, "git", "status", "--porcelain") == ""
    assert as_job(workspace, "git", "rev-parse", "HEAD^{tree}").strip() == base.tree
    assert as_job(workspace, "git", "log", "--format=%s") == "Base of this run\n"
    assert as_job(workspace, "git", "remote") == ""
    assert "secret" not in as_job(workspace, "git", "config", "--list", "--show-origin")
    assert not (workspace.merged / ".git/hooks").exists()
    (workspace.merged / "README.md").write_text("changed\n")
    assert as_job(workspace, "git", "status", "--porcelain") == " M README.md\n"
    as_job(workspace, "git", "commit", "-qam", "mine")
    as_job(workspace, "git", "fsck", "--full", "--strict")


@pytest.mark.usefixtures("reachable")
def test_files_are_byte_for_byte_what_the_commit_has(store: Store, new_repo: NewRepo, open_workspace: Opener) -> None:
    repo = new_repo("raw")
    files: dict[str | bytes, str | bytes] = {
        ".gitattributes": "*.txt text eol=crlf\n*.id ident\n*.lfs filter=lfs\n*.u16 working-tree-encoding=UTF-16\n",
        "a.txt": "unix\n",
        "b.id": "$Id$\n",
        "c.lfs": "version https://git-lfs.github.com/spec/v1\n",
        "d.u16": "text\n".encode("utf-16"),
        "Case": "1\n",
        "case": "2\n",
        b"\xff\n\x1b[2J": "odd\n",
        "git~1": "3\n",
        "sp ace ": "4\n",
    }
    repo.commit(files)
    workspace = open_workspace(store.import_commit(repo.path))
    open_to_job(workspace)
    files["d.u16"] = "text\n"  # That is what the commit has: git converted it.
    for name, content in files.items():
        assert (workspace.merged / os.fsdecode(name)).read_bytes() == os.fsencode(content)
    assert as_job(workspace, "git", "status", "--porcelain") == ""


def test_submodules_are_empty_directories(store: Store, repo: Repo, new_repo: NewRepo, open_workspace: Opener) -> None:
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    repo.git("submodule", "add", "-q", str(inner.path), "sub")
    repo.commit()
    workspace = open_workspace(store.import_commit(repo.path))
    assert list((workspace.merged / "sub").iterdir()) == []


def test_a_commit_without_files(store: Store, new_repo: NewRepo, open_workspace: Opener) -> None:
    repo = new_repo("bare-bones")
    repo.commit()
    workspace = open_workspace(store.import_commit(repo.path))
    assert sorted(item.name for item in workspace.merged.iterdir()) == [".dreamdock", ".git"]


def test_changes_stay_in_the_workspace_and_go_with_it(store: Store, repo: Repo, open_workspace: Opener) -> None:
    base = store.import_commit(repo.path)
    first, second = open_workspace(base, "first"), open_workspace(base, "second")
    (first.merged / "README.md").write_text("mine\n")
    (first.merged / "src").rename(first.merged / "moved")
    assert (second.merged / "README.md").read_text() == "hello\n"
    first.remove()
    first.remove()
    assert not first.room.exists()
    assert (open_workspace(base, "first").merged / "src/a.py").exists()


def test_it_starts_from_any_tree(store: Store, repo: Repo, open_workspace: Opener) -> None:
    base = store.import_commit(repo.path)
    (repo.path / "link").unlink()
    subprocess.run(["rm", "-r", repo.path / "src/deep"], check=True)
    (repo.path / "README.md").unlink()
    repo.commit({"README.md/now": "a directory\n", "src/deep": "now a file\n", "fresh/x": "x\n"})
    tree = store.import_commit(repo.path).tree
    workspace = open_workspace(base, tree=tree)
    top = workspace.merged
    found = [str(path.relative_to(top)) for path in sorted(top.rglob("*")) if path.is_file() or path.is_symlink()]
    assert [path for path in found if not path.startswith(".")] == store.list_files(base.project, tree)
    assert {path.lstat().st_uid for path in top.rglob("*")} == {UID}


def test_a_workspace_in_use_is_never_detached(store: Store, repo: Repo, open_workspace: Opener) -> None:
    workspace = open_workspace(store.import_commit(repo.path))
    with (workspace.merged / "README.md").open():
        with pytest.raises(WorkspaceError, match="still in use") as caught:
            workspace.remove()
        assert caught.value.hint
        assert (workspace.merged / "README.md").exists()
    workspace.unmount()
    assert list(workspace.merged.iterdir()) == []


def test_what_a_killed_worker_left_is_cleared_by_name(
    store: Store, repo: Repo, open_workspace: Opener, tmp_path: Path
) -> None:
    base = store.import_commit(repo.path)
    left = open_workspace(base)
    (left.merged / "README.md").write_text("half done\n")
    left.lock.close()
    again = open_workspace(base)
    assert (again.merged / "README.md").read_text() == "hello\n"
    Workspace.discard(tmp_path / "worker", "w")
    assert mounts(tmp_path) == []


def test_a_sweep_removes_what_nobody_holds(store: Store, repo: Repo, open_workspace: Opener, tmp_path: Path) -> None:
    base = store.import_commit(repo.path)
    assert Workspace.sweep(tmp_path / "worker") == []
    living, killed, used = (open_workspace(base, name) for name in ("living", "killed", "used"))
    (killed.merged / "README.md").write_text("half done\n")
    killed.lock.close()
    used.lock.close()
    with (used.merged / "README.md").open():
        assert Workspace.sweep(tmp_path / "worker") == ["killed"]
    assert not killed.room.exists()
    assert (living.merged / "README.md").exists()
    assert Workspace.sweep(tmp_path / "worker") == ["used"]


def test_a_killed_process_lets_go_of_its_workspace(store: Store, repo: Repo, tmp_path: Path) -> None:
    base = store.import_commit(repo.path)
    root = tmp_path / "worker"
    child = os.fork()
    if child == 0:
        Workspace.create(store, base, root, name="w", uid=UID)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(mounts(root)) == 4
    assert Workspace.sweep(root) == ["w"]
    assert mounts(root) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a,b", "a:b", ".", "x" * 65])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="can't name a workspace"):
        Workspace.discard(tmp_path, name)


def test_the_checkout_is_made_once_however_many_ask(store: Store, repo: Repo, tmp_path: Path) -> None:
    base = store.import_commit(repo.path)
    root = tmp_path / "worker"
    (root / "pristine").mkdir(parents=True)
    made: list[Workspace] = []
    threads = [
        threading.Thread(target=lambda n=n: made.append(Workspace.create(store, base, root, name=f"w{n}", uid=UID)))
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    places = {workspace.pristine.tree for workspace in made}
    for workspace in made:
        workspace.remove()
    assert len(made) == 5
    assert len(places) == 1
    assert [item.name for item in (root / "pristine").iterdir() if item.is_dir()] == [places.pop().parent.name]


def test_a_half_made_checkout_is_thrown_away(store: Store, repo: Repo, open_workspace: Opener) -> None:
    base = store.import_commit(repo.path)
    first = open_workspace(base)
    first.remove()
    place = first.pristine.tree.parent
    half = place.with_name(f"{place.name}.part")
    place.rename(half)
    (half / "tree/README.md").write_text("half written\n")
    assert (open_workspace(base).merged / "README.md").read_text() == "hello\n"
    assert not half.exists()


def test_a_directory_nested_too_deep_for_recursion_is_removed(store: Store, repo: Repo, open_workspace: Opener) -> None:
    workspace = open_workspace(store.import_commit(repo.path))
    deep = os.open(workspace.merged, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    workspace.remove()
    assert not workspace.room.exists()


def test_a_full_disk_leaves_nothing_half_made(repo: Repo, tmp_path: Path, small_disk: SmallDisk) -> None:
    store = Store(tmp_path / "store")
    repo.commit({"large": os.urandom(3_000_000)})
    base = store.import_commit(repo.path)
    root = small_disk("4m")
    with pytest.raises(DiskFull) as caught:
        Workspace.create(store, base, root, name="w", uid=UID)
    assert caught.value.hint
    assert [item.name for item in root.rglob("*") if item.is_dir()] == ["pristine"]


def test_a_full_disk_while_a_tree_is_put_down(repo: Repo, tmp_path: Path, small_disk: SmallDisk) -> None:
    store = Store(tmp_path / "store")
    base = store.import_commit(repo.path)
    repo.commit({"large": os.urandom(3_000_000)})
    tree = store.import_commit(repo.path).tree
    root = small_disk("2m")
    with pytest.raises(DiskFull):
        Workspace.create(store, base, root, name="w", uid=UID, tree=tree)
    assert list((root / "open").iterdir()) == []
    Workspace.create(store, base, root, name="w", uid=UID).remove()


def test_a_cached_checkout_opens_at_once(store: Store, repo: Repo, open_workspace: Opener) -> None:
    base = store.import_commit(repo.path)
    open_workspace(base).remove()
    fastest = 1.0
    for _ in range(5):
        start = time.perf_counter()
        open_workspace(base)
        fastest = min(fastest, time.perf_counter() - start)
    assert fastest < 0.05
