from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from repos import Repo

from orchestrator.delivery.patch import apply_patch, runs_elsewhere
from orchestrator.errors import DeniedError, DreamdockError
from sandbox.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.spec import FileChange


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "mine")
    made.commit({"a.py": "\n" * 9 + "one\ntwo\nthree\n", "bin.dat": b"\0\1", "old": "old\n"})
    return made


def work(repo: Repo, tmp_path: Path, files: dict[str, bytes]) -> tuple[bytes, tuple[FileChange, ...]]:
    """Return the patch of a run that wrote these files and removed `old`, with its list of files."""
    store = Store(tmp_path / "store")
    base = store.import_commit(repo.path)
    clone = Repo(tmp_path / "clone")
    clone.git("pull", "-q", str(repo.path), "main")
    (clone.path / "old").unlink()
    clone.commit(files)
    tree = store.import_commit(clone.path).tree
    return store.diff(base.project, base.tree, tree), store.changed(base.project, base.tree, tree)


def test_a_patch_lands_whole_and_uncommitted(repo: Repo, tmp_path: Path) -> None:
    patch, files = work(
        repo, tmp_path, {"a.py": b"\n" * 9 + b"one\n2\nthree\n", "bin.dat": b"\0\2", "new dir/x y ": b"new\n"}
    )
    (repo.path / "a.py").write_text(
        "mine" + "\n" * 9 + "one\ntwo\nthree\n"
    )  # The person's own change, elsewhere in the file.
    (repo.path / "sub").mkdir()
    done = apply_patch(repo.path / "sub", patch, files, allow_elsewhere=False)
    assert [change.path for change in done.files] == ["a.py", "bin.dat", "new dir/x y ", "old"]
    assert done.asks == ()
    assert (repo.path / "a.py").read_text() == "mine" + "\n" * 9 + "one\n2\nthree\n"
    assert (repo.path / "bin.dat").read_bytes() == b"\0\2"
    assert (repo.path / "new dir/x y ").read_text() == "new\n"
    assert not (repo.path / "old").exists()
    assert repo.git("log", "--format=%s") == "step"
    assert repo.git("diff", "--cached") == ""


def test_a_patch_that_does_not_fit_changes_nothing(repo: Repo, tmp_path: Path) -> None:
    patch, files = work(repo, tmp_path, {"a.py": b"one\n2\nthree\n", "new": b"new\n"})
    (repo.path / "a.py").write_text("all\nelse\n")
    before = repo.git("status", "--porcelain")
    with pytest.raises(DreamdockError) as caught:
        apply_patch(repo.path, patch, files, allow_elsewhere=False)
    assert "a.py" in caught.value.cause
    assert caught.value.hint
    assert repo.git("status", "--porcelain") == before
    assert not (repo.path / "new").exists()


def test_files_that_run_elsewhere_need_a_yes(repo: Repo, tmp_path: Path) -> None:
    patch, files = work(
        repo, tmp_path, {"a.py": b"1\n", "Makefile": b"all:\n", ".github/workflows/ci.yml": b"on: push\n"}
    )
    with pytest.raises(DeniedError) as caught:
        apply_patch(repo.path, patch, files, allow_elsewhere=False)
    assert caught.value.cause == ".github/workflows/ci.yml, Makefile"
    assert repo.git("status", "--porcelain") == ""
    done = apply_patch(repo.path, patch, files, allow_elsewhere=True)
    assert done.asks == (".github/workflows/ci.yml", "Makefile")
    assert (repo.path / "Makefile").exists()


def test_a_patch_never_writes_through_a_link(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    patch, files = work(repo, tmp_path, {"sub/file": b"evil\n"})
    (repo.path / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(DreamdockError):
        apply_patch(repo.path, patch, files, allow_elsewhere=False)
    assert list((tmp_path / "outside").iterdir()) == []


def test_hooks_of_the_repository_do_not_run(repo: Repo, tmp_path: Path) -> None:
    patch, files = work(repo, tmp_path, {"a.py": b"1\n"})
    (repo.path / ".git/hooks").mkdir(exist_ok=True)
    for name in ("post-index-change", "post-applypatch", "applypatch-msg", "pre-commit"):
        (repo.path / ".git/hooks" / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (repo.path / ".git/hooks" / name).chmod(0o755)
    apply_patch(repo.path, patch, files, allow_elsewhere=False)
    assert not (tmp_path / "ran").exists()
    assert subprocess.run(["cat", repo.path / "a.py"], capture_output=True, check=True).stdout == b"1\n"


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/x.yml",
        ".github/actions/a/action.yml",
        "deep/.gitlab-ci.yml",
        ".envrc",
        "sub/Makefile",
        "makefile",
        ".husky/pre-commit",
        ".githooks/post-checkout",
        ".pre-commit-config.yaml",
        ".vscode/tasks.json",
        ".idea/workspace.xml",
        "x.code-workspace",
        ".gitattributes",
        ".gitmodules",
        ".github",
        ".github/workflows",
        ".vscode",
        ".husky",
    ],
)
def test_what_runs_elsewhere(path: str) -> None:
    assert runs_elsewhere([path]) == [path]


@pytest.mark.parametrize(
    "path", ["src/a.py", "tests/conftest.py", "docs/Makefile.md", ".github/CODEOWNERS", "vscode/x"]
)
def test_what_does_not(path: str) -> None:
    assert runs_elsewhere([path]) == []
