"""Each kind of repository that a run can start from: what it takes along, what it doesn't, and how that is told."""

from __future__ import annotations

import os
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.bigrepo import DIRECTORIES, big_repo, paths
from sandbox.checkpoints import Checkpointer
from sandbox.errors import RevisionNotFound, WorkspaceError
from sandbox.fold import Inexact
from sandbox.incoming import add_boundary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repos import NewRepo, Opener, Repo

    from sandbox.store import Store

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"


def clone(source: Repo, target: Path, *options: str) -> Path:
    argv = ["git", "-c", "protocol.file.allow=always", "clone", "-q", *options, source.path.as_uri(), str(target)]
    subprocess.run(argv, check=True, capture_output=True)
    return target


def git(*args: str | Path, at: Path) -> str:
    identity = {f"GIT_{role}_{key}": "u" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    done = subprocess.run(["git", "-C", at, *args], check=True, capture_output=True, env=os.environ | identity)
    return done.stdout.decode().strip()


@pytest.fixture
def www(tmp_path: Path) -> Iterator[str]:
    """Serve `tmp_path/www` over plain HTTP and yield its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    (tmp_path / "www").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("dirty", [False, True])
def test_a_repository_without_a_commit_is_refused_with_what_to_do(store: Store, new_repo: NewRepo, dirty: bool) -> None:
    repo = new_repo("empty")
    repo.write({"a.py": "a\n"})
    with pytest.raises(RevisionNotFound, match="no commit yet") as caught:
        store.import_commit(repo.path, dirty=dirty)
    assert caught.value.hint.endswith("git add -A && git commit --allow-empty -m start")
    assert store.project_of(repo.path) is None
    hinted = "git add -A && git -c user.name=u -c user.email=u commit --allow-empty -m start"
    subprocess.run(hinted, shell=True, cwd=repo.path, check=True, capture_output=True)  # noqa: S602  # As it's hinted.
    base = store.import_commit(repo.path, dirty=dirty)
    assert store.list_files(base.project, base.tree) == ["a.py"]


def test_an_empty_repository_behind_a_url_is_refused(store: Store, www: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "www/empty.git"], check=True)
    git("update-server-info", at=tmp_path / "www/empty.git")
    with pytest.raises(RevisionNotFound) as caught:
        store.import_commit(f"{www}/empty.git")
    assert caught.value.hint


def test_submodules_are_named_and_what_a_run_puts_there_is_told(store: Store, repo: Repo, new_repo: NewRepo) -> None:
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    plain = store.import_commit(repo.path)
    repo.git("submodule", "add", "-q", str(inner.path), "libs/sub\x1b[31m")
    repo.commit()
    base = store.import_commit(repo.path)
    assert store.foreign(base.project, base.tree).submodules == ("libs/sub\\x1b[31m",)
    assert store.foreign(base.project, plain.tree).submodules == ()


@pytest.mark.needs_root
def test_a_submodule_is_an_empty_directory_to_a_run(
    store: Store, repo: Repo, new_repo: NewRepo, open_workspace: Opener
) -> None:
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    repo.git("submodule", "add", "-q", str(inner.path), "sub")
    repo.commit()
    base = store.import_commit(repo.path)
    workspace = open_workspace(base)
    checkpoints = Checkpointer(store, workspace)
    assert list((workspace.merged / "sub").iterdir()) == []
    (workspace.merged / "sub/mine").write_text("mine\n")
    made = checkpoints.checkpoint(note="step")
    assert (made.tree, made.patch, made.inexact) == (base.tree, b"", (Inexact("sub", "inside a submodule"),))
    (workspace.merged / "sub/mine").unlink()
    (workspace.merged / "sub").rmdir()
    gone = checkpoints.checkpoint(note="step")
    assert [(item.path, item.status) for item in gone.changes] == [("sub", "D")]
    assert store.foreign(base.project, gone.tree).submodules == ()


def test_a_repository_inside_that_is_no_submodule_is_named_too(store: Store, repo: Repo, new_repo: NewRepo) -> None:
    inner = new_repo("small/vendored")
    inner.commit({"x": "x\n"})
    assert store.is_dirty(repo.path) == ["vendored/"]
    base = store.import_commit(repo.path, dirty=True)
    assert store.foreign(base.project, base.tree).submodules == ("vendored",)


def test_lfs_pointers_are_named(store: Store, repo: Repo) -> None:
    files: dict[str | bytes, str | bytes] = {
        "assets/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        "assets/a.bin": POINTER,
        b"assets/deep/\xff.bin": POINTER,
        "assets/small.bin": "not one\n",
        "assets/large.bin": POINTER + "x" * 2000,
        "docs/pointer.txt": POINTER,
    }
    plain = store.import_commit(repo.path)
    repo.commit(files)
    base = store.import_commit(repo.path)
    assert store.foreign(base.project, base.tree).lfs_pointers == ("assets/a.bin", "assets/deep/\\xff.bin")
    assert store.foreign(base.project, base.tree, most=1).lfs_pointers == ("assets/a.bin",)
    assert store.foreign(base.project, plain.tree) == ((), ())


def test_lfs_files_are_their_pointers_whatever_the_user_has_set_up(store: Store, repo: Repo, tmp_path: Path) -> None:
    repo.commit({".gitattributes": "*.bin filter=lfs\n", "a.bin": POINTER})
    proof = tmp_path / "executed"
    repo.git("config", "filter.lfs.smudge", f"touch {proof}")
    repo.git("config", "filter.lfs.clean", f"touch {proof}")
    base = store.import_commit(repo.path)
    assert store.read_file(base.project, base.tree, "a.bin") == POINTER.encode()
    assert not proof.exists()


def test_a_name_that_looks_like_a_line_of_gits_breaks_nothing(store: Store, repo: Repo) -> None:
    repo.commit({f"100644 blob {'a' * 40}\t.gitattributes": "x", f"160000 commit {'a' * 40}\tsub": "x"})
    base = store.import_commit(repo.path)
    assert store.foreign(base.project, base.tree) == ((), ())


def test_attributes_that_are_a_link_or_a_submodule_break_nothing(store: Store, repo: Repo) -> None:
    (repo.path / ".gitattributes").symlink_to("/etc/passwd")
    repo.commit()
    commit = repo.git("rev-parse", "HEAD")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},src/.gitattributes")
    repo.git("commit", "-qm", "x")
    base = store.import_commit(repo.path)
    assert store.foreign(base.project, base.tree).lfs_pointers == ()
    assert store.foreign(base.project, base.tree).submodules == ("src/.gitattributes",)


def test_odd_names_links_and_modes_come_along_dirty_or_not(store: Store, repo: Repo) -> None:
    files: dict[str | bytes, str | bytes] = {
        "Case": "1\n",
        "case": "2\n",
        b"\xff\n\x1b[2J": "odd\n",
        ":(top)x": "looks like a pathspec\n",
        "*": "looks like a pattern\n",
        "-n": "looks like an option\n",
    }
    repo.write(files)
    (repo.path / "tool").write_text("#!/bin/sh\n")
    (repo.path / "tool").chmod(0o755)
    (repo.path / "out").symlink_to("/etc/passwd")
    (repo.path / "dangling").symlink_to("nowhere")
    (repo.path / "bin/run").chmod(0o644)
    dirty = store.import_commit(repo.path, dirty=True)
    repo.commit()
    base = store.import_commit(repo.path)
    assert base.tree == dirty.tree == repo.git("rev-parse", "HEAD^{tree}")
    for name, content in files.items():
        assert store.read_file(base.project, base.tree, os.fsdecode(name)) == os.fsencode(content)
    assert store.read_file(base.project, base.tree, "out") == b"/etc/passwd"


def test_a_sparse_checkout_loses_nothing_that_it_leaves_out(store: Store, repo: Repo, tmp_path: Path) -> None:
    work = clone(repo, tmp_path / "sparse", "--sparse")
    git("sparse-checkout", "set", "--sparse-index", "bin", at=work)
    assert not (work / "src").exists()
    assert store.is_dirty(work) == []
    (work / "bin/run").write_text("changed\n")
    base = store.import_commit(work, dirty=True)
    assert "src/deep/b.py" in store.list_files(base.project, base.tree)
    assert store.read_file(base.project, base.tree, "bin/run") == b"changed\n"


def test_a_clone_that_borrows_its_objects_is_read(store: Store, repo: Repo, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--shared", repo.path, tmp_path / "borrower"], check=True)
    base = store.import_commit(tmp_path / "borrower")
    assert base.commit == repo.git("rev-parse", "HEAD")
    subprocess.run(["git", "--git-dir", store.git_dir(base.project), "fsck", "--full"], check=True)


def test_a_partial_clone_that_lacks_objects_is_refused_with_what_to_do(
    store: Store, repo: Repo, tmp_path: Path
) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    work = clone(repo, tmp_path / "partial", "--filter=blob:none", "--no-checkout")
    with pytest.raises(WorkspaceError, match="can't be read in full") as caught:
        store.import_commit(work)
    assert "partial clone" in caught.value.hint
    assert "unable to read" in caught.value.cause
    assert store.projects() == []


def test_shallow_clones_of_several_depths_and_the_full_one_live_together(
    store: Store, repo: Repo, tmp_path: Path
) -> None:
    repo.git("checkout", "-q", "-b", "side", "HEAD~1")
    for number in range(3):
        repo.commit({f"side{number}": "x\n"})
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    repo.commit({"last": "x\n"})
    sources = [clone(repo, tmp_path / f"d{depth}", f"--depth={depth}") for depth in (1, 2, 3)]
    bases = [store.import_commit(source) for source in (*sources, repo.path, *sources)]
    assert len({base.tree for base in bases}) == 1
    for project in store.projects():
        done = subprocess.run(
            ["git", "--git-dir", store.git_dir(project), "fsck", "--full"], check=False, capture_output=True
        )
        assert (done.returncode, b"missing" in done.stdout + done.stderr) == (0, False)
    repo.commit({"more": "x\n"})
    git("pull", "-q", "--depth=2", at=sources[0])
    assert store.import_commit(sources[0]).commit == store.import_commit(repo.path).commit
    for project in store.projects():
        git("--git-dir", store.git_dir(project), "rev-list", "--objects", "--all", at=tmp_path)


def test_two_shallow_imports_of_one_project_keep_both_boundaries(store: Store, repo: Repo, tmp_path: Path) -> None:
    base = store.import_commit(repo.path)
    boundary = store.git_dir(base.project) / "shallow"
    first, second = repo.git("rev-parse", "HEAD"), repo.git("rev-parse", "HEAD~1")
    boundary.write_text(f"{first}\n")
    fetched = tmp_path / "shallow"
    fetched.write_text(f"{second}\n")
    add_boundary(fetched, boundary)
    assert boundary.read_text().split() == sorted([first, second])


def test_a_url_served_without_git_is_fetched_again_only_for_news(
    store: Store, repo: Repo, www: str, tmp_path: Path
) -> None:
    served = tmp_path / "www/served.git"
    subprocess.run(["git", "clone", "-q", "--bare", repo.path, served], check=True)
    git("update-server-info", at=served)
    first = store.import_commit(f"{www}/served.git")
    repo.commit({"news": "x\n"})
    git("fetch", "-q", repo.path, "+main:main", at=served)
    git("update-server-info", at=served)
    second = store.import_commit(f"{www}/served.git", "main")
    assert second.commit == repo.git("rev-parse", "HEAD")
    assert second.project == first.project
    assert "news" in store.list_files(second.project, second.tree)


def test_the_benchmarks_repository_is_the_same_wherever_it_is_made(store: Store, tmp_path: Path) -> None:
    made = [big_repo(tmp_path / name, files=500) for name in ("one", "two")]
    bases = [store.import_commit(repo) for repo in made]
    assert bases[0].commit == bases[1].commit == "859c3ef7bea7425c308dc35106a381dc25d0a442"
    assert store.list_files(bases[0].project, bases[0].tree) == sorted(paths(500))
    assert big_repo(tmp_path / "one", files=500) == made[0]
    assert len({path.rpartition("/")[0] for path in paths()}) == DIRECTORIES
