from __future__ import annotations

import mmap
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from repos import UID

from sandbox.checkpoints import Checkpointer
from sandbox.errors import DiskFull, RevisionNotFound
from sandbox.fold import LARGEST, Inexact
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from repos import NewRepo, Opener, Repo, SmallDisk

    Opened = tuple[Path, Checkpointer]

pytestmark = pytest.mark.needs_root


@pytest.fixture
def opened(store: Store, repo: Repo, open_workspace: Opener) -> Opened:
    """Open a workspace on the small repository; return what a run sees of it, and its checkpoints."""
    workspace = open_workspace(store.import_commit(repo.path))
    return workspace.merged, Checkpointer(store, workspace)


def listed(store: Store, repo: Repo, tree: str) -> list[str]:
    return store.list_files(repo.project, tree)


def test_an_untouched_workspace_is_its_base(repo: Repo, opened: Opened) -> None:
    _, checkpoints = opened
    made = checkpoints.checkpoint(note="nothing")
    assert (made.tree, made.changes, made.patch, made.inexact) == (repo.git("rev-parse", "HEAD^{tree}"), (), b"", ())


def test_a_step_is_a_commit_on_the_one_before(store: Store, repo: Repo, opened: Opened) -> None:
    top, checkpoints = opened
    (top / "README.md").write_text("one\n")
    first = checkpoints.checkpoint(note="journal abc")
    (top / "new\x1b[31m").write_text("two\n")
    (top / "src/a.py").unlink()
    second = checkpoints.checkpoint(note="journal def")
    assert [(item.path, item.status) for item in first.changes] == [("README.md", "M")]
    assert [(item.path, item.status, item.added, item.removed) for item in second.changes] == [
        ("new\\x1b[31m", "A", 1, 0),
        ("src/a.py", "D", 0, 1),
    ]
    base = store.import_commit(repo.path)
    git_dir = store.git_dir(base.project)
    log = subprocess.run(
        ["git", "--git-dir", git_dir, "log", "--format=%H %T %s", second.commit],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert log[:2] == [f"{second.commit} {second.tree} journal def", f"{first.commit} {first.tree} journal abc"]
    assert log[2].startswith(base.commit)
    subprocess.run(["git", "--git-dir", git_dir, "fsck", "--full", "--strict"], check=True)
    assert store.compose(base.project, base.tree, [first.patch, second.patch]) == second.tree


def test_each_step_is_one_pack(store: Store, opened: Opened) -> None:
    top, checkpoints = opened
    packs = store.root.glob("*.git/objects/pack/*.pack")
    before = len(list(packs))
    for number in range(3):
        (top / f"src/{number}.py").write_text(f"{number}\n")
        checkpoints.checkpoint(note="step")
    assert len(list(store.root.glob("*.git/objects/pack/*.pack"))) == before + 3
    assert list(store.root.glob("*.git/objects/??")) == []


def test_a_resumed_run_goes_on_from_its_last_checkpoint(
    store: Store, repo: Repo, opened: Opened, open_workspace: Opener
) -> None:
    top, checkpoints = opened
    (top / "README.md").write_text("one\n")
    first = checkpoints.checkpoint(note="one")
    workspace = open_workspace(store.import_commit(repo.path), name="again", tree=first.tree)
    resumed = Checkpointer(store, workspace, parent=first.commit)
    (workspace.merged / "src/a.py").write_text("two\n")
    assert [item.path for item in resumed.checkpoint(note="two").changes] == ["src/a.py"]
    for unknown in ("0" * 40, first.tree):
        with pytest.raises(RevisionNotFound):
            Checkpointer(store, workspace, parent=unknown)


def test_a_change_right_after_a_checkpoint_is_seen(opened: Opened) -> None:
    top, checkpoints = opened
    seen = set()
    for number in range(40):
        # As long as before and within one tick of the clock: nothing but the content tells.
        (top / "README.md").write_text(f"{number:02}\n")
        seen.add(checkpoints.fold().tree)
    assert len(seen) == 40


def test_a_file_set_back_in_time_is_seen(opened: Opened) -> None:
    top, checkpoints = opened
    (top / "README.md").write_text("first\n")
    os.utime(top / "README.md", (1, 1))
    time.sleep(0.05)
    one = checkpoints.fold().tree
    (top / "README.md").write_text("other\n")
    os.utime(top / "README.md", (1, 1))
    assert checkpoints.fold().tree != one


def test_a_change_through_shared_memory_is_seen(opened: Opened) -> None:
    top, checkpoints = opened
    (top / "README.md").write_bytes(b"x" * 8192)
    time.sleep(0.05)
    seen = [checkpoints.fold().tree]
    with (top / "README.md").open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        for letter in b"abc":  # The first write touches the file's times, the others don't.
            memory[0] = letter
            time.sleep(0.05)
            seen.append(checkpoints.fold().tree)
    assert len(set(seen)) == 4


def test_ignored_new_paths_are_left_out_by_the_base_rules_alone(
    store: Store, new_repo: NewRepo, open_workspace: Opener
) -> None:
    repo = new_repo("ignoring")
    rules = "build/\n*.log\n!keep.log\n/out/*\n!/out/keep\n"
    repo.commit({".gitignore": rules, "src/.gitignore": "local\n", "src/a.log": "tracked\n", "build/tracked": "x\n"})
    workspace = open_workspace(store.import_commit(repo.path))
    top, checkpoints = workspace.merged, Checkpointer(store, workspace)
    for name in (
        "x.log",
        "keep.log",
        "local",
        "src/local",
        "venv/lib/x.log",
        "out/keep",
        "out/drop",
        "build/new",
        "a/build/x",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("new\n")
    (top / "src/a.log").write_text("changed\n")
    (top / "build/tracked").write_text("changed\n")
    (top / ".gitignore").write_text("*\n")
    made = checkpoints.checkpoint(note="x")
    assert [item.path for item in made.changes] == [
        ".gitignore",
        "build/tracked",
        "keep.log",
        "local",
        "out/keep",
        "src/a.log",
    ]
    again = open_workspace(store.import_commit(repo.path), name="again", tree=made.tree)
    assert Checkpointer(store, again).fold().tree == made.tree


def test_a_directory_moved_to_where_the_rules_bite(store: Store, new_repo: NewRepo, open_workspace: Opener) -> None:
    repo = new_repo("moving")
    repo.commit({".gitignore": "/build/\n*.log\n", "src/a.log": "1\n", "src/b.py": "2\n", "src/c/d.log": "3\n"})
    base = store.import_commit(repo.path)
    workspace = open_workspace(base)
    top, checkpoints = workspace.merged, Checkpointer(store, workspace)
    (top / "src").rename(top / "lib")
    moved = checkpoints.checkpoint(note="moved")
    assert store.list_files(base.project, moved.tree) == [".gitignore", "lib/b.py"]
    again = open_workspace(base, name="again", tree=moved.tree)
    assert Checkpointer(store, again).fold().tree == moved.tree
    (top / "lib").rename(top / "build")
    assert store.list_files(base.project, checkpoints.fold().tree) == [".gitignore"]
    (top / "build").rename(top / "src")
    assert checkpoints.fold().tree == base.tree


def test_hostile_patterns_end_in_time_and_are_said(store: Store, new_repo: NewRepo, open_workspace: Opener) -> None:
    repo = new_repo("slow")
    repo.commit({".gitignore": "".join(f"{'*a' * 60}*{n}b\n" for n in range(50))})
    workspace = open_workspace(store.import_commit(repo.path))
    checkpoints = Checkpointer(store, workspace)
    (workspace.merged / ("a" * 250)).write_text("x\n")
    start = time.monotonic()
    fold = checkpoints.fold()
    assert time.monotonic() - start < 20
    (workspace.merged / ("a" * 251)).write_text("x\n")
    assert checkpoints.fold().tree != fold.tree


def test_what_git_cannot_hold_is_left_out_and_named(store: Store, repo: Repo, opened: Opened) -> None:
    top, checkpoints = opened
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(top, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{here}/sock\x1b[1m")
        os.close(here)
    (top / "README.md").unlink()
    os.mkfifo(top / "README.md")
    (top / "vendor/.git").mkdir(parents=True)
    (top / "vendor/.git/config").write_text("[core]\n")
    (top / "vendor/x").write_text("x\n")
    (top / ".GIT").mkdir()
    with (top / "huge").open("wb") as file:
        file.truncate(LARGEST + 1)
    with (top / "src/a.py").open("wb") as file:
        file.truncate(LARGEST + 1)
    for _ in range(2):  # Said again at every checkpoint, not only when they appear.
        made = checkpoints.checkpoint(note="x")
        special, own = "neither a file, a link nor a directory", "git's own data, inside the workspace"
        assert made.inexact == (
            Inexact(".GIT", own),
            Inexact("README.md", special),
            Inexact("huge", "too large", LARGEST + 1),
            Inexact("pipe", special),
            Inexact("sock\\x1b[1m", special),
            Inexact("src/a.py", "too large", LARGEST + 1),
            Inexact("vendor/.git", own),
        )
        assert listed(store, repo, made.tree) == ["bin/run", "link", "src/a.py", "src/deep/b.py", "vendor/x"]


def test_sparse_files_hard_links_and_links_out(store: Store, repo: Repo, opened: Opened) -> None:
    top, checkpoints = opened
    with (top / "sparse").open("wb") as file:
        file.truncate(5_000_000)
    (top / "one").write_text("linked\n")
    os.link(top / "one", top / "two")
    (top / "out").symlink_to("/etc/shadow")
    made = checkpoints.checkpoint(note="x")
    project = repo.project
    assert store.read_file(project, made.tree, "out") == b"/etc/shadow"
    assert store.read_file(project, made.tree, "two") == b"linked\n"
    assert len(store.read_file(project, made.tree, "sparse") or b"") == 5_000_000
    assert made.inexact == ()


def test_directories_nested_without_end_do_not_break_it(opened: Opened) -> None:
    top, checkpoints = opened
    deep = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=deep)
        inner = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deep))
    os.close(deep)
    made = checkpoints.checkpoint(note="x")
    assert made.changes == ()
    assert [item.reason[:15] for item in made.inexact] == ["nested too deep"]


def test_the_reserved_names_are_never_folded(opened: Opened) -> None:
    top, checkpoints = opened
    (top / ".dreamdock/home/.bashrc").write_text("x\n")
    subprocess.run(["rm", "-rf", top / ".git"], check=True)
    made = checkpoints.checkpoint(note="x")
    assert (made.changes, made.inexact) == ((), ())


def test_a_submodule_stays_what_it_was(store: Store, repo: Repo, new_repo: NewRepo, open_workspace: Opener) -> None:
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    repo.git("submodule", "add", "-q", str(inner.path), "sub")
    repo.commit()
    base = store.import_commit(repo.path)
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace)
    (workspace.merged / "sub/file").write_text("x\n")
    made = checkpoints.checkpoint(note="x")
    assert (made.tree, made.inexact) == (base.tree, (Inexact("sub", "inside a submodule"),))
    (workspace.merged / "sub/file").unlink()
    (workspace.merged / "sub").rmdir()
    gone = checkpoints.checkpoint(note="y")
    assert [(item.path, item.status) for item in gone.changes] == [("sub", "D")]
    assert store.compose(base.project, base.tree, [gone.patch]) == gone.tree


