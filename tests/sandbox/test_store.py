from __future__ import annotations

import os
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.errors import DiskFull, NotARepository, RevisionNotFound, WorkspaceError
from sandbox.git import printable
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from repos import NewRepo, Repo, SmallDisk

    from sandbox.spec import Base


def everything(path: Path) -> dict[str, bytes]:
    """Return each file of a directory with its content."""
    return {str(item): item.read_bytes() for item in sorted(path.rglob("*")) if item.is_file()}


def test_a_commit_is_copied_and_described(store: Store, repo: Repo) -> None:
    base = store.import_commit(repo.path)
    assert base.commit == repo.git("rev-parse", "HEAD")
    assert base.tree == repo.git("rev-parse", "HEAD^{tree}")
    assert base.name == "small"
    assert base.project == repo.project
    assert store.list_files(base.project, base.tree) == ["README.md", "bin/run", "link", "src/a.py", "src/deep/b.py"]
    assert store.read_file(base.project, base.tree, "src/a.py") == b"a = 1\n"
    assert store.read_file(base.project, base.tree, "link") == b"src/a.py"
    assert store.read_file(base.project, base.tree, "src") is None
    assert store.read_file(base.project, base.tree, "nothing/here") is None


def test_the_source_may_vanish_after_the_import(store: Store, repo: Repo) -> None:
    base = store.import_commit(repo.path)
    subprocess.run(["rm", "-rf", repo.path], check=True)
    subprocess.run(["git", "--git-dir", store.git_dir(base.project), "fsck", "--full", "--strict"], check=True)
    assert store.read_file(base.project, base.tree, "README.md") == b"hello\n"


def test_a_revision_a_subdirectory_and_clones_are_the_same_project(store: Store, repo: Repo, tmp_path: Path) -> None:
    first = repo.git("rev-parse", "HEAD~1")
    repo.git("tag", "-a", "v1", "-m", "one", first)
    by_tag = store.import_commit(repo.path / "src", "v1")
    assert by_tag.commit == first
    subprocess.run(["git", "clone", "-q", "--bare", repo.path, tmp_path / "clone.git"], check=True)
    bare = store.import_commit(tmp_path / "clone.git", "main")
    assert (bare.project, bare.name) == (by_tag.project, "clone")
    assert store.import_commit(repo.path.as_uri()).commit == bare.commit
    assert store.is_dirty(tmp_path / "clone.git") == []


