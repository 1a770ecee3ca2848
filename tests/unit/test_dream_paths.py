"""What became of files: followed through a real history."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from orchestrator.dream.paths import Fate, Followed, follow

if TYPE_CHECKING:
    from pathlib import Path

_TEXT = "".join(f"line {number} of a file that is long enough to be known again\n" for number in range(30))


class Repo:
    """A repository in which files come and go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        where = ["-C", str(self.path), "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *where, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, **files: str | None) -> str:
        """Write files (None: remove) and commit; `__` in a name is a slash."""
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "m")
        return self.git("rev-parse", "HEAD")

    def follow(self, *paths: str, seen_at: str, head: str = "") -> dict[str, Followed]:
        return follow(self.path / ".git", paths, seen_at, head or self.git("rev-parse", "HEAD"))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def test_there_renamed_and_gone(repo: Repo) -> None:
    start = repo.commit(stays=_TEXT, moves=_TEXT.upper(), goes=_TEXT.title())
    repo.commit(moves=None, lib__moved=_TEXT.upper(), goes=None)
    found = repo.follow("stays", "moves", "goes", seen_at=start)
    assert found["stays"] == Followed(Fate.FRESH, "stays")
    assert found["moves"] == Followed(Fate.RENAMED, "lib/moved")
    assert found["goes"] == Followed(Fate.GONE)


def test_a_chain_of_renames_is_followed(repo: Repo) -> None:
    start = repo.commit(one=_TEXT)
    for old, new in (("one", "two"), ("two", "a__three"), ("a__three", "b__four")):
        repo.commit(**{old: None, new: _TEXT})
    assert repo.follow("one", seen_at=start)["one"] == Followed(Fate.RENAMED, "b/four")


def test_renamed_on_a_branch_that_was_merged(repo: Repo) -> None:
    start = repo.commit(one=_TEXT, other="x\n")
    repo.git("switch", "--quiet", "--create", "side")
    repo.commit(one=None, two=_TEXT)
    repo.git("switch", "--quiet", "main")
    repo.commit(other="y\n")
    repo.git("merge", "--quiet", "--no-edit", "side")
    assert repo.follow("one", seen_at=start)["one"] == Followed(Fate.RENAMED, "two")


def test_renamed_and_rewritten_little_by_little(repo: Repo) -> None:
    lines = _TEXT.splitlines(keepends=True)
    start = repo.commit(one=_TEXT)
    repo.commit(one=None, two="".join(lines[:22]) + "new\n" * 8)
    repo.commit(two=None, three="".join(lines[:14]) + "new\n" * 16)
    assert repo.follow("one", seen_at=start)["one"] == Followed(Fate.RENAMED, "three")


def test_of_one_that_is_gone_its_namesake_is_only_named(repo: Repo) -> None:
    start = repo.commit(a__conf=_TEXT)
    repo.commit(a__conf=None, b__conf="something else altogether\n")
    assert repo.follow("a/conf", seen_at=start)["a/conf"] == Followed(Fate.GONE, perhaps="b/conf")


def test_what_git_cant_say_is_unknown_and_never_gone(repo: Repo) -> None:
    start = repo.commit(one=_TEXT)
    missing = "0" * 40
    assert repo.follow("one", seen_at=start, head=missing)["one"].fate is Fate.UNKNOWN
    assert repo.follow("nowhere", seen_at=missing)["nowhere"].fate is Fate.UNKNOWN
    assert repo.follow("never", seen_at=start)["never"].fate is Fate.UNKNOWN, "it wasn't there then, either"
    blob = repo.git("rev-parse", "HEAD:one")
    repo.commit(one=None, two=_TEXT.replace("line", "row"))
    (repo.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert repo.follow("one", seen_at=start)["one"].fate is Fate.UNKNOWN, "a damaged history tells nothing"


def test_a_revision_is_no_option(repo: Repo) -> None:
    repo.commit(one=_TEXT)
    assert repo.follow("two", seen_at="--output=/tmp/x", head="HEAD")["two"].fate is Fate.UNKNOWN


def test_names_of_any_bytes(repo: Repo) -> None:
    start = repo.commit(**{"ümlaut\nand line": _TEXT})
    repo.commit(**{"ümlaut\nand line": None, "plain": _TEXT})
    assert repo.follow("ümlaut\nand line", seen_at=start)["ümlaut\nand line"] == Followed(Fate.RENAMED, "plain")