def test_everything_deleted_is_the_empty_tree(store: Store, repo: Repo, opened: Opened) -> None:
    top, checkpoints = opened
    for item in top.iterdir():
        if item.name not in (".git", ".dreamdock"):
            subprocess.run(["rm", "-r", item], check=True)
    made = checkpoints.checkpoint(note="x")
    assert listed(store, repo, made.tree) == []
    base = store.import_commit(repo.path)
    assert store.compose(base.project, base.tree, [made.patch]) == made.tree
    assert store.compose(base.project, made.tree, [store.diff(base.project, made.tree, base.tree)]) == base.tree


def test_a_full_disk_keeps_the_checkpoint_before(repo: Repo, small_disk: SmallDisk, tmp_path: Path) -> None:
    store = Store(small_disk("3m") / "store")
    base = store.import_commit(repo.path)
    workspace = Workspace.create(store, base, tmp_path / "worker", name="w", uid=UID)
    try:
        checkpoints = Checkpointer(store, workspace)
        (workspace.merged / "README.md").write_text("kept\n")
        kept = checkpoints.checkpoint(note="kept")
        (workspace.merged / "large").write_bytes(os.urandom(4_000_000))
        with pytest.raises(DiskFull) as caught:
            checkpoints.checkpoint(note="lost")
        assert caught.value.hint
        assert not list(store.root.rglob("*tmp*"))
        assert not list(store.root.rglob("pack_git2*"))
        Checkpointer(store, workspace, parent=kept.commit)
        (workspace.merged / "large").unlink()
        assert checkpoints.checkpoint(note="after").tree == kept.tree
    finally:
        workspace.remove()


def test_paths_too_long_to_ask_about_do_not_stop_a_checkpoint(store: Store, repo: Repo, open_workspace: Opener) -> None:
    repo.commit({".gitignore": "*.log\n"})
    workspace = open_workspace(store.import_commit(repo.path))
    here = workspace.merged
    folder = os.open(here, os.O_RDONLY)
    for number in range(20):
        name = f"{number:02}" + "d" * 228
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("x.txt", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
    os.close(folder)
    checkpoint = Checkpointer(store, workspace).checkpoint(note="n")
    assert checkpoint.inexact, "what is nested too deep is named"
