"""Repositories, a store and mounted workspaces for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandbox.store import Base

UID = 64001  # No account has it.


class Repo:
    """A git repository of the test's, made with plain git as a user would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *args: str, stdin: bytes = b"", **env: str) -> str:
        """Run git in the repository and return what it prints."""
        closed = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
        names = {f"GIT_{role}_{key}": "u" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        argv = ["git", "-c", "protocol.file.allow=always", "-C", str(self.path), *args]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False, env=closed | names | env)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, files: dict[str | bytes, str | bytes]) -> None:
        """Write files, making their directories."""
        for name, content in files.items():
            path = self.path / os.fsdecode(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.fsencode(content))

    def commit(self, files: dict[str | bytes, str | bytes] | None = None) -> str:
        """Commit everything there is, `files` included, and return the commit."""
        self.write(files or {})
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", "step")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def new_repo(tmp_path: Path) -> Callable[[str], Repo]:
    """Return a maker of empty repositories."""
    return lambda name: Repo(tmp_path / name)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Return a small repository with one commit."""
    made = Repo(tmp_path / "small")
    made.commit({"README.md": "hello\n", "src/a.py": "a = 1\n", "src/deep/b.py": "b = 2\n", "bin/run": "#!/bin/sh\n"})
    (made.path / "bin/run").chmod(0o755)
    (made.path / "link").symlink_to("src/a.py")
    made.commit()
    return made


@pytest.fixture
def open_workspace(store: Store, tmp_path: Path) -> Iterator[Callable[..., Workspace]]:
    """Return a maker of mounted workspaces; all are removed at the end."""
    opened: list[Workspace] = []

    def make(base: Base, name: str = "w", tree: str | None = None) -> Workspace:
        opened.append(Workspace.create(store, base, tmp_path / "worker", name=name, uid=UID, tree=tree))
        return opened[-1]

    yield make
    for workspace in opened:
        workspace.remove()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a maker of small file systems, unmounted at the end."""
    mounted: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", place], check=True)