def test_a_linked_work_tree_and_a_shallow_clone(store: Store, repo: Repo, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    (tmp_path / "linked" / "README.md").write_text("changed\n")
    assert store.is_dirty(tmp_path / "linked") == ["README.md"]
    full = store.import_commit(tmp_path / "linked")
    subprocess.run(["git", "clone", "-q", "--depth=1", repo.path.as_uri(), tmp_path / "shallow"], check=True)
    shallow = store.import_commit(tmp_path / "shallow")
    assert (shallow.commit, shallow.tree) == (full.commit, full.tree)
    assert shallow.project == full.commit[:12]
    assert store.import_commit(tmp_path / "shallow") == shallow
    assert store.list_files(shallow.project, shallow.tree)


@pytest.mark.parametrize("rev", ["-x", "--upload-pack=touch /tmp/x", "", "no-such-branch", "a\nb", "HEAD:README.md"])
def test_a_revision_that_is_none_is_refused(store: Store, repo: Repo, rev: str) -> None:
    with pytest.raises(RevisionNotFound) as caught:
        store.import_commit(repo.path, rev)
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_sources_that_are_no_repository(store: Store, new_repo: NewRepo, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for source in (
        tmp_path / "plain",
        tmp_path / "nowhere",
        "ext::sh -c touch% x",
        "http://127.0.0.1:1/x.git",
        "x://y",
    ):
        with pytest.raises(NotARepository) as caught:
            store.import_commit(source)
        assert caught.value.hint
    with pytest.raises(RevisionNotFound, match="no commit yet"):
        store.import_commit(new_repo("empty").path)
    assert [item.name for item in store.root.iterdir()] == []


def test_a_dirty_repository_runs_at_head_and_says_what_is_left_out(store: Store, repo: Repo) -> None:
    (repo.path / "README.md").write_text("changed\n")
    (repo.path / "new\x1b[31m").write_text("new\n")
    (repo.path / "src/a.py").unlink()
    (repo.path / ".gitignore").write_text("*.log\n")
    (repo.path / "x.log").write_text("noise\n")
    assert store.is_dirty(repo.path) == [".gitignore", "README.md", "new\\x1b[31m", "src/a.py"]
    assert store.import_commit(repo.path).commit == repo.git("rev-parse", "HEAD")


def test_dirty_takes_the_working_tree_and_writes_nothing_to_the_source(store: Store, repo: Repo) -> None:
    (repo.path / "README.md").write_text("staged\n")
    repo.git("add", "README.md")
    (repo.path / "README.md").write_text("then changed\n")
    (repo.path / "src/a.py").unlink()
    (repo.path / "fresh.txt").write_text("fresh\n")
    before = everything(repo.path)
    base = store.import_commit(repo.path, dirty=True)
    assert everything(repo.path) == before
    assert store.list_files(base.project, base.tree) == ["README.md", "bin/run", "fresh.txt", "link", "src/deep/b.py"]
    assert store.read_file(base.project, base.tree, "README.md") == b"then changed\n"
    assert store.import_commit(repo.path, dirty=True) == base
    assert base.project == store.import_commit(repo.path).project


def test_dirty_of_a_clean_repository_is_its_commit(store: Store, repo: Repo) -> None:
    assert store.import_commit(repo.path, dirty=True).commit == repo.git("rev-parse", "HEAD")


def test_a_hostile_repository_executes_nothing(store: Store, new_repo: NewRepo, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\necho $0 $@ >> {proof}\ncat\n")
    evil.chmod(0o755)
    inner = new_repo("inner")
    inner.commit({"x": "x\n"})
    repo = new_repo("hostile")
    repo.commit({".gitattributes": "* filter=evil diff=evil\n", "a": "a\n"})
    repo.git("submodule", "add", "-q", str(inner.path), "sub")
    repo.commit()
    for hooks in (repo.path / ".git/hooks", repo.path / ".git/modules/sub/hooks"):
        hooks.mkdir(exist_ok=True)
        for hook in (
            "post-checkout",
            "reference-transaction",
            "pre-commit",
            "post-index-change",
            "update",
            "pre-auto-gc",
        ):
            (hooks / hook).write_bytes(evil.read_bytes())
            (hooks / hook).chmod(0o755)
    for config in (repo.path / ".git/config", repo.path / ".git/modules/sub/config"):
        with config.open("a") as file:
            file.write(
                f"[core]\n fsmonitor = {evil}\n pager = {evil}\n sshCommand = {evil}\n editor = {evil}\n"
                f" askPass = {evil}\n"
                f'[filter "evil"]\n clean = {evil}\n smudge = {evil}\n process = {evil}\n required = true\n'
                f'[diff]\n external = {evil}\n[diff "evil"]\n textconv = {evil}\n command = {evil}\n'
                f'[uploadpack]\n packObjectsHook = {evil}\n[remote "o"]\n url = {evil}\n uploadpack = {evil}\n'
                " promisor = true\n"
                f"[gpg]\n program = {evil}\n[commit]\n gpgSign = true\n[alias]\n fetch = !{evil}\n"
                "[log]\n showSignature = true\n"
            )
    (repo.path / "a").write_text("changed\n")
    (repo.path / "sub/x").write_text("changed\n")
    (repo.path / "sub/.gitattributes").write_text("* filter=evil\n")
    assert store.is_dirty(repo.path) == ["a"]
    clean, dirty = store.import_commit(repo.path), store.import_commit(repo.path, dirty=True)
    assert store.read_file(dirty.project, dirty.tree, "a") == b"changed\n"
    assert clean.tree != dirty.tree
    assert not proof.exists(), proof.read_text()
    subprocess.run(
        ["git", "-C", repo.path, "status"], check=False, capture_output=True, env={"PATH": os.environ["PATH"]}
    )
    assert proof.exists(), "the repository isn't hostile after all"


@pytest.mark.needs_root
def test_a_repository_of_another_account_is_read(store: Store, repo: Repo) -> None:
    subprocess.run(["chown", "-R", "64002", repo.path], check=True)
    assert store.is_dirty(repo.path) == []
    assert store.import_commit(repo.path).name == "small"


@pytest.fixture
def served(repo: Repo, tmp_path: Path) -> Iterator[str]:
    """Serve the repository over plain HTTP and yield its URL, with a password in it."""
    bare = tmp_path / "www" / "served.git"
    subprocess.run(["git", "clone", "-q", "--bare", repo.path, bare], check=True)
    subprocess.run(["git", "--git-dir", bare, "update-server-info"], check=True)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "www"))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}/served.git"
        server.shutdown()


def test_a_url_is_the_same_project_and_its_password_is_kept_nowhere(store: Store, repo: Repo, served: str) -> None:
    first = store.import_commit(served)
    assert first == store.import_commit(served, "main")
    assert first.project == store.import_commit(repo.path).project
    assert (first.name, first.commit) == ("served", repo.git("rev-parse", "HEAD"))
    assert "secret" not in first.source
    assert store.is_dirty(served) == []
    assert not any(b"secret" in content for content in everything(store.root).values())
    with pytest.raises(RevisionNotFound):
        store.import_commit(served, "no-such-branch")


