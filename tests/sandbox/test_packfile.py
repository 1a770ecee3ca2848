from __future__ import annotations

import errno
import hashlib
import random
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox.packfile import write_pack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Objects = list[tuple[str, bytes, bytes]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "r.git"], check=True)
    return tmp_path / "r.git"


def blob(data: bytes) -> tuple[str, bytes, bytes]:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest(), b"blob", data


def git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "--git-dir", repository, *arguments], check=True, capture_output=True).stdout


def write(repository: Path, objects: Objects) -> None:
    write_pack(repository / "objects/pack", iter(objects), len(objects))


def test_git_finds_every_object_of_a_pack_as_it_was(repository: Path) -> None:
    rolls = random.Random(1)  # noqa: S311  # The same bytes each time.
    sizes = [0, 1, 15, 16, 17, 2047, 2048, 2049, 8191, 8192, 8193, 70_000, 300_000]
    objects = [blob(rolls.randbytes(size)) for size in sizes] + [blob(b"%d" % number) for number in range(600)]
    write(repository, objects)
    for name in (item.name for item in (repository / "objects/pack").glob("*.idx")):
        git(repository, "verify-pack", f"{repository}/objects/pack/{name}")
    for oid, _, data in objects:
        assert git(repository, "cat-file", "blob", oid) == data
    assert len(list((repository / "objects/pack").iterdir())) == 2


def test_trees_and_commits_are_what_git_takes_them_for(repository: Path) -> None:
    oid, kind, data = blob(b"x")
    tree = b"100644 x\0" + bytes.fromhex(oid)
    tree_id = hashlib.sha1(b"tree %d\0" % len(tree) + tree, usedforsecurity=False).hexdigest()
    commit = f"tree {tree_id}\nauthor u <u> 0 +0000\ncommitter u <u> 0 +0000\n\nx\n".encode()
    commit_id = hashlib.sha1(b"commit %d\0" % len(commit) + commit, usedforsecurity=False).hexdigest()
    write(repository, [(oid, kind, data), (tree_id, b"tree", tree), (commit_id, b"commit", commit)])
    git(repository, "update-ref", "refs/heads/main", commit_id)
    assert git(repository, "fsck", "--full", "--strict") == b""
    assert git(repository, "ls-tree", "--name-only", "main") == b"x\n"


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow over 100 kB meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_pack_that_cant_be_written_leaves_nothing(repository: Path) -> None:
    with pytest.raises(OSError, match="too large") as caught:
        write(repository, [blob(random.Random(2).randbytes(200_000))])  # noqa: S311  # As above.
    assert caught.value.errno == errno.EFBIG
    assert list((repository / "objects/pack").iterdir()) == []


def test_a_pack_of_the_same_content_is_another_file(repository: Path) -> None:
    write(repository, [blob(b"same")])
    (first,) = (repository / "objects/pack").glob("*.pack")
    write(repository, [blob(b"same")])
    for left in (first, first.with_suffix(".idx")):  # As a collection does that began before the second came.
        left.unlink()
    assert git(repository, "cat-file", "blob", blob(b"same")[0]) == b"same"
    assert git(repository, "fsck", "--full", "--strict", "--no-dangling") == b""