def test_many_at_once_make_one_project(store: Store, repo: Repo) -> None:
    bases: list[Base] = []
    threads = [threading.Thread(target=lambda: bases.append(store.import_commit(repo.path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bases) == 6
    assert len(set(bases)) == 1
    assert [item.name for item in store.root.iterdir()] == [f"{bases[0].project}.git"]


def test_a_patch_says_what_changed_and_composes_to_the_same_tree(store: Store, repo: Repo) -> None:
    base = store.import_commit(repo.path)
    (repo.path / "bin/run").chmod(0o644)
    (repo.path / "link").unlink()
    repo.commit(
        {"src/a.py": "a = 2\nb = 3\n", "link": "now a file\n", "data.bin": bytes(range(256)), b"odd\xff\n": "x\n"}
    )
    (repo.path / "src/deep/b.py").unlink()
    repo.commit()
    after = store.import_commit(repo.path)
    changed = store.changed(base.project, base.tree, after.tree)
    assert [(item.path, item.status, item.added, item.removed) for item in changed] == [
        ("bin/run", "M", 0, 0),
        ("data.bin", "A", 0, 0),
        ("link", "T", 1, 1),
        ("odd\\xff\\n", "A", 1, 0),
        ("src/a.py", "M", 2, 1),
        ("src/deep/b.py", "D", 0, 1),
    ]
    assert {item.path: item.extent for item in changed if item.sizes} == {"data.bin": "binary, 0 -> 256 bytes"}
    there = store.diff(base.project, base.tree, after.tree)
    back = store.diff(base.project, after.tree, base.tree)
    assert store.compose(base.project, base.tree, [there]) == after.tree
    assert store.compose(base.project, base.tree, [there, b"", back]) == base.tree
    assert store.compose(base.project, base.tree, []) == base.tree
    with pytest.raises(WorkspaceError):
        store.compose(base.project, base.tree, [back])


def test_paths_can_be_put_back_from_another_tree(store: Store, repo: Repo) -> None:
    base = store.import_commit(repo.path)
    (repo.path / "src/deep/b.py").unlink()
    repo.commit({"src/a.py": "changed\n", "tests/new.py": "new\n", "README.md": "changed\n"})
    after = store.import_commit(repo.path)
    mixed = store.with_paths_from(base.project, after.tree, base.tree, ["src", "tests/new.py", "not/there"])
    assert store.list_files(base.project, mixed) == ["README.md", "bin/run", "link", "src/a.py", "src/deep/b.py"]
    assert store.read_file(base.project, mixed, "README.md") == b"changed\n"
    assert store.read_file(base.project, mixed, "src/a.py") == b"a = 1\n"


@pytest.mark.parametrize("name", [b".git", b"..", b"a/b"])
def test_a_tree_with_a_way_out_of_itself_is_refused(store: Store, new_repo: NewRepo, name: bytes) -> None:
    repo = new_repo("hostile")
    blob = repo.git("hash-object", "-w", "--stdin", stdin=b"evil")
    line = b"100644 %s\0%s" % (name, bytes.fromhex(blob))
    tree = repo.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=line)
    repo.git("update-ref", "HEAD", repo.git("commit-tree", tree, "-m", "x"))
    base = store.import_commit(repo.path)
    with pytest.raises(WorkspaceError, match="a name that git refuses"):
        store.list_files(base.project, base.tree)


def test_directories_without_end_are_refused(store: Store, new_repo: NewRepo) -> None:
    repo = new_repo("deep")
    repo.commit({"d/" * 300 + "f": "x"})
    with pytest.raises(WorkspaceError, match="deep"):
        store.import_commit(repo.path)


@pytest.mark.needs_root
def test_a_full_disk_is_said_and_nothing_half_made_stays(new_repo: NewRepo, small_disk: SmallDisk) -> None:
    repo = new_repo("large")
    repo.commit({"large": os.urandom(4_000_000)})
    store = Store(small_disk("2m") / "store")
    with pytest.raises(DiskFull) as caught:
        store.import_commit(repo.path)
    assert caught.value.hint
    assert list(store.root.rglob("*pack*")) == []
    assert [item.name for item in store.root.iterdir() if item.name.startswith("incoming")] == []


def test_text_is_made_printable_without_ambiguity() -> None:
    assert printable("plain é name") == "plain é name"
    assert printable(b"a\\n\n\xff\x1b") == "a\\\\n\\n\\xff\\x1b"


def test_commits_are_read_as_they_are_and_those_that_are_not_there_are_left_out(store: Store, repo: Repo) -> None:
    first, second = repo.git("rev-parse", "HEAD"), repo.commit({"more": "x\n"})
    base = store.import_commit(repo.path)
    blob, unknown = repo.git("rev-parse", "HEAD:more"), "0" * 40
    found = store.commits(base.project, [first, unknown, blob, "HEAD", "../x", "-x\n", second])
    assert list(found) == [first, second]
    assert found[second].decode() == repo.git("cat-file", "commit", second) + "\n"
    assert store.commits(base.project, []) == {}
    with pytest.raises(NotARepository):
        store.commits("0" * 12, [first])
